"""What is run at once is bounded by what a model makes of it on the way, whatever the method."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid import Target, batching, memory
from pellucid.answer import _look
from pellucid.batching import Batcher, are_few, auto_rows
from pellucid.memory import Budget, Made, rows_within
from pellucid.program import Program, untouched
from pellucid.structure import Inputs
from tests.counting import Counting
from tests.zoo.network import normal, seeded


def net(layers: int = 2) -> nn.Module:
    more = [nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh()) for _ in range(layers)]
    return seeded(nn.Sequential(*more, nn.Flatten(), nn.Linear(300, 2))).double().eval()


DATA = normal(9, 3, 10, 10, seed=2)
INPUT = 8 * 300
# Of each block of a net what the convolution and the Tanh return; at the end the scores.
ONE = 2 * 2 * INPUT + 8 * 2


def made(run: Callable[[], object]) -> int:
    with Made() as mode, torch.no_grad():
        run()
    return mode.made


def small(monkeypatch: pytest.MonkeyPatch, samples: float, one: int = ONE) -> None:
    """As if so many samples of a net fitted, and none were few."""
    monkeypatch.setattr(batching, "FEW_ELEMENTS", 0)
    monkeypatch.setattr(memory, "BYTES", int(samples * one))


def test_what_is_made_is_counted_by_hand():
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.ReLU(inplace=True))
    x = torch.ones(2, 3)
    # What is written in place, or is only another view, is there already.
    assert made(lambda: model(x)) == 4 * 2 * (5 + 5 + 4)
    assert made(lambda: model(x).T.flatten().view(8)) == 4 * 2 * (5 + 5 + 4 + 4)
    assert made(lambda: torch.topk(x, 2)) == 2 * 2 * (4 + 8)
    assert made(lambda: [*x.split(1, 1)]) == 0
    with torch.inference_mode():
        assert made(lambda: model(x)) == 4 * 2 * (5 + 5 + 4)


def test_what_is_made_of_parameters_alone_is_not_of_the_samples():
    plain = nn.Linear(30, 5)
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(30, 5))
    x = torch.ones(1, 30)
    assert made(lambda: normed(x)) == made(lambda: plain(x)) == 4 * 5
    with torch.autocast("cpu", torch.bfloat16):
        assert made(lambda: plain(x)) == 2 * (30 + 5)


def test_it_grows_with_the_samples_and_the_layers():
    few, many = net(), net(8)
    assert made(lambda: few(DATA)) == 9 * ONE
    assert made(lambda: many(DATA[:1])) == ONE + 6 * 2 * INPUT


def test_the_tape_knows_what_it_holds():
    """The copy of the inputs as well, and nothing of the weights."""
    assert pl.record(net(), DATA).made == 9 * (ONE + INPUT)


def test_a_room_is_that_of_the_most_demanding_run(monkeypatch):
    monkeypatch.setattr(memory, "BYTES", 1000)
    budget = Budget()
    assert budget.rows > 10**9
    for taken, rows, most in ((400, 4, 10), (90, 3, 10), (600, 2, 3), (5000, 1, 1)):
        budget.learn(taken, rows)
        assert budget.rows == most
    assert rows_within(lambda: torch.ones(25)) == 10


def test_batches_shrink_as_soon_as_it_is_known(monkeypatch):
    monkeypatch.setattr(memory, "BYTES", 1000)
    budget, seen = Budget(), []

    def work(start: int, stop: int) -> None:
        seen.append(stop - start)
        budget.learn(300 * (stop - start), stop - start)

    list(Batcher("auto", start=4, budget=budget).run(9, work))
    list(Batcher(5, start=1, budget=budget).run(10, work))
    forward = Batcher("auto", start=4, budget=budget).forward(torch.ones(1, 2**18))
    assert seen == [4, 3, 2, 5, 5]
    assert forward.size == 3


@pytest.mark.parametrize(
    ("rows", "like", "few"),
    [
        (1, torch.ones(1, 2**24), True),
        (3, torch.ones(3, 3, 224, 224), True),
        (4, torch.ones(4, 3, 224, 224), False),
        (64, torch.ones(64, 30), True),
        (65, torch.ones(65, 30), False),
        (16, torch.ones(16, 64, dtype=torch.int64), True),
        (17, torch.ones(17, 64, dtype=torch.int64), False),
    ],
)
def test_what_is_few(rows, like, few):
    assert are_few(rows, [like]) == few
    assert are_few(rows, [like[:, :0], like]) == few


METHODS = {
    "saliency": {},
    "lrp": {},
    "gradcam": {"layer": "model.1.1"},
    "smoothgrad": {"samples": 5},
    "integrated_gradients": {"steps": 4},
    "occlusion": {"window": 5, "stride": 5},
    "kernel_shap": {"samples": 20, "features": (torch.arange(300) // 100).reshape(3, 10, 10)},
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("samples", "most"), [(0.1, 1), (4.5, 4), (100, None)])
def test_so_many_samples_are_explained_at_once(name, samples, most, monkeypatch):
    before = Counting(net())
    whole = pl.explain(before, DATA, name, target=0, **METHODS[name])
    small(monkeypatch, samples)
    model = Counting(net())
    found = pl.explain(model, DATA, name, target=0, **METHODS[name])
    if most is None:  # all fit: there is nothing but the look
        assert model.calls == [1, *before.calls]
    else:
        assert max(model.calls) <= most
        assert model.calls[:2] == [1, most]
    assert_close(found.values, whole.values)
    assert_close(found.score, whole.score)
    assert found.evaluations.forward == sum(model.calls)
    assert found.evaluations.calls == len(model.calls)
    assert found.notes == whole.notes


def test_compared_methods_are_bounded_together(monkeypatch):
    small(monkeypatch, 2.5)
    model = Counting(net())
    found = pl.compare(model, DATA, ["saliency", "lrp"], targets=[0, 1])
    assert model.calls == [1, 2, 2, 2, 2, 1]
    assert sum(each.evaluations.forward for each in found) == 10


def test_what_a_user_asks_for_is_obeyed(monkeypatch):
    small(monkeypatch, 0.1)
    model = Counting(net())
    assert pl.explain(model, DATA, "saliency", batch_size=6).evaluations.calls == 2
    assert model.calls == [6, 3]


def test_few_samples_are_not_looked_at_and_their_points_are_bounded_all_the_same(monkeypatch):
    """Of a small input that a model makes much of, as a generator does."""
    model = Counting(nn.Sequential(nn.Linear(4, 1000), nn.Tanh(), nn.Linear(1000, 1)))
    monkeypatch.setattr(memory, "BYTES", 10 * 4 * 2001)
    found = pl.explain(model, torch.ones(2, 4), "smoothgrad", samples=20)
    assert model.calls == [2, 10, 10, 10, 10]
    assert found.evaluations.forward == 42


def test_an_integer_stands_for_an_embedding():
    words, numbers = torch.ones(1, 64, dtype=torch.int64), torch.ones(1, 64)
    assert (auto_rows(words, 1), auto_rows(numbers, 1)) == (4, 2048)
    assert auto_rows(words, 50) == 50
    assert auto_rows(words, 1, embedding=1) == 2048


def test_texts_that_fit_are_run_together():
    """Nobody guesses how large an embedding may be: of this one the first run shows it."""
    model = Counting(seeded(nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(96, 1))))
    pl.explain(model, torch.ones(4, 32, dtype=torch.int64), "integrated_gradients", steps=20)
    assert model.calls == [4, 4, 1, 80]


def test_words_are_bounded_by_what_their_embeddings_become(monkeypatch):
    model = seeded(nn.Sequential(nn.Embedding(9, 100), nn.Flatten(), nn.Linear(600, 1)))
    counting = Counting(model)
    monkeypatch.setattr(memory, "BYTES", 7 * 4 * 601)
    pl.explain(counting, torch.ones(2, 6, dtype=torch.int64), "integrated_gradients", steps=20)
    assert 1 < max(counting.calls) <= 7


class OfOneSize(nn.Module):
    """Takes nine samples and no others, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("runs", torch.zeros(()))
        self.least = 9

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.runs += 1
        noise = torch.rand(2)
        if len(x) < self.least:
            raise ValueError("nine samples")
        return x.flatten(1)[:, :2] * (noise + self.runs)


