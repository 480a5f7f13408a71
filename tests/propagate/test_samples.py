"""Books of every sample: the verdict on a sample does not depend on the others of its batch."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.propagate import samples
from pellucid.propagate.axes import MOVES, moved, reshaped
from pellucid.propagate.rules import Epsilon, Share, weighted
from pellucid.propagate.rules.registered import REGISTERED, Registered
from pellucid.propagate.rules.sharing import divide
from pellucid.tape.ledger import Entry, Ledger
from tests import zoo
from tests.propagate.test_rules import BLOCKS, RELEVANT, Block, Summed, dense_net
from tests.zoo.network import normal, seeded


@pytest.fixture
def leaky(monkeypatch):
    """A rule of a user's that keeps half of all relevance."""
    half = Registered("Half", lambda operation, signals: [s * 0.5 for s in signals])
    monkeypatch.setitem(REGISTERED, "sin", half)


def sine(x: Tensor) -> Tensor:
    return torch.sin(x).sum(1, keepdim=True)


def shifted() -> nn.Linear:
    layer = nn.Linear(2, 1)
    nn.init.ones_(layer.weight)
    nn.init.constant_(layer.bias, 5.0)
    return layer


@pytest.mark.parametrize("batch_size", [1, 2, "auto"])
@pytest.mark.parametrize("order", [[0, 1], [1, 0], [1, 0, 0, 1]])
def test_opposite_leaks_do_not_cancel(leaky, order, batch_size):
    x = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])[order]
    options = {"target": 0, "batch_size": batch_size}
    with pytest.raises(pl.errors.IncompleteError, match=r"worst of \d.* at sin .*rule Half"):
        pl.explain(sine, x, "lrp", on_incomplete="raise", **options)
    found = pl.explain(sine, x, "lrp", on_incomplete="ignore", **options)
    assert_close(found.ledger.residuals, found.score.double() / 2, rtol=1e-5, atol=0)


def test_the_leak_of_one_sample_is_that_sample_s(leaky):
    x = torch.tensor([[torch.pi, torch.pi], [1.0, 1.0], [0.0, 0.0]])
    with pytest.raises(pl.errors.IncompleteError, match="in sample 1, the worst of 1, 0.841 of"):
        pl.explain(sine, x[[2, 1]], "lrp", target=0, on_incomplete="raise")
    found = pl.explain(sine, x[[2, 1]], "lrp", target=0, on_incomplete="ignore")
    assert not any("must add up" in note for note in found[0].notes)
    assert sum("must add up" in note for note in found[1].notes) == 1


@pytest.mark.parametrize("batch_size", [1, 2, "auto"])
def test_scores_that_cancel_are_no_leak(batch_size):
    x = torch.tensor([[1.0, 1.0], [-6.0, -6.0]])
    options = {"target": 0, "batch_size": batch_size, "on_incomplete": "raise"}
    found = pl.explain(shifted(), x, "lrp", **options)
    assert found.ledger.each_of("bias").tolist() == pytest.approx([5, 5])
    assert any("kept in 2 of 2 samples: biases kept 5" in note for note in found.notes)


def alone(model: object, x: Tensor, **options: object) -> list[pl.Explanation]:
    return [pl.explain(model, x[i : i + 1], "lrp", **options) for i in range(len(x))]


