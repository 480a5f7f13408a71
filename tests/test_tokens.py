"""Integer inputs: read where the model embeds them, in whatever way their ids got there."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils._pytree import tree_leaves

import pellucid as pl
from pellucid.errors import InputError, ModelError

IDS = torch.tensor([[3, 5, 1, 7], [2, 2, 6, 0], [4, 1, 5, 3]])
POSITIONS = torch.arange(4)


class Reader(nn.Module):
    """Embeds token ids and positions, and scores the whole by what is not linear in it."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 5)
        self.places = nn.Embedding(6, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.read(self.words(ids) + self.places(torch.arange(ids.shape[1])))

    def read(self, embeddings: Tensor) -> Tensor:
        return self.head(torch.tanh(embeddings).prod(1) + embeddings.mean(1))


class Moved(Reader):
    """The same function of the embeddings, with ids that take another way to them."""

    way = staticmethod(lambda self, ids: self.words(ids))

    def forward(self, ids: Tensor) -> Tensor:
        return self.read(self.way(self, ids) + self.places(torch.arange(ids.shape[1])))


def shifted(self: Reader, ids: Tensor) -> Tensor:
    moved = ids.new_zeros(len(ids), 5)
    moved[..., 1:] = ids.clone()
    return self.words(moved)[:, 1:]


def written(self: Reader, ids: Tensor) -> Tensor:
    ids = ids.clone()
    ids[:, 0] = ids[:, 0] + 0
    return self.words(ids)


WAYS = {
    "time first": lambda self, ids: self.words(ids.t()).transpose(0, 1),
    "flat": lambda self, ids: self.words(ids.reshape(-1)).reshape(*ids.shape, -1),
    "flat, time first": lambda self, ids: (
        self.words(ids.t().flatten()).reshape(4, -1, 5).transpose(0, 1)
    ),
    "offset": lambda self, ids: self.words(ids + 2 - 2),
    "clamped": lambda self, ids: self.words(ids.clamp(0, 8)),
    "token by token": lambda self, ids: torch.stack([self.words(i) for i in ids.unbind(1)], 1),
    "with a token before": lambda self, ids: self.words(
        torch.cat([ids.new_full((len(ids), 1), 8), ids], 1)
    )[:, 1:],
    "selected": lambda self, ids: self.words(ids[:, [3, 2, 1, 0]]).flip(1),
    "gathered": lambda self, ids: self.words(ids.gather(1, POSITIONS.expand(len(ids), -1))),
    "masked": lambda self, ids: self.words(ids.masked_fill(ids == 8, 0)),
    "where": lambda self, ids: self.words(torch.where(ids < 8, ids, 0)),
    "cast": lambda self, ids: self.words(ids.int().long()),
    "shifted": shifted,
    "written": written,
    "by function": lambda self, ids: nn.functional.embedding(ids, self.words.weight),
    "scaled": lambda self, ids: self.words(ids) * 1.0,
}


def reader(kind: type[Reader] = Reader) -> Reader:
    torch.manual_seed(0)
    return kind().double().eval()


def by_hand(model: Reader, ids: Tensor, target: int = 1) -> tuple[Tensor, Tensor]:
    """Embeddings, and the gradient of the score for them, by autograd."""
    words = model.words(ids).detach().requires_grad_()
    score = model.read(words + model.places(POSITIONS))[:, target].sum()
    return words.detach(), torch.autograd.grad(score, words)[0]


def test_the_gradient_is_that_of_the_embedding_summed():
    model = reader()
    words, gradient = by_hand(model, IDS)
    found = pl.compare(model, IDS, ["saliency", "gradient_x_input"], target=1)
    assert_close(found[0].values, gradient.sum(-1))
    assert_close(found[1].values, (gradient * words).sum(-1))
    assert not found[0].notes
    assert torch.equal(found[0].inputs, IDS)
    absolute = pl.explain(model, IDS, "saliency", target=1, reduce="absolute")
    assert_close(absolute.values, gradient.abs().sum(-1))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rows", [1, 3])
def test_ids_are_followed_on_their_way(way, rows):
    model = reader(Moved)
    model.way = WAYS[way]
    words, gradient = by_hand(model, IDS[:rows])
    found = pl.explain(model, IDS[:rows], "gradient_x_input", target=1)
    assert_close(found.values, (gradient * words).sum(-1))
    assert not found.notes


@pytest.mark.parametrize("method", ["integrated_gradients", "smoothgrad", "interior_gradient"])
def test_methods_that_move_the_input_move_the_embedding(method):
    model = reader()
    found = pl.explain(model, IDS, method, target=1)
    assert found.values.shape == IDS.shape
    assert found.values.abs().sum() > 0
    one = pl.explain(model, IDS, method, target=1, batch_size=1)
    assert_close(one.values, found.values)


def test_integrated_gradients_start_at_a_zero_embedding_or_at_other_ids():
    model = reader()
    with torch.no_grad():
        score = model(IDS)[:, 1]
        zero = model.read(model.places(POSITIONS).expand(3, -1, -1))[:, 1]
        other = model(torch.full_like(IDS, 8))[:, 1]
    found = pl.explain(model, IDS, "integrated_gradients", target=1)
    assert_close(found.completeness.expected, score - zero, check_dtype=False)
    assert_close(found.values.sum(1), score - zero, rtol=0.01, atol=0)
    found = pl.explain(model, IDS, "integrated_gradients", target=1, baseline=torch.full((4,), 8))
    assert_close(found.completeness.expected, score - other, check_dtype=False)
    assert_close(found.values.sum(1), score - other, rtol=0.01, atol=0)


def test_the_cost_of_finding_the_embeddings_is_counted():
    found = pl.explain(reader(), IDS, "saliency", target=1)
    assert (found.evaluations.forward, found.evaluations.backward) == (6, 3)
    alone = pl.explain(reader(), IDS[:1], "saliency", target=1)
    assert (alone.evaluations.forward, alone.evaluations.backward) == (3, 1)  # two to find them


@dataclass
class Answer:
    score: Tensor
    hidden: Tensor


class Mixed(Reader):
    """Three columns of ids with tables of their own, three numbers, and a mask that is unused."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(9, 2) for _ in range(3))
        self.last = nn.Linear(9, 2)

    def forward(self, *, columns: Tensor, numbers: Tensor, mask: Tensor) -> Answer:
        parts = [table(column) for table, column in zip(self.tables, columns.t(), strict=True)]
        return Answer(self.last(torch.tanh(torch.cat([*parts, numbers], 1))), numbers)


def test_a_table_of_categories_and_numbers():
    model = reader(Mixed)
    numbers = torch.randn(3, 3, dtype=torch.float64)
    inputs = {"columns": IDS[:, :3], "numbers": numbers, "mask": torch.ones(3, 2, dtype=torch.int)}
    found = pl.explain(model, inputs, "gradient_x_input", target=("score", 1))
    assert set(found.values) == {"columns", "numbers", "mask"}
    assert found.notes == ("`mask` holds integers that no embedding reads; its values are zero.",)
    leaves = [table(IDS[:, i]).detach().requires_grad_() for i, table in enumerate(model.tables)]
    given = numbers.clone().requires_grad_()
    score = model.last(torch.tanh(torch.cat([*leaves, given], 1)))[:, 1].sum()
    *tables, direct = torch.autograd.grad(score, [*leaves, given])
    for i, (leaf, gradient) in enumerate(zip(leaves, tables, strict=True)):
        assert_close(found.values["columns"][:, i], (leaf * gradient).sum(-1).detach())
    assert_close(found.values["numbers"], direct * numbers)
    assert not found.values["mask"].any()


def test_ids_that_are_embedded_twice_get_the_sum():
    class Twice(Reader):
        def forward(self, ids):
            return self.read(self.words(ids) * 2) + self.read(self.words(ids.flip(1)))

    model = reader(Twice)
    first, second = [model.words(i).detach().requires_grad_() for i in (IDS, IDS.flip(1))]
    score = (model.read(first * 2) + model.read(second))[:, 1].sum()
    one, two = torch.autograd.grad(score, [first, second])
    expected = (one * first).sum(-1) + (two * second).sum(-1).flip(1)
    found = pl.explain(model, IDS, "gradient_x_input", target=1)
    assert_close(found.values, expected.detach())


def test_values_that_cancel_over_the_embedding_say_so():
    class Normed(Reader):
        def read(self, embeddings):
            return super().read(nn.functional.layer_norm(embeddings, (5,)))

    found = pl.explain(reader(Normed), IDS, "saliency", target=1)
    assert any("an embedding cancel" in note for note in found.notes)
    found = pl.explain(reader(Normed), IDS, "saliency", target=1, reduce="absolute")
    assert not found.notes


BAGS = {
    "sum": {"mode": "sum"},
    "mean": {"mode": "mean"},
    "max": {"mode": "max"},
    "padded": {"mode": "mean", "padding_idx": 2},
}


@pytest.mark.parametrize("options", BAGS.values(), ids=BAGS)
def test_a_bag_is_read_embedding_by_embedding(options):
    torch.manual_seed(0)
    bag, head = nn.EmbeddingBag(9, 5, **options).double(), nn.Linear(5, 3).double()
    model = nn.Sequential(bag, nn.Tanh(), head)
    words = bag.weight[IDS].detach().requires_grad_()
    kept = (options.get("padding_idx", -1) != IDS).unsqueeze(-1)
    pooled = {
        "sum": lambda: (words * kept).sum(1),
        "mean": lambda: (words * kept).sum(1) / kept.sum(1).clamp(min=1),
        "max": lambda: words.amax(1),
    }[options["mode"]]()
    assert_close(pooled, bag(IDS))
    gradient = torch.autograd.grad(head(pooled.tanh())[:, 1].sum(), words)[0]
    found = pl.compare(model, IDS, ["gradient_x_input", "integrated_gradients"], target=1)
    assert_close(found[0].values, (gradient * words).sum(-1).detach())
    assert_close(found[0].output, model(IDS).detach())
    assert found[1].completeness.relative.max() < 0.01


UNREAD = {
    "numbers": lambda model, ids: model.read(ids.unsqueeze(-1).expand(-1, -1, 5).double()),
    "other samples": lambda model, ids: model(ids.flip(0)),
    "one hot": lambda model, ids: model.read(
        nn.functional.one_hot(ids, 9).double() @ model.words.weight
    ),
    "sorted": lambda model, ids: model(ids.sort(1).values),
}


@pytest.mark.parametrize("way", UNREAD)
@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "lrp"])
def test_integers_that_no_embedding_reads_are_an_error(way, method):
    model = reader()
    with pytest.raises(InputError, match=r"must be read by an embedding .* not followed"):
        pl.explain(lambda ids: UNREAD[way](model, ids), IDS, method, target=1)


@pytest.mark.parametrize("method", ["kernel_shap", "lime", "occlusion"])
def test_ids_that_a_callable_reads_need_one_that_stands_for_absence(method):
    table = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))

    def model(ids):
        return torch.tensor(table.numpy()[ids.numpy()].sum(1))

    with pytest.raises(InputError, match=r"mask token's.*: baseline=Baseline.token\(id\)"):
        pl.explain(model, IDS, method, target=1)
    found = pl.explain(model, IDS, method, target=1, baseline=pl.Baseline.token(0))
    assert_close(found.values.to(table), (table[IDS] - table[0])[..., 1], atol=1e-4, rtol=1e-4)


def test_a_part_that_is_not_read_is_a_note():
    model = reader()
    found = pl.explain(
        lambda ids: model(ids) + model(ids.sort(1).values), IDS, "gradient_x_input", target=1
    )
    assert found.values.any()
    assert any("not followed" in note for note in found.notes)


class Pair(Reader):
    """Two integer inputs that meet before, or in, the call that embeds them."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(40, 5)


OTHER = IDS.flip(1) + 9
JOINED = {
    "one after the other": lambda a, b: torch.cat([a, b], 1),
    "sample after sample": lambda a, b: torch.cat([a, b], 0),
    "with separators": lambda a, b: torch.cat([a.new_full((len(a), 1), 30), a, b], 1),
    "interleaved": lambda a, b: torch.stack([a, b], 2).flatten(1),
}


@pytest.mark.parametrize("way", JOINED)
def test_inputs_that_are_joined_before_they_are_embedded(way):
    model, join = reader(Pair), JOINED[way]

    def score(one, two):
        ids = join(one, two)
        rows = torch.tanh(model.words(ids)).reshape(len(ids) // len(IDS), len(IDS), -1, 5)
        return model.head(rows.sum((0, 2)))

    found = pl.explain(score, (IDS, OTHER), "gradient_x_input", target=1)
    for part, ids in zip(found.values, (IDS, OTHER), strict=True):
        words = model.words(ids).detach().requires_grad_()
        gradient = torch.autograd.grad(model.head(torch.tanh(words).sum(1))[:, 1].sum(), words)[0]
        assert_close(part, (gradient * words).sum(-1).detach())


@pytest.mark.parametrize("way", ["times a mask", "plus an offset"])
def test_ids_that_are_made_of_two_inputs_are_those_of_the_ids(way):
    model, other = reader(Pair), torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    meet = (lambda a, b: a * b) if way == "times a mask" else (lambda a, b: a + 20 * b)
    found = pl.explain(
        lambda ids, other: model(meet(ids, other)), (IDS, other), "gradient_x_input", target=1
    )
    words, gradient = by_hand(model, meet(IDS, other))
    assert_close(found.values[0], (gradient * words).sum(-1))
    assert not found.values[1].any()


def test_an_element_that_is_embedded_by_several_ids_gets_the_sum():
    """The tables of a hash embedding: each id is looked up at two offsets."""
    model = reader(Pair)

    def score(ids):
        return model.read(model.words(ids.unsqueeze(-1) + torch.tensor([0, 20])).mean(2))

    found = pl.explain(score, IDS, "gradient_x_input", target=1)
    assert_close(found.output, score(IDS).detach())
    words = model.words(IDS.unsqueeze(-1) + torch.tensor([0, 20])).detach().requires_grad_()
    gradient = torch.autograd.grad(model.read(words.mean(2))[:, 1].sum(), words)[0]
    assert_close(found.values, (gradient * words).sum((-1, -2)).detach())


def test_ids_that_are_made_of_two_elements_are_not_read():
    """A bigram is no element of the input; saying that it is one of the two would be made up."""
    model = reader(Pair)
    with pytest.raises(InputError, match="must be read by an embedding"):
        pl.explain(
            lambda ids: model(ids[:, :-1] * 4 + ids[:, 1:]), IDS, "gradient_x_input", target=1
        )


MASKED = {
    "filled": lambda ids: ids.masked_fill(ids == 3, 0),
    "where": lambda ids: torch.where(ids == 3, 0, ids),
    "padded": lambda ids: nn.functional.pad(ids, (0, 1)),
}


@pytest.mark.parametrize("way", MASKED)
def test_ids_that_are_masked_do_not_depend_on_the_batch(way):
    model = reader()

    def score(ids):
        return model.read(model.words(MASKED[way](ids)))

    whole = pl.explain(score, IDS, "gradient_x_input", target=1)
    one = pl.explain(score, IDS, "gradient_x_input", target=1, batch_size=1)
    assert_close(one.values, whole.values)
    assert whole.values.any()


@pytest.mark.parametrize("lookup", ["index", "index_select"])
def test_rows_of_a_table_are_an_embedding_too(lookup):
    model = reader()

    def words(ids):
        if lookup == "index":
            return model.words.weight[ids]
        return model.words.weight.index_select(0, ids.flatten()).unflatten(0, ids.shape)

    found = pl.explain(
        lambda ids: model.read(words(ids) + model.places(POSITIONS)), IDS, "saliency", target=1
    )
    assert_close(found.values, by_hand(model, IDS)[1].sum(-1))


def test_a_model_of_single_samples_is_run_on_one():
    model = reader()

    def single(ids):
        if len(ids) > 1:
            raise ValueError("the batch must be 1")
        return model(ids)

    found = pl.explain(single, IDS[:1], "saliency", target=1)
    assert_close(found.values, by_hand(model, IDS[:1])[1].sum(-1))


def test_a_start_token_is_of_the_sample_that_it_begins():
    """A decoder puts it before the ids and looks at all: books are those of each sample."""

    class Decoder(Reader):
        def forward(self, ids: Tensor) -> Tensor:
            h = self.words(torch.cat([torch.full_like(ids[:, :1], 8), ids[:, :-1]], 1))
            return self.head((h @ h.mT).softmax(2) @ h).mean(1)

    model = Decoder().double()
    whole = pl.explain(model, IDS, "lrp", target=0, composite="attnlrp").ledger
    assert whole.each is not None
    for i in range(len(IDS)):
        alone = pl.explain(model, IDS[i : i + 1], "lrp", target=0, composite="attnlrp").ledger
        for amount in ("bias", "stabilizer", "stopped"):
            assert_close(whole.each_of(amount)[i : i + 1], alone.each_of(amount))


def test_a_baseline_of_ids_must_take_the_same_way():
    model = reader()

    def branching(ids):
        extra = model(ids.flip(1)) if bool((ids != 0).any()) else 0
        return model(ids) + extra

    with pytest.raises(ModelError, match="same way through the model"):
        pl.explain(branching, IDS, "integrated_gradients", target=1, baseline=torch.zeros(4).long())


def test_complex_inputs_are_refused_with_the_way_out():
    x = torch.ones(2, 3, dtype=torch.complex128)
    with pytest.raises(InputError, match="must be real numbers .*view_as_complex"):
        pl.explain(lambda x: x.abs(), x, "saliency", target=1)


def test_the_models_own_tables_are_left_alone():
    model = reader()
    before = [leaf.clone() for leaf in tree_leaves(model.state_dict())]
    pl.explain(model, IDS, "integrated_gradients", target=1)
    assert all(
        torch.equal(a, b) for a, b in zip(tree_leaves(model.state_dict()), before, strict=True)
    )
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_have_the_type_of_the_embedding(dtype):
    found = pl.explain(reader().to(dtype), IDS, "gradient_x_input", target=1)
    assert found.values.dtype is dtype
    double = pl.explain(reader(), IDS, "gradient_x_input", target=1)
    assert_close(found.values.double(), double.values, rtol=0.1, atol=0.02)


def test_an_explanation_of_tokens_is_saved_and_shown(tmp_path):
    found = pl.explain(reader(), IDS, "integrated_gradients", target=1)
    assert pl.load(found.save(tmp_path / "tokens.safetensors")) == found
    frame = found.to_frame()
    assert len(frame) == IDS.numel()
    assert "<" in found._repr_html_()