def test_a_model_that_does_not_take_one_sample_gets_all(monkeypatch):
    small(monkeypatch, 100)
    model = OfOneSize()
    found = pl.explain(model, DATA, "saliency", target=0)
    assert found.evaluations == (10, 9, 2)
    assert model.runs == 0


@pytest.mark.parametrize("least", [1, 9])
def test_a_look_leaves_nothing(least, monkeypatch):
    """Not in the model, nor in the random numbers that it draws next."""
    model = OfOneSize()
    model.least = least
    torch.manual_seed(0)
    before = pl.explain(model, DATA, "saliency", target=0).values
    small(monkeypatch, 100)
    torch.manual_seed(0)
    assert torch.equal(pl.explain(model, DATA, "saliency", target=0).values, before)
    with untouched(model) as states:
        program = Program(model, states)
        state = torch.get_rng_state()
        assert _look(program, Inputs.of(DATA)) == 1
        assert torch.equal(torch.get_rng_state(), state)
        assert model.runs == 0
        assert (program.budget.row > 0) == (least == 1)


def test_samples_that_share_statistics_stay_together(monkeypatch):
    small(monkeypatch, 0.1)
    model = Counting(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten()))
    pl.explain(model.double().eval(), DATA, "saliency", target=0)
    assert model.calls == [9]


