"""Rules for operations without weights: sums, choices, norms, softmax and what is unknown."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.propagate.composites import Composite
from pellucid.propagate.rules import Epsilon, GradientTimesInput, NormIdentity, TaylorSoftmax
from pellucid.propagate.rules.families import DEFAULTS, family
from pellucid.propagate.samples import Layout
from tests.zoo.network import normal, seeded

EPSILON = 1e-6
IDENTITY = Composite(name="identity", entries=(("norm", NormIdentity()), ("any", Epsilon())))


def lrp(model, x: Tensor, composite: str | Composite = "epsilon", **options):
    return pl.explain(model, x, "lrp", composite=composite, **{"target": 0, **options})


def share(function, *tensors: Tensor, relevance: Tensor | None = None, rule=None):
    """What the last operation of a function gives its inputs, and what arrived there."""
    tape = pl.record(function, tensors)
    operation = tape.operations[-1]
    size = operation.output.shape
    arriving = normal(1, *size, seed=9)[0] if relevance is None else relevance
    rest = [None] * (len(operation.outputs) - 1)
    found = (rule or DEFAULTS[family(operation)]).share(operation, [arriving, *rest], Layout())
    return found, arriving


# -- choices


@pytest.mark.parametrize(
    ("function", "wins"),
    [
        (torch.maximum, torch.ge), (torch.minimum, torch.le), (torch.fmax, torch.ge),
        (torch.fmin, torch.le), (lambda a, b: a.clamp(min=b), torch.ge),
    ],
)  # fmt: skip
def test_of_two_signals_the_winner_gets_all(function, wins):
    a, b = normal(3, 4, seed=1), normal(3, 4, seed=2)
    found, relevance = share(function, a, b)
    assert_close(found.signals, [relevance * wins(a, b), relevance * ~wins(a, b)])


@pytest.mark.parametrize("function", [torch.maximum, torch.minimum])
def test_the_first_of_two_wins_a_tie(function):
    a = torch.ones(3).double()
    found, relevance = share(function, a, a.clone())
    assert_close(found.signals, [relevance, torch.zeros(3).double()])


@pytest.mark.parametrize("axes", [(0,), (1,), (-1,), (0, 2), (1, 2), (2, 0), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("keep", [True, False], ids=["kept", "dropped"])
@pytest.mark.parametrize("name", ["amax", "amin"])
def test_the_first_extreme_along_axes_gets_all(name, keep, axes):
    x = normal(3, 4, 5, seed=1).mul(2).round()  # with many ties
    function = lambda x: getattr(torch, name)(x, axes, keepdim=keep)  # noqa: E731
    found, relevance = share(function, x)
    extreme = getattr(torch, name)(x, axes, keepdim=True)
    expected = torch.zeros_like(x)
    rest = [axis for axis in range(3) if axis not in {a % 3 for a in axes}]
    wanted = relevance.reshape(extreme.shape)
    taken = set()
    order = [*rest, *sorted(a % 3 for a in axes)]  # the last axis of those moves fastest
    for place in torch.cartesian_prod(*(torch.arange(x.shape[a]) for a in order)).tolist():
        index = tuple(place[order.index(axis)] for axis in range(3))
        group = tuple(0 if axis not in rest else index[axis] for axis in range(3))
        if group not in taken and x[index] == extreme[group]:
            taken.add(group)
            expected[index] = wanted[group]
    assert_close(found.signals[0], expected)


def test_where_gives_all_to_the_chosen_branch():
    a, b, mask = normal(3, 4, seed=1), normal(3, 4, seed=2), normal(3, 4, seed=3) > 0
    found, relevance = share(lambda a, b: torch.where(mask, a, b), a, b)
    assert_close(found.signals[1:], [relevance * mask, relevance * ~mask])


def test_what_a_fill_value_gets_is_booked_with_the_biases():
    x, mask = normal(3, 4, seed=1), normal(3, 4, seed=3) > 0
    found, relevance = share(lambda x: x.masked_fill(mask, 2.0), x)
    assert_close(found.signals[0], relevance * ~mask)
    assert_close(found.bias, (relevance * mask).sum())


def test_places_of_a_grid_receive_nothing():
    image, grid = normal(1, 1, 4, 4, seed=1), normal(1, 3, 3, 2, seed=2).tanh()
    found, relevance = share(lambda a, g: F.grid_sample(a, g, align_corners=False), image, grid)
    assert found.signals[1] is None
    assert_close(found.signals[0].sum() + found.stabilizer, relevance.sum())


# -- norms, in loops


def slow_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, relevance: Tensor) -> Tensor:
    """R_i = sum_j contribution of x_i to z_j / z_j R_j for n elements normalized together."""
    n = len(x)
    deviation = (x.var(correction=0) + eps).sqrt()
    out = torch.zeros_like(x)
    for j in range(n):
        z = weight[j] * (x[j] - x.mean()) / deviation + bias[j]
        z = z + (EPSILON if z >= 0 else -EPSILON)
        for i in range(n):
            part = weight[j] / deviation * ((1.0 if i == j else 0.0) - 1 / n) * x[i]
            out[i] += part / z * relevance[j]
    return out


def norms() -> dict[str, tuple[nn.Module, Tensor, object]]:
    """A norm, an input, and its groups: the elements that are normalized together, as indices."""
    index = torch.arange(2 * 4 * 3 * 3).reshape(2, 4, 3, 3)
    return {
        "layer": (nn.LayerNorm(3), index.reshape(-1, 3)),
        "layer, two axes": (nn.LayerNorm((3, 3)), index.reshape(-1, 9)),
        "group": (nn.GroupNorm(2, 4), index.reshape(4, -1)),
        "instance": (nn.InstanceNorm2d(4, affine=True), index.reshape(8, -1)),
        "batch": (nn.BatchNorm2d(4), index.transpose(0, 1).reshape(4, -1)),
    }


@pytest.mark.filterwarnings("ignore::pellucid.errors.TrainingModeWarning")
@pytest.mark.parametrize("name", norms())
def test_a_norm_is_what_the_formula_says(name):
    module, groups = norms()[name]
    module = seeded(module).train(name == "batch")
    x = normal(2, 4, 3, 3, seed=4)
    start = normal(2, 4, 3, 3, seed=5)
    model = lambda x: (module(x) * start).sum((1, 2, 3)).unsqueeze(1)  # noqa: E731
    if name == "batch":
        model = lambda x: (module(x) * start).sum().reshape(1, 1).expand(2, 1)  # noqa: E731
    found = lrp(model, x)
    z = module(x).detach()
    arriving = z * start if name != "batch" else 2 * z * start
    affine = torch.ones(2, 4, 3, 3).double(), torch.zeros(2, 4, 3, 3).double()
    shape = (4, 1, 1) if len(module.weight) == 4 else module.weight.shape
    weight = (affine[0] * module.weight.detach().reshape(shape)).flatten()
    bias = (affine[1] + module.bias.detach().reshape(shape)).flatten()
    expected = torch.zeros(72).double()
    for group in groups:
        expected[group] = slow_norm(
            x.flatten()[group], weight[group], bias[group], module.eps, arriving.flatten()[group]
        )
    assert_close(found.values.flatten(), expected, rtol=1e-4, atol=1e-4)
    assert abs(found.ledger.residual) <= 1e-6 * found.ledger.largest
    assert abs(found.ledger.bias) > 1e-3


def written_layer(x: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()


def written_by_squares(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-5)


def written_in_single(x: Tensor) -> Tensor:
    return written_by_squares(x.float()).type_as(x)


def written_rms(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)


WRITTEN = {
    "layer": (written_layer, lambda x: F.layer_norm(x, (6,))),
    "layer, by squares": (written_by_squares, lambda x: F.layer_norm(x, (6,))),
    "layer, in single precision": (written_in_single, lambda x: F.layer_norm(x, (6,))),
    "root mean square": (written_rms, lambda x: F.rms_norm(x, (6,), eps=1e-5)),
    "euclidean": (lambda x: x / x.norm(dim=-1, keepdim=True), lambda x: F.normalize(x, dim=-1)),
}


@pytest.mark.parametrize("composite", ["epsilon", IDENTITY], ids=["epsilon", "identity"])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_norm_that_is_written_out_is_the_same(name, composite):
    first, last = seeded(nn.Linear(4, 6)), seeded(nn.Linear(6, 2), 1)
    weight, bias = normal(6, seed=2), normal(6, seed=3)
    x = normal(3, 4, seed=5)
    a, b = (
        lrp(lambda x, norm=norm: last(norm(first(x)) * weight + bias), x, composite)
        for norm in WRITTEN[name]
    )
    rtol = 1e-3 if "single" in name else 1e-5
    assert_close(a.values, b.values, rtol=rtol, atol=rtol)
    for found in (a, b):
        assert abs(found.ledger.residual) <= 1e-4 * found.ledger.largest


# -- where zennit 0.5 doubles, returns zeros, and raises


def test_relevance_is_not_doubled_where_signals_add_up():
    """Positive layers without biases, each with a connection around it, written `h + x`."""
    layers = [nn.Linear(4, 4, bias=False).double() for _ in range(8)]
    for layer in layers:
        nn.init.constant_(layer.weight, 0.1)

    def model(x: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x).relu() + x
        return x

    found = lrp(model, torch.ones(1, 4).double())
    assert_close(found.values.sum(1) / found.score, torch.ones(1).double(), rtol=1e-4, atol=0)


def test_relevance_behind_a_layer_norm_is_not_zero():
    model = nn.Sequential(seeded(nn.Linear(4, 6)), nn.LayerNorm(6), seeded(nn.Linear(6, 2), 1))
    values = lrp(model.double(), normal(3, 4, seed=5)).values
    assert values.abs().sum(1).min() > 1e-3


def test_relevance_runs_through_attention_as_torch_has_it():
    attention = seeded(nn.MultiheadAttention(4, 2, bias=False, batch_first=True))
    head = seeded(nn.Linear(4, 2, bias=False), 1)
    found = lrp(lambda x: head(attention(x, x, x)[0].mean(1)), normal(2, 5, 4, seed=3))
    assert_close(found.values.flatten(1).sum(1), found.score, rtol=1e-4, atol=1e-5)


# -- softmax that is no gate


def test_a_softmax_hands_on_what_arrives_directly():
    found, relevance = share(lambda x: x.softmax(-1), normal(3, 4, seed=1))
    assert found.signals[0] is relevance


def test_the_logarithm_of_a_softmax_is_a_difference():
    """As if it were written out: x less the logarithm of the sum of exponentials."""
    x, relevance = normal(3, 4, seed=1), normal(3, 4, seed=2)
    found, _ = share(lambda x: x.log_softmax(-1), x, relevance=relevance)
    y, level = x.log_softmax(-1), x.logsumexp(-1)
    for n in range(3):
        expected = torch.zeros(4).double()
        for j in range(4):
            r = relevance[n, j] / (y[n, j] - EPSILON)
            expected[j] += x[n, j] * r
            expected -= x[n].softmax(0) * level[n] * r
        assert_close(found.signals[0][n], expected, rtol=1e-9, atol=1e-12)
    assert_close(found.signals[0].sum() + found.stabilizer, relevance.sum())


def test_the_logarithm_of_a_softmax_to_first_order():
    x, relevance = normal(3, 4, seed=1), normal(3, 4, seed=2)
    rule = TaylorSoftmax()
    found, _ = share(lambda x: x.log_softmax(-1), x, relevance=relevance, rule=rule)
    general, _ = share(
        lambda x: x.log_softmax(-1), x, relevance=relevance, rule=GradientTimesInput()
    )
    assert_close(found.signals[0], general.signals[0], rtol=1e-9, atol=1e-12)
    assert_close(found.stopped, general.stopped)


def test_a_safe_exponential_loses_nothing_to_its_maximum():
    """exp(x - max x): at the winner the difference is zero, and it still has relevance."""
    layer = seeded(nn.Linear(3, 4, bias=False))
    head = seeded(nn.Linear(4, 2, bias=False), 1)

    def model(x: Tensor) -> Tensor:
        z = layer(x)
        return head(torch.exp(z - z.amax(1, keepdim=True)))

    found = lrp(model, normal(3, 3, seed=4))
    assert_close(found.values.sum(1), found.score, rtol=1e-4, atol=1e-5)


# -- everything conserves


class Between(nn.Module):
    """A function between two linear layers without biases."""

    def __init__(self, function) -> None:
        super().__init__()
        self.first = seeded(nn.Linear(4, 8, bias=False))
        self.last, self.function = seeded(nn.Linear(4, 2, bias=False), 1), function

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x))).sum(1)


KERNEL = normal(4, 4, 4, seed=0)
FUNCTIONS = {
    "maximum": lambda z: torch.maximum(*z.chunk(2, -1)),
    "prod": lambda z: z.unflatten(-1, (4, 2)).prod(-1),
    "vector norm": lambda z: z.unflatten(-1, (4, 2)).norm(dim=-1),
    "norm of order three": lambda z: torch.linalg.vector_norm(z.unflatten(-1, (4, 2)), 3, -1),
    "deviation": lambda z: z.unflatten(-1, (4, 2)).std(-1),
    "variance": lambda z: z.unflatten(-1, (4, 2)).var(-1),
    "variance and mean": lambda z: sum(torch.var_mean(z.unflatten(-1, (4, 2)), -1)),
    "hypotenuse": lambda z: torch.hypot(*z.chunk(2, -1)),
    "reduced": lambda z: (
        torch.zeros(2, 5, 4)
        .double()
        .scatter_reduce(2, torch.tensor([0, 1, 2, 3] * 2).expand(2, 5, 8), z, "sum")
    ),
    "logsumexp": lambda z: z.unflatten(-1, (4, 2)).logsumexp(-1) + 3 * z[..., :4],
    "lerp": lambda z: torch.lerp(z[..., :4], z[..., 4:], 0.3),
    "lerp by a gate": lambda z: torch.lerp(z[..., :4], z[..., 4:], torch.sigmoid(z[..., :4])),
    "addcmul": lambda z: torch.addcmul(z[..., :4], z[..., :4], z[..., 4:], value=2.0),
    "addcdiv": lambda z: torch.addcdiv(z[..., :4], z[..., :4], z[..., 4:].abs() + 1),
    "cumsum": lambda z: z.cumsum(1)[..., :4],
    "einsum": lambda z: torch.einsum("btc,bsc->bts", z, z)[..., :4],
    "einsum of the same": lambda z: torch.einsum("btc,btc->bt", z[..., :4], z[..., 4:])[
        ..., None
    ].expand(-1, -1, 4),
    "matrix product with a sum": lambda z: torch.baddbmm(z[..., :5], z, z.mT, beta=0.5, alpha=2.0)[
        ..., :4
    ],
    "bilinear": lambda z: F.bilinear(z[..., :4].contiguous(), z[..., 4:].contiguous(), KERNEL),
    "weights that are a signal": lambda z: torch.stack([F.linear(a, a[:4]) for a in z]),
    "a kernel that is a signal": lambda z: torch.stack(
        [F.conv1d(a[None], a[:, None, :3], padding=1, groups=5)[0] for a in z]
    )[..., :4],
    "distance": lambda z: torch.cdist(z, z)[..., :4] + z[..., :4],
    "cosine": lambda z: (
        F.cosine_similarity(z[..., :4], z[..., 4:], dim=-1)[..., None] * torch.ones(4)
    ),
    "division": lambda z: z[..., :4] / (1 + z[..., 4:].abs()),
    "power": lambda z: z[..., :4] ** 3,
    "top": lambda z: z.topk(4, -1)[0],
    "sorted": lambda z: z.sort(-1)[0][..., :4],
    "second smallest": lambda z: z.unflatten(-1, (4, 2)).kthvalue(2, -1)[0],
    "scattered": lambda z: (
        torch.zeros(2, 5, 4)
        .double()
        .scatter_add(2, torch.tensor([0, 1, 2, 3] * 2).expand(2, 5, 8), z)
    ),
    "padded": lambda z: F.pad(z, (-2, -2, 1, 1), mode="constant")[:, 1:-1],
    "rotated": lambda z: (
        z[..., :4] * torch.arange(4).cos()
        + torch.cat([-z[..., 2:4], z[..., :2]], -1) * torch.arange(4).sin()
    ),
    "pooled by a norm": lambda z: F.lp_pool1d(z.abs(), 2, 2),
    "prelu": lambda z: F.prelu(z, torch.tensor([0.3]).double())[..., :4],
    "upsampled": lambda z: F.interpolate(z, scale_factor=2, mode="linear")[..., :4],
    "softmax of the channels": lambda z: z.softmax(-1)[..., :4],
    "grouped and mixed": lambda z: z.unflatten(-1, (2, 4)).amax(-2),
    "dropped out": lambda z: F.dropout(z[..., :4], 0.5, training=True),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_relevance_is_conserved_without_biases(name):
    torch.manual_seed(0)
    found = lrp(Between(FUNCTIONS[name]), normal(2, 5, 4, seed=3))
    ledger = found.ledger
    kept = ledger.each_of("stabilizer").to(found.values)
    assert found.values.isfinite().all()
    assert found.values.abs().max() > 1e-3
    assert_close(found.values.flatten(1).sum(1) + kept, found.score, rtol=1e-6, atol=1e-8)
    assert abs(ledger.stabilizer) <= 1e-3 * ledger.largest
    assert abs(ledger.bias) <= 1e-8 * ledger.largest
    for row in ledger.rows:
        assert abs(row.rest) <= 1e-6 * ledger.largest, row


def test_the_share_of_the_other_end_of_a_distance_is_a_bias():
    centres = normal(1, 4, 8, seed=2).expand(2, -1, -1)
    found = lrp(Between(lambda z: torch.cdist(z, centres)), normal(2, 5, 4, seed=3))
    assert abs(found.ledger.bias) > 1e-2
    assert abs(found.ledger.residual) <= 1e-6 * found.ledger.largest


def test_two_masks_on_the_same_scores():
    mask = torch.full((5, 5), -float("inf")).double().triu(1)

    def attend(z: Tensor) -> Tensor:
        scores = z @ z.mT + mask + mask.mT.flip((0, 1)).mT
        return (scores.softmax(-1) @ z)[..., :4]

    found = lrp(Between(attend), normal(2, 5, 4, seed=3), "attnlrp")
    assert found.values.isfinite().all()
    assert abs(found.ledger.residual) <= 1e-6 * found.ledger.largest


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_sample_is_what_it_is_in_a_batch(name):
    if name == "dropped out":
        pytest.skip("draws another mask for another batch")
    model, x = Between(FUNCTIONS[name]), normal(2, 5, 4, seed=3)
    if name in ("scattered", "reduced"):
        model = Between(lambda z: FUNCTIONS[name](torch.cat([z, z])[:2])[: len(z)])
    alone, whole = lrp(model, x[:1]), lrp(model, x)
    assert_close(alone.values[0], whole.values[0], rtol=1e-6, atol=1e-9)
    both = whole.ledger.select([0])
    assert both.bias == pytest.approx(alone.ledger.bias, rel=1e-6, abs=1e-8)
    assert both.stabilizer == pytest.approx(alone.ledger.stabilizer, rel=1e-4, abs=1e-7)


# -- what is unknown


def test_what_has_no_rule_is_refused_or_goes_by_the_gradient():
    layer, head = seeded(nn.Linear(4, 8)), seeded(nn.Linear(4, 2), 1)
    model = lambda x: head(torch.atan2(*layer(x).chunk(2, -1)))  # noqa: E731
    x = normal(2, 4, seed=3)
    with pytest.raises(pl.errors.MissingRuleError, match=r"rule; got `atan2` \(operation 2"):
        lrp(model, x)
    found = pl.LRP(composite="epsilon", unknown="gradient")(model, x, target=0)
    row = next(row for row in found.ledger.rows if row.name == "atan2")
    assert row.rule == "Gradient"
    # Both arguments times two do not change the angle: by Euler nothing is passed on.
    assert row.relevance_in == pytest.approx(0, abs=1e-8)
    assert abs(found.ledger.residual) <= 1e-6 * found.ledger.largest


@pytest.mark.parametrize("unknown", ["error", "gradient"])
def test_complex_numbers_are_refused_by_name(unknown):
    head = seeded(nn.Linear(4, 2), 1)
    model = lambda x: head(torch.fft.ifft(torch.fft.fft(x)).real)  # noqa: E731
    method, x = pl.LRP(composite="epsilon", unknown=unknown), normal(2, 4, seed=3)
    said = r"must be of real .*; got complex ones at `.*\. Take integrated_gradients or deeplift"
    with pytest.raises(pl.errors.MissingRuleError, match=said):
        method(model, x, target=0)
    for name in ("integrated_gradients", "deeplift"):
        assert pl.explain(model, x, name, target=0).completeness.relative.abs().max() < 0.01


def test_relevance_at_a_layer_behind_complex_numbers():
    first, head = seeded(nn.Linear(4, 4)), seeded(nn.Linear(4, 2), 1)
    net = nn.Sequential(first, Fourier(), head)
    found = pl.explain(net, normal(2, 4, seed=3), "lrp", target=0, composite="epsilon", at="1")
    expected = net[1](first(normal(2, 4, seed=3))) * head.weight[0]
    assert_close(found.values, expected, rtol=1e-4, atol=1e-8)


class Fourier(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft(x).abs()


# -- explanations that are differentiated


DIFFERENTIABLE = {
    "maximum": torch.maximum,
    "product": torch.mul,
    "gate": lambda a, b: torch.sigmoid(a) * b,
    "division": torch.div,
    "matrix product": lambda a, b: a @ b.mT,
    "attention": lambda a, b: torch.bmm(a.softmax(-1), b.mT),
    "sum": torch.add,
    "softmax": lambda a, b: a.softmax(-1),
    "log softmax": lambda a, b: a.log_softmax(-1),
    "layer norm": lambda a, b: F.layer_norm(a, (4,), b[0, 0], b[0, 1]),
    "group norm": lambda a, b: F.group_norm(a.mT, 2, b[0, 0], b[0, 1]),
}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_rules_are_differentiable_in_the_relevance(name):
    """No rule writes into what autograd needs."""
    function = DIFFERENTIABLE[name]
    a, b = normal(2, 3, 4, seed=1), normal(2, 3, 4, seed=2)
    only = "norm" in name or "softmax" in name
    tape = pl.record((lambda a: function(a, b)) if only else function, (a,) if only else (a, b))
    operation = tape.operations[-1]
    if name == "group norm":
        operation = next(op for op in tape.operations if op.name == "native_group_norm")
    rules = [DEFAULTS[family(operation)]]
    if "softmax" in name:
        rules.append(TaylorSoftmax())
    for rule in rules:

        def shared(relevance: Tensor, rule=rule) -> tuple[Tensor, ...]:
            rest = [None] * (len(operation.outputs) - 1)
            found = rule.share(operation, [relevance, *rest], Layout())
            return tuple(s for s in found.signals if s is not None)

        start = normal(*operation.output.shape, seed=5).requires_grad_()
        assert torch.autograd.gradcheck(shared, (start,))
