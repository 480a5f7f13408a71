"""DeepLIFT in half precision, at infinite slopes, in order, and where no signal goes."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import DisconnectedError, IncompleteError, IncompleteWarning
from pellucid.propagate.deeplift import activation, halves, integral, multipliers, ranks
from tests.propagate.test_deeplift import CASES, explain, off
from tests.zoo.network import normal, rows, seeded

HALVES = {torch.bfloat16: 0.02, torch.float16: 0.004}


# -- half precision


def apart(model: Callable, x: Tensor, exact: Tensor, **options: object) -> float:
    """By how much values differ from exact ones, as a part of their length."""
    found = explain(model, x, **options).values.double()
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", CASES)
def test_a_half_is_what_a_double_is_but_for_rounding(name, dtype, rule):
    build, shape = CASES[name]
    net = seeded(build(), 2).eval().to(dtype)
    x = normal(4, *shape, seed=4).to(dtype)
    # The same weights and inputs: what is left are the roundings of values and multipliers.
    exact = explain(seeded(build(), 2).eval().to(dtype).double(), x.double(), rule=rule).values
    # A layer norm at its zero reference, and what is gated, magnify what was rounded before.
    assert apart(net, x, exact, rule=rule, on_incomplete="ignore") < 4 * HALVES[dtype]


WAYS: list[Callable[[Tensor], Tensor]] = [
    F.silu,
    F.gelu,
    lambda x: x * torch.sigmoid(x),
    lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
    lambda x: (x - 0.5).tanh(),
    lambda x: x.float().sigmoid().to(x.dtype) * x,
    lambda x: x.softmax(1),
    lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5),
]


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("way", range(len(WAYS)))
def test_a_function_of_halves(way, dtype, rule):
    x, x0 = rows([2.0, 3.0, -1.0]), rows([0.5, 0.5, 0.25])
    model = lambda x: (WAYS[way](x) * x.new_tensor([1.0, -2.0, 0.5])).sum(1, keepdim=True)  # noqa: E731
    exact = explain(model, x, rule=rule, baseline=x0).values
    found = apart(model, x.to(dtype), exact, rule=rule, baseline=x0.to(dtype))
    assert found < HALVES[dtype] / 2


def test_autocast_is_half_precision():
    net = seeded(nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 1))).float()
    x = normal(4, 6, seed=1).float()

    def cast(x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return net(x)

    assert apart(cast, x, explain(net, x).values.double()) < HALVES[torch.bfloat16]


# What is broken -> the room's own precision, and how small a step has a derivative.
MUTANTS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "derivatives in place of steps": (halves.single, 2.0),
    "steps of rounded values": (lambda tensor: tensor, 2**-15),
    "neither in single precision": (lambda tensor: tensor, 2.0),
}


@pytest.mark.parametrize("broken", MUTANTS)
def test_half_precision_would_be_noticed(broken, monkeypatch):
    x, x0 = rows([2.0, 1.0, 0.25]), rows([1.984375, 0.0, 0.2353515625])
    model = lambda x: F.silu(x + 2 * x).sum(1, keepdim=True)  # noqa: E731
    exact = explain(model, x, baseline=x0).values
    half = [each.to(torch.bfloat16) for each in (x, x0)]

    def most() -> float:
        found = explain(model, half[0], baseline=half[1], on_incomplete="ignore").values
        return float((found / exact - 1).abs().max())

    assert most() < 0.02
    single, small = MUTANTS[broken]
    for home in (activation, halves):
        monkeypatch.setattr(home, "single", single)
    monkeypatch.setattr(activation, "_small", lambda tensor: small)
    assert most() > 0.03


@pytest.mark.parametrize("dtype", HALVES)
def test_a_half_that_does_not_add_up_is_announced(dtype):
    """So much of the score is no rounding, in whatever type."""
    table = torch.eye(3, dtype=dtype) + 1
    model = lambda x: (x * table[x.argmax(1)]).sum(1, keepdim=True)  # noqa: E731
    x0 = torch.tensor([[1.0, 0.0, 0.0]], dtype=dtype)
    with pytest.warns(IncompleteWarning, match=r"1 of 1 samples did not. The .* model.float\(\)"):
        explain(
            model, torch.tensor([[0.0, 0.0, 1.0]], dtype=dtype) + x0 / 2, baseline=x0,
            on_incomplete="warn",
        )  # fmt: skip


# -- slopes that are infinite


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
@pytest.mark.parametrize(
    "root",
    [
        lambda x: x.sqrt(),
        lambda x: x.pow(0.5),
        lambda x: (x @ torch.eye(3).double()).sqrt(),
        lambda x: (x @ torch.eye(3).double()) ** 0.5 * 1.0,
    ],
)
def test_what_has_not_moved_adds_nothing_where_a_slope_is_infinite(root, rule):
    model = lambda x: root(x.relu()).sum(1, keepdim=True)  # noqa: E731
    found = explain(model, rows([4.0, -1.0, 2.0]), rule=rule).values
    assert_close(found, rows([2.0, 0.0, 2**0.5]))


def test_a_tiny_step_where_a_slope_is_infinite():
    """From 1e-30 to 0 a root falls by 1e-15, though its derivative at 0 is infinite."""
    found = explain(lambda x: x.sqrt(), rows([0.0]), baseline=1e-30).values
    assert_close(found, rows([-1e-15]), rtol=1e-9, atol=0)


def test_a_pool_of_powers_of_nothing():
    model = lambda x: F.lp_pool1d(x.relu().unsqueeze(1), 2, 2).sum(2)  # noqa: E731
    x = rows([3.0, 4.0, -1.0, -2.0])
    assert off(explain(model, x)) < 1e-9


# -- what is put in order


ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "sort": lambda x: x.sort(1).values,
    "sort, falling": lambda x: x.sort(1, descending=True).values[:, :4],
    "sort, stable": lambda x: torch.sort(x, dim=-1, stable=True, descending=True)[0],
    "sort, along another axis": lambda x: x.reshape(len(x), -1, 2).sort(1).values.flatten(1),
    "sort, along the first axis": lambda x: x.T.sort(0).values.T,
    "largest": lambda x: x.topk(3).values,
    "least": lambda x: x.topk(3, 1, largest=False).values,
    "second": lambda x: x.kthvalue(2, 1, keepdim=True).values,
    "third": lambda x: x.kthvalue(3).values.unsqueeze(1),
    "median": lambda x: x.median(1).values.unsqueeze(1),
    "median, of halves": lambda x: x.unflatten(1, (2, -1)).median(2, keepdim=True)[0].flatten(1),
}


def ordered(order: Callable[[Tensor], Tensor], weight: Tensor) -> Callable[[Tensor], Tensor]:
    def model(x: Tensor) -> Tensor:
        found = order(x)
        return (found * weight[: found.shape[1]]).sum(1, keepdim=True)

    return model


def by_steps(model: Callable[[Tensor], Tensor], x: Tensor, x0: Tensor) -> Tensor:
    """Integrated gradients at the midpoints of 4000 steps, all at once."""
    way = (torch.arange(4000, dtype=x.dtype) + 0.5) / 4000
    points = (x0 + way.unsqueeze(1) * (x - x0)).requires_grad_()
    (slopes,) = torch.autograd.grad(model(points).sum(), points)
    return (x - x0) * slopes.mean(0, keepdim=True)


@pytest.mark.parametrize("name", ORDERS)
def test_what_is_put_in_order_is_integrated_exactly(name):
    weight = normal(8, seed=1)
    model = ordered(ORDERS[name], weight)
    x, x0 = normal(1, 8, seed=3), normal(1, 8, seed=4)
    found = explain(model, x, baseline=x0)
    assert off(found) < 1e-12
    # Each crossing is put off by up to half a step.
    assert_close(found.values, by_steps(model, x, x0), rtol=0, atol=2e-3)
    assert found.values.abs().max() > 0.1


def test_the_time_for_which_each_has_a_rank():
    """From (0, 1) to (3, 2) the first overtakes the second in the middle of the way."""
    weight = rows([1.0, 10.0])[0]
    found = explain(ordered(ORDERS["sort"], weight), rows([3.0, 2.0]), baseline=rows([0.0, 1.0]))
    assert_close(found.values, rows([3 * 5.5, 5.5]))


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_order_does_not_depend_on_the_batch(rule):
    body, head = seeded(nn.Linear(5, 60)), seeded(nn.Linear(60, 2), 1)
    model = lambda x: head(body(x).relu().sort(1).values)  # noqa: E731
    x, x0 = normal(6, 5, seed=2), normal(1, 5, seed=3)
    found = explain(model, x, rule=rule, baseline=x0)
    assert off(found) < 1e-9
    for i in range(len(x)):
        alone = explain(model, x[i : i + 1], rule=rule, baseline=x0).values
        assert_close(alone, found.values[i : i + 1], rtol=1e-12, atol=1e-13)


def test_equal_elements_are_in_some_order():
    weight = normal(4, seed=1)
    x, x0 = rows([1.0, 1.0, 2.0, 1.0], [3.0, 3.0, 3.0, 3.0]), rows([0.0, 0.0, 1.0, 2.0])
    for name in ("sort", "largest", "least", "median"):
        assert off(explain(ordered(ORDERS[name], weight), x, baseline=x0)) < 1e-12
        assert off(explain(ordered(ORDERS[name], weight), x, baseline=0.0)) < 1e-12


def test_many_elements_are_looked_at_in_parts(monkeypatch):
    model, x, x0 = ordered(ORDERS["sort"], normal(8, seed=1)), normal(3, 8), normal(1, 8, seed=2)
    whole = explain(model, x, baseline=x0).values
    monkeypatch.setattr(ranks, "PAIRS", 20)
    assert_close(explain(model, x, baseline=x0).values, whole, rtol=0, atol=0)


def test_the_order_of_the_input_alone_would_be_noticed(monkeypatch):
    monkeypatch.setattr(
        multipliers, "to_ranks", lambda op, partner, signal: multipliers.adjoint(op, [signal, None])
    )
    with pytest.raises(IncompleteError, match="DeepLIFT must sum to"):
        explain(
            ordered(ORDERS["sort"], normal(8, seed=1)),
            normal(1, 8),
            baseline=1.0 + normal(1, 8, seed=5),
        )


def test_what_jumps_too_often_is_named(monkeypatch):
    """Rows that are too long for their pairs are integrated like all else, as far as that goes."""
    monkeypatch.setattr(ranks, "LONGEST", 7)
    monkeypatch.setattr(integral, "MOST_PARTS", 3)
    model = ordered(ORDERS["sort"], normal(8, seed=1))
    with pytest.warns(IncompleteWarning, match=r"2 of 2 samples did not. The slope of `sort` chan"):
        explain(model, normal(2, 8), baseline=normal(1, 8, seed=4), on_incomplete="warn")
    with pytest.warns(IncompleteWarning, match=r"The slope of `sort` changes too often .* nearer"):
        pl.explain(model, normal(2, 8), "deep_shap", target=0, baseline=normal(3, 8, seed=4))


def test_the_worst_part_is_halved_first(monkeypatch):
    """A jump at the end of the way is found with few parts, though another is at its start."""
    monkeypatch.setattr(ranks, "LONGEST", 1)
    monkeypatch.setattr(integral, "MOST_PARTS", 40)
    model = ordered(ORDERS["sort"], rows([1.0, 10.0, 100.0])[0])
    # The third crosses the first near the start, and the second near the end.
    found = explain(
        model, rows([0.5, 4.9, 5.0]), baseline=rows([0.05, 4.9, 0.0]), on_incomplete="ignore"
    )
    assert off(found) < 1e-5


# -- where no signal goes


@pytest.mark.parametrize("name", ["deeplift", "deep_shap"])
def test_a_score_that_no_signal_reaches(name):
    x = rows([2.0, 3.0, -1.0])
    with pytest.warns(IncompleteWarning, match="1 of 1 samples did not. The model .* rounds by"):
        found = pl.explain(lambda x: x.sign(), x, name, target=1)
    assert found.values.abs().max() == 0
    assert_close(found.completeness.residual, torch.ones(1).double())
    assert any("does not depend on `inputs`" in note for note in found.notes)
    for step in (torch.round, torch.floor):
        with pytest.raises(DisconnectedError, match="must depend on the input"):
            pl.explain(step, x, name, target=1)


def test_a_score_that_no_signal_reaches_from_many_baselines():
    found = pl.explain(
        lambda x: x.sign(), rows([2.0, 3.0, -1.0]), "deep_shap", target=1,
        baseline=normal(5, 3), batch_size=3, on_incomplete="ignore",
    )  # fmt: skip
    assert found.values.abs().max() == 0