def same_books(whole: pl.Explanation, parts: list[pl.Explanation]) -> None:
    """The ledger, the notes and the verdict of each sample are those it has alone."""
    assert len(whole) == len(parts) > 1
    for one, part in zip(whole, parts, strict=True):
        assert one.ledger.samples == 1
        assert_close(one.ledger.numbers, part.ledger.numbers, rtol=1e-5, atol=1e-6)
        assert [row.name for row in one.ledger.rows] == [row.name for row in part.ledger.rows]
        assert len(one.notes) == len(part.notes)
    total = sum(part.ledger.numbers for part in parts)
    head = [whole.ledger.score, whole.ledger.explained]
    assert_close(torch.tensor(head).double(), total[0, 0, :2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus-flat"])
@pytest.mark.parametrize("how", BLOCKS)
def test_a_sample_has_the_books_it_has_alone(how, composite):
    net, x = Block(how), normal(3, 2, 8, 8, seed=3)
    options = {"target": 0, "composite": composite}
    same_books(pl.explain(net, x, "lrp", **options), alone(net, x, **options))


@pytest.mark.parametrize("name", RELEVANT)
def test_books_do_not_depend_on_the_batch_size(name):
    net = zoo.load(name)
    options = {"target": net.target, "on_incomplete": "ignore"}
    whole = pl.explain(net.model, net.inputs, "lrp", **options)
    cut = pl.explain(net.model, net.inputs, "lrp", batch_size=1, **options)
    assert (whole.ledger.each is None) == (len(whole) == 1)
    assert_close(whole.ledger.numbers, cut.ledger.numbers, rtol=1e-6, atol=1e-9)
    assert len(whole.notes) == len(cut.notes)


class Folded(nn.Module):
    """What models do with the axis of the samples."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.layer = seeded(nn.Linear(4, 4))
        self.conv = seeded(nn.Conv1d(4, 4, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (sample, token, feature)."""
        return getattr(self, self.how)(x)

    def tokens_in_rows(self, x: Tensor) -> Tensor:
        h = self.layer(x.reshape(-1, 4)).relu()
        return self.layer(h).reshape(len(x), -1, 4).mean(1)

    def tokens_first(self, x: Tensor) -> Tensor:
        h = self.layer(x.transpose(0, 1).contiguous()).relu()
        return self.layer(h).sum(0)

    def rows_of_tokens_first(self, x: Tensor) -> Tensor:
        h = self.layer(x.transpose(0, 1).reshape(-1, 4)).relu()
        return self.layer(h).reshape(-1, len(x), 4).amax(0)

    def heads(self, x: Tensor) -> Tensor:
        h = self.layer(x).reshape(len(x), -1, 2, 2).permute(2, 0, 1, 3).reshape(-1, x.shape[1], 2)
        h = torch.bmm(h, torch.eye(2, dtype=x.dtype).expand(len(h), 2, 2)).relu() + 1
        return F.avg_pool1d(h, 2).reshape(2, len(x), -1).permute(1, 0, 2).flatten(1)

    def samples_as_channels(self, x: Tensor) -> Tensor:
        h = self.layer(x).transpose(0, 1)
        return (F.max_pool1d(h, 2) + F.avg_pool1d(h, 2)).relu().sum(0) + 1

    def samples_last(self, x: Tensor) -> Tensor:
        h = x[:, 0].t().contiguous()
        return (self.layer.weight @ h + 1).relu().t()

    def one_by_one(self, x: Tensor) -> Tensor:
        return torch.cat([self.layer(each[None]).relu().sum(1) + 1 for each in x])

    def turned(self, x: Tensor) -> Tensor:
        return self.layer(x.flip(0)).relu().flip(0)[:, 1] + 1

    def with_class_token(self, x: Tensor) -> Tensor:
        token = self.layer.bias.expand(len(x), 1, 4)
        h = self.conv(torch.cat([token, x], 1).transpose(1, 2)).relu()
        return self.layer(h.mean(2))

    def padded(self, x: Tensor) -> Tensor:
        return self.layer(F.pad(x, (0, 0, 1, 1), value=0.5)).relu().amax(1)


@pytest.mark.parametrize("how", [name for name in vars(Folded) if not name.startswith("_")][1:])
def test_samples_are_found_wherever_a_model_puts_them(how):
    net, x = Folded(how), normal(3, 6, 4, seed=3)
    options = {"target": 0, "rules": Epsilon(epsilon=0.01)}
    whole = pl.explain(net, x, "lrp", **options)
    for i, one in enumerate(whole):
        part = pl.explain(net, x[i : i + 1], "lrp", **options)
        found, expected = one.ledger, part.ledger
        for amount in ("bias", "stabilizer", "stopped"):
            sums = (book.each_of(amount) for book in (found, expected))
            assert_close(*sums, rtol=1e-6, atol=1e-9)
        assert abs(found.residual) <= 1e-6 * found.largest
        assert one.notes == part.notes


def test_samples_on_another_axis():
    net, x = Summed(nn.Linear(4, 4)), normal(4, 3, seed=3)

    def model(x: Tensor) -> Tensor:
        return net.layer.double()(x.t()).relu().sum(1, keepdim=True)

    whole = pl.explain(model, x, "lrp", target=0, batch_axis=1)
    assert whole.ledger.each.shape[0] == 3
    assert_close(whole.ledger.residuals, torch.zeros(3).double(), atol=1e-6, rtol=0)


def test_samples_that_a_model_mixes_have_one_ledger():
    net, x = dense_net(bias=True), normal(3, 4, seed=5)

    def model(x: Tensor) -> Tensor:
        return net(x - x.mean(0))

    found = pl.explain(model, x, "lrp", target=0, on_incomplete="raise")
    assert found.ledger.each is None
    assert found.ledger.samples == 3
    assert found[0].ledger is None
    assert any("scores of all 3 samples" in note for note in found.notes)


# Operations that keep the shape, and put together or choose among what lies on the first axis.
MIXING = {
    "softmax": lambda h: h.softmax(0),
    "log_softmax": lambda h: h.log_softmax(0),
    "cumsum": lambda h: h.cumsum(0),
    "layer norm": lambda h: F.layer_norm(h, h.shape),
    "sort": lambda h: h.sort(0)[0],
    "cummax": lambda h: h.cummax(0)[0],
    "maximum": lambda h: h.max(0)[0].expand(3, 4) + h,
    "max pooling": lambda h: F.max_pool1d(h.T[None], 3, 1, 1)[0].T,
    "average pooling": lambda h: F.avg_pool1d(h.T[None], 3, 1, 1)[0].T,
    "channels": lambda h: F.conv1d(h[None], h.new_ones(3, 3, 1))[0],
}


@pytest.mark.parametrize("composite", ["epsilon", "attnlrp"])
@pytest.mark.parametrize("name", MIXING)
def test_samples_that_meet_on_their_own_axis_have_one_ledger(name, composite):
    """The shape is that of before, so that it does not tell."""
    layer, x = seeded(nn.Linear(4, 4)), normal(3, 4, seed=5)
    options = {"target": 0, "composite": composite, "on_incomplete": "raise"}
    found = pl.explain(lambda x: MIXING[name](layer(x)), x, "lrp", **options)
    assert found.ledger.each is None


@pytest.mark.parametrize("name", MIXING)
def test_the_same_on_another_axis_leaves_samples_apart(name):
    layer, x = seeded(nn.Linear(4, 4)), normal(2, 3, 4, seed=5)

    def model(x: Tensor) -> Tensor:
        return torch.stack([MIXING[name](each) for each in layer(x)])[:, 1]

    found = pl.explain(model, x, "lrp", target=0, composite="epsilon", on_incomplete="raise")
    assert found.ledger.each is not None


def experts(x: Tensor, gate: nn.Module, *chosen: nn.Module) -> Tensor:
    """Every sample goes to one expert, whose answers are added where its samples are."""
    numbers, out = gate(x).argmax(1), x.new_zeros(len(x), 4)
    for number, expert in enumerate(chosen):
        (rows,) = torch.where(numbers == number)
        out.index_add_(0, rows, expert(x[rows]).relu())
    return out


def kernels(x: Tensor, *layers: nn.Module) -> Tensor:
    """Every sample has kernels of its own, and all run as groups of one convolution."""
    weight = layers[0](x).reshape(-1, 1, 2)
    return F.conv1d(x.reshape(1, -1, 4), weight.repeat_interleave(2, 0), groups=len(x)).reshape(
        len(x), -1
    )


@pytest.mark.parametrize("model", [experts, kernels])
def test_samples_that_take_ways_of_their_own_have_ledgers_of_their_own(model):
    layers = [seeded(nn.Linear(4, 2), seed=1), *(seeded(nn.Linear(4, 4), seed=n) for n in (2, 3))]
    x = normal(5, 4, seed=5)

    def book(x: Tensor) -> pl.Explanation:
        return pl.explain(lambda x: model(x, *layers), x, "lrp", target=0, composite="epsilon")

    whole = book(x).ledger
    assert whole.each is not None
    for i in range(5):
        for amount in ("bias", "stabilizer", "stopped"):
            assert_close(
                whole.each_of(amount)[i : i + 1], book(x[i : i + 1]).ledger.each_of(amount)
            )


def test_a_rule_that_books_one_sum_leaves_the_samples_together():
    class Summing(Epsilon):
        def share(self, linear: object, signal: Tensor) -> Share:
            found = super().share(linear, signal)
            return Share(found.signals, found.bias.sum(), found.stabilizer.sum())

    x = torch.tensor([[1.0, 1.0], [-6.0, -5.0]])
    found = pl.explain(shifted(), x, "lrp", target=0, rules=Summing(), on_incomplete="raise")
    assert found.ledger.each is None
    assert found.ledger.bias == pytest.approx(10)


def test_books_under_the_wrong_sample_are_announced(monkeypatch):
    """A mutant: sums by sample in the order turned round."""
    right = weighted.divide

    def wrong(*given: object) -> tuple[Tensor, Tensor]:
        ratio, kept = right(*given)
        return ratio, kept.flip(0) if kept.ndim else kept

    monkeypatch.setattr(weighted, "divide", wrong)
    x = torch.tensor([[1.0, 1.0], [-6.0, -9.0]])
    with pytest.raises(pl.errors.IncompleteError, match="must add up"):
        pl.explain(shifted(), x, "lrp", target=0, rules=Epsilon(epsilon=0.5),
                   on_incomplete="raise")  # fmt: skip


@pytest.mark.parametrize("rows", [1, 3])
def test_large_values_are_divided_in_blocks(rows):
    signal, z = normal(rows, 3, 300, 200, seed=1), normal(rows, 3, 300, 200, seed=2)
    ids = None if rows == 1 else torch.arange(rows).reshape(-1, 1, 1, 1)
    ratio, kept = divide(signal, z, 0.25, samples.Samples(rows, ids))
    expected = signal / (z + torch.where(z >= 0, 0.25, -0.25))
    assert_close(ratio, expected)
    assert_close(kept.flatten(), (signal - expected * z).flatten(1).sum(1))


def entry(name: str, out: float) -> Entry:
    return Entry(number=0, name=name, path="", rule="", relevance_out=out, relevance_in=0.0, bias=1)


def test_ledgers_are_joined_sample_by_sample():
    a = Ledger(score=3.0, explained=1.0, rows=(entry("mm", 3.0),))
    b = Ledger(score=4.0, explained=2.0, rows=(entry("add", 4.0), entry("mm", 4.0)))
    twice, mixed = a.join([a, a]), a.join([a, b])
    assert (twice.samples, twice.score, len(twice.rows)) == (2, 6.0, 1)
    assert twice.residuals.tolist() == [1, 1]
    assert [row.name for row in mixed.rows] == ["mm", "add", "mm"]
    assert mixed.residuals.tolist() == [1, 0]
    assert mixed.select([0]).rows[0] == a.rows[0]
    assert mixed.select([0, 1]) is mixed
    assert twice.select([1]) == a
    assert twice != a
    assert twice != "a"
    assert mixed.leaking(1e-4) == [0]
    assert str(twice).startswith("Summed over 2 samples\n")
    assert "Summed" not in str(a)


def test_a_ledger_of_several_samples_comes_back(tmp_path):
    found = pl.explain(shifted(), torch.tensor([[1.0, 1.0], [-6.0, -6.0]]), "lrp", target=0)
    back = pl.load(found.save(tmp_path / "e.safetensors"))
    assert back.ledger == found.ledger
    assert back[1].ledger == found[1].ledger
    assert back[1].notes == found[1].notes


SHAPES = [
    ((2, 3, 4), (6, 4)), ((6, 4), (2, 3, 4)), ((2, 3, 4), (2, 12)), ((2, 3, 4), (24,)),
    ((2, 1, 6), (2, 2, 3)), ((4, 6), (3, 8)), ((2, 3), (1, 2, 1, 3, 1)), ((1,), ()), ((), (1, 1)),
    ((2, 2, 3, 1, 4), (4, 3, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), SHAPES, ids=str)
def test_ids_are_read_in_another_shape_as_their_elements_are(before, after):
    for changing in range(2 ** len(before)):
        axes = [i for i in range(len(before)) if changing >> i & 1]
        narrow = tuple(before[i] if i in axes else 1 for i in range(len(before)))
        ids = torch.arange(torch.Size(narrow).numel()).reshape(narrow)
        found = reshaped(ids, before, after)
        assert torch.equal(found.expand(after), ids.expand(before).reshape(after))


WAYS = {
    "view": lambda x: x.reshape(6, 4),
    "unsqueeze": lambda x: x.unsqueeze(1),
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "permute": lambda x: x.permute(2, 0, 1),
    "transpose": lambda x: x.transpose(0, 2),
    "expand": lambda x: x.unsqueeze(0).expand(5, 2, 3, 4),
    "select": lambda x: x.select(0, 1),
    "select another": lambda x: x.select(1, 2),
    "slice": lambda x: x[1:],
    "slice another": lambda x: x[:, 1:3],
    "unbind": lambda x: x.unbind(0),
    "unbind another": lambda x: x.unbind(2),
    "split": lambda x: x.split(1, 0),
    "split another": lambda x: x.split([1, 3], 2),
    "chunk": lambda x: x.chunk(2, 2),
}


@pytest.mark.parametrize("way", WAYS)
def test_samples_move_with_whole_axes(way):
    """The short way by shapes gives what marks give that are moved element by element."""

    def moving(x: Tensor) -> Tensor:
        found = WAYS[way](x)
        return torch.stack(
            [part.sum() for part in (found if isinstance(found, tuple) else (found,))]
        )

    tape = pl.record(moving, normal(2, 3, 4))
    narrow = torch.arange(2).reshape(2, 1, 1)
    known, whole = {tape.entries[0]: narrow}, {tape.entries[0]: narrow.expand(2, 3, 4).contiguous()}
    for operation in tape.operations:
        slot = operation.slots[0]
        if operation.name not in MOVES or slot not in known:
            continue
        short, full = moved(operation, known[slot]), operation.again(whole.__getitem__)
        for value, ids, marks in zip(operation.outputs, short, full, strict=True):
            assert torch.equal(ids.expand(value.shape), marks)
            known[value], whole[value] = ids, marks
    assert len(known) > 1