@pytest.mark.parametrize(("samples", "most"), [(0.1, 1), (2.5, 2), (4.5, 4), (100, 6)])
def test_dreams_climb_so_many_at_a_time(samples, most, monkeypatch):
    whole = pl.inspect.dream(net(), [0, 1, 0, 1, 0, 1], shape=(3, 10, 10), steps=3, start="noise")
    small(monkeypatch, samples, ONE + INPUT + 100)  # which is copied on the way
    model = Counting(net())
    found = pl.inspect.dream(model, [0, 1, 0, 1, 0, 1], shape=(3, 10, 10), steps=3, start="noise")
    assert max(model.calls) == most
    assert_close(found.inputs, whole.inputs)
    assert found.evaluations == (sum(model.calls), 18, len(model.calls))


def test_dreams_of_a_layer_need_what_comes_before_it_alone(monkeypatch):
    """And as many units are looked for at a time as climb."""
    small(monkeypatch, 1.5, ONE + 6 * 2 * INPUT)
    units = [Target.unit("model.0", channel) for channel in (0, 1, 2, 0, 1, 2)]
    most = {}
    for name, aims in (("short", units), ("to the end", [*units[:5], 0])):
        model = Counting(net(8))
        found = pl.inspect.dream(model, aims, shape=(3, 10, 10), steps=2)
        most[name] = max(model.calls)
        assert found.evaluations == (sum(model.calls), 12, len(model.calls))
    assert most["short"] >= 3
    assert most["to the end"] == 1


def test_dreams_of_a_size_that_is_asked_for_are_not_measured(monkeypatch):
    small(monkeypatch, 0.1)
    model = Counting(net())
    pl.inspect.dream(model, [0, 1, 0], shape=(3, 10, 10), steps=2, batch_size=3)
    assert model.calls == [3, 3, 3]


@pytest.mark.parametrize("by", ["activation", "relevance"])
def test_top_examples_are_explained_so_many_at_a_time(by, monkeypatch):
    options = {"by": by, "k": 5, "patches": True, "target": 0}
    whole = pl.top_examples(net(), DATA, "0", [0, 1], **options)
    small(monkeypatch, 3.5)
    model = Counting(net())
    found = pl.top_examples(model, DATA, "model.0", [0, 1], **options, folder=None)
    assert 1 < max(model.calls[-4:]) <= 3
    for one, other in zip(found, whole, strict=True):
        assert_close(one.explanation.values, other.explanation.values)
        assert one.index.tolist() == other.index.tolist()


def test_a_mutant_that_counts_nothing_dies(monkeypatch):
    monkeypatch.setattr(memory, "_owns", lambda _: [False])
    with pytest.raises(AssertionError):
        test_so_many_samples_are_explained_at_once("saliency", 4.5, 4, monkeypatch)
    with pytest.raises(AssertionError):
        test_dreams_climb_so_many_at_a_time(2.5, 2, monkeypatch)
