"""Targets in maps, token sequences and boxes, of models as people have them."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import DisconnectedError, TargetError, UnknownNameError
from pellucid.target import Target
from pellucid.target.examples import examples
from pellucid.target.place import Box, Token
from pellucid.target.region import Region

METHODS = ["saliency", "gradient_x_input", "integrated_gradients", "lrp"]
T = pl.Target


@dataclass
class Output:
    """What language models return."""

    logits: Tensor
    loss: Tensor | None = None


class Segmenter(nn.Module):
    """Returns a dict of maps, as segmentation models do; five classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.ReLU())
        self.out = nn.Conv2d(4, 5, 1, bias=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"aux": self.body(x), "out": self.out(self.body(x))}


class Language(nn.Module):
    """Scores of a vocabulary of nine for every token."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4, bias=False)
        self.head = nn.Linear(4, 9, bias=False)

    def forward(self, x: Tensor) -> Output:
        return Output(self.head(torch.relu(self.mix(x.cumsum(1)))))


class Detector(nn.Module):
    """Returns a list with one dict a sample: its cells with a high score, best first."""

    def __init__(self, least: float = 0.0) -> None:
        super().__init__()
        self.score = nn.Conv2d(2, 3, 1, bias=False)
        self.least = least

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        return [self.of_one(scores) for scores in self.score(x).sigmoid().flatten(2)]

    def of_one(self, scores: Tensor) -> dict[str, Tensor]:
        best, labels = scores.max(0)
        keep = (best > self.least).nonzero().flatten()
        order = keep[best[keep].argsort(descending=True, stable=True)]
        boxes = torch.stack([order, order, order + 1, order + 1], 1).float()
        return {"boxes": boxes, "labels": labels[order] + 1, "scores": best[order]}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(3)


def image() -> Tensor:
    return torch.randn(3, 2, 4, 5, dtype=torch.float64)


MASK = torch.zeros(4, 5, dtype=torch.bool)
MASK[1:3, 2:] = True
EACH = torch.stack([MASK, ~MASK, MASK.flip(0, 1)])


def mean(scores: Tensor, mask: Tensor) -> Tensor:
    """The mean of each sample's scores (sample, height, width) inside its mask, one by one."""
    return torch.stack([row[inside].mean() for row, inside in zip(scores, mask, strict=True)])


ALL = MASK.expand(3, 4, 5)

# Targets of a map (sample, class, height, width), and what they read, written out.
REGIONS = {
    "everything": (T.region(2), lambda o: o[:, 2].mean((1, 2))),
    "sum": (T.region(2, reduce="sum"), lambda o: o[:, 2].sum((1, 2))),
    "mask": (T.region(2, MASK), lambda o: mean(o[:, 2], ALL)),
    "array": (T.region(2, MASK.numpy()), lambda o: mean(o[:, 2], ALL)),
    "mask sum": (T.region(2, MASK, reduce="sum"), lambda o: o[:, 2, MASK].sum(1)),
    "masks": (T.region(2, EACH), lambda o: mean(o[:, 2], EACH)),
    "masks sum": (
        T.region(2, EACH, reduce="sum"),
        lambda o: torch.stack([o[i, 2][EACH[i]].sum() for i in range(3)]),
    ),
    "pixel": (T.region(2, (3, 1)), lambda o: o[:, 2, 3, 1]),
    "last pixel": (T.region(2, (-1, -1)), lambda o: o[:, 2, 3, 4]),
    "slices": (T.region(2, (1, slice(1, None, 2))), lambda o: o[:, 2, 1, 1::2].mean(1)),
    "classes": (
        T.region([0, 3, 1], MASK),
        lambda o: mean(torch.stack([o[0, 0], o[1, 3], o[2, 1]]), ALL),
    ),
    "classes and masks": (
        T.region([0, 3, 1], EACH),
        lambda o: mean(torch.stack([o[0, 0], o[1, 3], o[2, 1]]), EACH),
    ),
    "contrast": (T.region((2, 1), MASK), lambda o: mean(o[:, 2] - o[:, 1], ALL)),
    "probability": (T.region(T.probability(2), EACH), lambda o: mean(o.softmax(1)[:, 2], EACH)),
    "log-odds": (
        T.region(T.log_odds(2), (0, 0)),
        lambda o: o.softmax(1)[:, 2, 0, 0].logit(),
    ),
    "margin": (
        T.region(T.margin(2), (0, 0)),
        lambda o: o[:, 2, 0, 0] - o[:, [0, 1, 3, 4], 0, 0].amax(1),
    ),
    "predicted": (T.region(None, (0, 0)), lambda o: o[:, :, 0, 0].amax(1)),
    "predicted by mask": (
        T.region(None, EACH),
        lambda o: torch.stack([o[i][:, EACH[i]].mean(1).max() for i in range(3)]),
    ),
}


@pytest.mark.parametrize("name", REGIONS)
def test_a_region_is_what_indexing_reads(name):
    target, written = REGIONS[name]
    model, x = Segmenter().double(), image()
    found = pl.explain(model, x, "saliency", target=("out", target))
    points = x.clone().requires_grad_()
    expected = written(model(points)["out"])
    assert_close(found.score, expected.detach())
    assert_close(found.values, torch.autograd.grad(expected.sum(), points)[0])


# Two of four methods in turn. LRP has no rule for the softmax of a target.
CASES = [
    (name, method)
    for i, (name, (target, _)) in enumerate(REGIONS.items())
    for j, method in enumerate(METHODS)
    if (i + j) % 2 == 0
    and (method != "lrp" or target.kind not in ("margin", "probability", "log_odds"))
]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_regions_are_cut_into_batches_joined_and_stored(name, method, tmp_path):
    target = T.path("out", target=REGIONS[name][0])
    model, x = Segmenter().double(), image()
    found = pl.explain(model, x, method, target=target)
    cut = pl.explain(model, x, method, target=target, batch_size=2)
    assert cut.target == found.target
    assert_close(cut.values, found.values)
    assert pl.load(found.save(tmp_path / "e.safetensors")).target == found.target
    again = pl.explain(model, x, method, target=found.target)
    assert_close(again.score, found.score)
    alone = pl.explain(model, x[1:2], method, target=found[1].target)
    assert_close(alone.score, found.score[1:2])
    if method == "lrp":
        assert abs(found.ledger.residual) < 1e-6


def test_a_mask_of_the_wrong_sample_is_another_score():
    """The masks of the tests above can be told apart."""
    model, x = Segmenter().double(), image()
    aims = [T.region(2, mask) for mask in (EACH, EACH.roll(1, 0), ALL)]
    scores = [pl.explain(model, x, "saliency", target=("out", aim)).score for aim in aims]
    assert not torch.isclose(scores[0], scores[1]).any()
    assert not torch.allclose(scores[0], scores[2])


def test_the_region_of_an_explanation_is_checked_where_it_is_used_again():
    model, x = Segmenter().double(), image()
    found = pl.explain(model, x, "saliency", target=("out", T.region(2, EACH)))
    with pytest.raises(
        TargetError, match=r"the shape of the map, \[4, 4\], or .*got bool\[3, 4, 5\]"
    ):
        pl.explain(model, x[..., :4], "saliency", target=found.target)
    with pytest.raises(TargetError, match=r"a mask for each of the 2 samples; got bool\[3, 4, 5\]"):
        pl.explain(model, x[:2], "saliency", target=found.target)


def test_a_region_leaves_alone_what_is_outside_of_it():
    def model(x: Tensor) -> Tensor:
        return torch.where(EACH.unsqueeze(1), x, torch.inf)

    x = image()
    found = pl.explain(model, x, "saliency", target=T.region(1, EACH))
    assert_close(found.score, mean(x[:, 1], EACH))
    assert found.values.isfinite().all()


def test_a_signal_and_a_volume_have_regions_too():
    signal = torch.randn(2, 3, 7)
    found = pl.explain(lambda x: x * 2, signal, "saliency", target=T.region(1, slice(2, 5)))
    assert_close(found.score, 2 * signal[:, 1, 2:5].mean(1))
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    mask[1] = True
    volume = torch.randn(2, 3, 2, 3, 4)  # as many samples as slices of the mask
    found = pl.explain(lambda x: x * 2, volume, "saliency", target=T.region(0, mask))
    assert_close(found.score, 2 * volume[:, 0, 1].mean((1, 2)))


# Targets of (sample, token, class), and what they read.
TOKENS = {
    "last": (T.token(4), lambda o: o[:, -1, 4]),
    "third": (T.token(4, position=2), lambda o: o[:, 2, 4]),
    "each": (T.token(4, position=[0, -2, 3]), lambda o: torch.stack([o[0, 0, 4], o[1, -2, 4],
                                                                    o[2, 3, 4]])),
    "tensor": (T.token(4, position=torch.tensor([0, 3, 3])),
               lambda o: o[[0, 1, 2], [0, 3, 3], 4]),
    "classes": (T.token([4, 1, 0], position=[1, 2, 3]),
                lambda o: o[[0, 1, 2], [1, 2, 3], [4, 1, 0]]),
    "predicted": (T.token(), lambda o: o[:, -1].amax(1)),
    "contrast": (T.token((4, 1)), lambda o: o[:, -1, 4] - o[:, -1, 1]),
    "probability": (T.token(T.probability(4), position=1), lambda o: o[:, 1].softmax(1)[:, 4]),
    "log-odds": (T.token(T.log_odds(4)), lambda o: o[:, -1].softmax(1)[:, 4].logit()),
}  # fmt: skip


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_is_what_indexing_reads(name, tmp_path):
    target, written = TOKENS[name]
    model, x = Language().double(), torch.randn(3, 4, 4, dtype=torch.float64)
    points = x.clone().requires_grad_()
    expected = written(model(points).logits)
    (gradient,) = torch.autograd.grad(expected.sum(), points)
    for size in ("auto", 2):
        found = pl.explain(model, x, "saliency", target=("logits", target), batch_size=size)
        assert_close(found.score, expected.detach())
        assert_close(found.values, gradient)
    loaded = pl.load(found.save(tmp_path / "e.safetensors"))
    assert loaded.target == found.target
    alone = pl.explain(model, x[2:], "saliency", target=found[2].target)
    assert_close(alone.values, gradient[2:])


def test_token_targets_are_on_the_tape():
    model, x = Language().double(), torch.randn(3, 4, 4, dtype=torch.float64)
    found = pl.explain(model, x, "lrp", target=("logits", T.token(4, position=[0, 1, 2])))
    assert_close(found.values.sum((1, 2)), found.score, rtol=1e-4, atol=1e-6)
    assert found.values[0, 1:].abs().sum() == 0
    assert found.values[2, 2].abs().sum() > 0


@pytest.mark.parametrize("end", [torch.softmax, torch.log_softmax])
@pytest.mark.parametrize("method", ["saliency", "lrp"])
def test_a_softmax_over_the_classes_is_undone_wherever_they_are(end, method):
    model, x = Segmenter().double(), image()
    body = pl.explain(lambda x: model(x)["out"], x, method, target=T.region(2, MASK))
    found = pl.explain(lambda x: end(model(x)["out"], 1), x, method, target=T.region(2, MASK))
    assert_close(found.values, body.values)
    assert any("softmax" in note for note in found.notes)
    language, tokens = Language().double(), torch.randn(3, 4, 4, dtype=torch.float64)
    body = pl.explain(lambda x: language(x).logits, tokens, method, target=T.token(4))
    found = pl.explain(lambda x: end(language(x).logits, -1), tokens, method, target=T.token(4))
    assert_close(found.values, body.values)
    sure = pl.explain(
        lambda x: end(language(x).logits, -1), tokens, "saliency", target=T.token(T.probability(4))
    )
    assert_close(sure.score, language(tokens).logits.softmax(-1)[:, -1, 4].detach())


@pytest.mark.parametrize("end", [torch.softmax, torch.log_softmax])
@pytest.mark.parametrize("method", ["saliency", "lrp"])
def test_a_softmax_over_anything_else_stays(end, method):
    language, x = Language().double(), torch.randn(3, 4, 4, dtype=torch.float64)

    def model(x: Tensor) -> Tensor:  # over the tokens
        return end(language(x).logits, 1)

    if method == "lrp":
        found = pl.record(model, x).aim(T.token(4))
        assert_close(found.outcome.score, model(x)[:, -1, 4].detach())
        assert not found.softmax_removed
        return
    found = pl.explain(model, x, method, target=T.token(4))
    assert_close(found.score, model(x)[:, -1, 4].detach())
    assert not any("softmax" in note for note in found.notes)


def test_a_box_of_scores_in_a_table():
    logits, scores = torch.randn(3, 6, 4), torch.randn(3, 6)
    model = {"pred_logits": logits, "scores": scores}

    def detect(x: Tensor) -> dict[str, Tensor]:
        return {name: tensor * x[:, :1, None].squeeze(-1 if tensor.ndim == 2 else ())
                for name, tensor in model.items()}  # fmt: skip

    x = torch.ones(3, 2)
    found = pl.explain(detect, x, "saliency", target=("pred_logits", T.box(5, 2)))
    assert_close(found.score, logits[:, 5, 2])
    found = pl.explain(detect, x, "saliency", target=("pred_logits", T.box([1, 0, 3])))
    assert_close(found.score, logits[[0, 1, 2], [1, 0, 3]].amax(1))
    found = pl.explain(detect, x, "saliency", target=("scores", T.box(4)))
    assert_close(found.score, scores[:, 4])


def test_a_detected_box_is_that_of_its_class_also_in_batches(tmp_path):
    model, x = Detector().double(), image()
    points = x.clone().requires_grad_()
    output = model(points)
    common = next(k for k in (1, 2, 3) if all((e["labels"] == k).sum() > 1 for e in output))
    counts = [[int((e["labels"] == k).sum()) for k in (1, 2, 3)] for e in output]
    own = [1 + count.index(max(count)) for count in counts]
    a, b = [k for k in (1, 2, 3) if all((e["labels"] == k).any() for e in output)][:2]

    def of(sample: dict[str, Tensor], label: int, rank: int) -> Tensor:
        return sample["scores"][sample["labels"] == label][rank]

    for target, expected in [
        (T.box(0), [each["scores"][0] for each in output]),
        (T.box([2, 0, 1]), [each["scores"][i] for each, i in zip(output, [2, 0, 1], strict=True)]),
        (T.box(1, common), [of(each, common, 1) for each in output]),
        (T.box(0, own), [of(each, k, 0) for each, k in zip(output, own, strict=True)]),
        (T.box(0, (a, b)), [of(each, a, 0) - of(each, b, 0) for each in output]),
    ]:  # fmt: skip
        score = torch.stack(expected)
        (gradient,) = torch.autograd.grad(score.sum(), points, retain_graph=True)
        for size in ("auto", 1, 2):
            found = pl.explain(model, x, "saliency", target=target, batch_size=size)
            assert_close(found.score, score.detach())
            assert_close(found.values, gradient)
            assert [len(each["scores"]) for each in found.output] == [20, 20, 20]
        assert pl.load(found.save(tmp_path / "e.safetensors")).target == found.target
        assert_close(found[1].output[0]["scores"], output[1]["scores"].detach())
        for row in range(3):
            alone = pl.explain(model, x[row, None], "saliency", target=found[row].target)
            assert_close(alone.values, gradient[row, None])


def test_a_box_that_another_run_does_not_find_scores_zero():
    model, x = Detector(least=0.5).double(), image()
    target = T.box(0).resolve(model(x), 3)
    nothing = model(torch.full_like(x, 0.0))
    assert [len(each["scores"]) for each in nothing] == [0, 0, 0]
    assert target.score(nothing, nothing).tolist() == [0, 0, 0]


def test_a_detector_with_one_class_has_no_labels():
    output = [{"scores": torch.tensor([0.9, 0.3])}, {"scores": torch.tensor([0.8, 0.4])}]
    assert_close(T.box(1).resolve(output, 2).score(output, output), torch.tensor([0.3, 0.4]))


def test_a_detector_without_a_gradient_is_told_by_the_name_of_the_score():
    class Detached(Detector):
        def of_one(self, scores: Tensor) -> dict[str, Tensor]:
            return super().of_one(scores.detach())

    message = (
        r"The explained score must depend on the input .*; got the score "
        r"Target\.box\(\[.*\], Target\.index\(.*\)\), which changes with the input"
    )
    for method in ("saliency", "lrp"):
        with pytest.raises(DisconnectedError, match=message):
            pl.explain(Detached().double(), image(), method, target=T.box(0))


def test_one_constant_head_among_others_gets_zeros():
    """Another output that changes does not make this one disconnected."""

    def model(x: Tensor) -> dict[str, Tensor]:
        return {"a": x * 2, "b": torch.ones(len(x), 3)}

    found = pl.explain(model, torch.ones(2, 3), "saliency", target=("b", 0))
    assert found.values.abs().sum() == 0
    assert any("does not depend" in note for note in found.notes)


class TimeFirst(nn.Module):
    """An LSTM with the batch on axis 1: (time, batch, feature), and its states."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Any]:
        return self.lstm(x, state)


@pytest.mark.parametrize("size", ["auto", 1, 2])
def test_an_output_may_have_its_batch_on_another_axis(size):
    model = TimeFirst().double()
    x, h, c = (torch.randn(n, 3, f, dtype=torch.float64) for n, f in [(5, 3), (1, 4), (1, 4)])
    target = T.path(0, target=T.token(2, position=3), batch_axis=1)
    found = pl.explain(model, (x, (h, c)), "saliency", target=target, batch_axis=1, batch_size=size)
    points = [tensor.clone().requires_grad_() for tensor in (x, h, c)]
    score = model(points[0], (points[1], points[2]))[0][3, :, 2]
    expected = torch.autograd.grad(score.sum(), points)
    assert_close(found.score, score.detach())
    assert_close(found.values, (expected[0], (expected[1], expected[2])))
    assert_close(found.output, model(x, (h, c)))
    assert_close(found[1].output[0], model(x, (h, c))[0][:, 1:2])
    assert repr(found.target) == "Target.token(Target.index(2), position=3)[0] with batch_axis=1"


def test_a_callable_at_a_path_gets_the_entry():
    model, x = Segmenter().double(), image()
    found = pl.explain(model, x, "saliency", target=("out", lambda out: out[:, 1, 0, 0]))
    assert_close(found.score, model(x)["out"][:, 1, 0, 0].detach())


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (T.token(3), "Target.token(Target.index(3), position=-1)"),
        (T.token((3, 1), position=[0, 1]), "Target.token(Target.contrast(3, 1), position=[0, 1])"),
        (T.box(0, 3), "Target.box(0, Target.index(3))"),
        (T.region(3, MASK), "Target.region(Target.index(3), mask of [4, 5])"),
        (T.region(3, (1, slice(2, 5))), "Target.region(Target.index(3), (1, 2:5))"),
        (T.region(3, reduce="sum"), "Target.region(Target.index(3), reduce=sum)"),
        (T.path("out", target=T.token(3)), "Target.token(Target.index(3), position=-1)['out']"),
    ],
)
def test_repr(target, shown):
    assert repr(target) == shown


def test_equal_regions_are_equal():
    assert T.region(3, MASK) == T.region(3, MASK.clone())
    assert hash(T.region(3, MASK)) == hash(T.region(3, MASK.clone()))
    assert T.region(3, MASK) != T.region(3, ~MASK)
    assert T.region(3, MASK) != T.region(3)
    assert T.region(3, (1, 2)) != T.region(3, (1, 3))
    assert T.region(3) != T.token(3)


# What a mistake in a place would look like: what is put in its place, and the test that sees it.
MUTANTS = {
    "a region without its mask": (
        Region, "settle", lambda self, entry: replace(self, mask=MASK | ~MASK, each=False),
        lambda: test_a_region_is_what_indexing_reads("mask"),
    ),
    "a region that sums": (
        Region, "_reduced", lambda self, cells: cells.sum(-1),
        lambda: test_a_region_is_what_indexing_reads("everything"),
    ),
    "masks that are not selected": (
        Region, "select", lambda self, rows: self,
        lambda: test_regions_are_cut_into_batches_joined_and_stored(
            "masks", "saliency", Path(tempfile.mkdtemp())
        ),
    ),
    "the token before": (
        Token, "read", lambda self, entry, choose: choose(entry[:, self.position[0] - 1]),
        lambda: test_a_token_is_what_indexing_reads("third", Path(tempfile.mkdtemp())),
    ),
    "the box of any class": (
        Box, "detected", lambda self, entry, classes: torch.stack([e["scores"][0] for e in entry]),
        lambda: test_a_detected_box_is_that_of_its_class_also_in_batches(Path(tempfile.mkdtemp())),
    ),
    "a softmax that stays": (
        Target, "before_softmax", lambda self, raw, scores: raw,
        lambda: test_a_softmax_over_the_classes_is_undone_wherever_they_are(
            torch.softmax, "saliency"
        ),
    ),
    "a softmax that is always undone": (
        Target, "before_softmax", lambda self, raw, scores: scores,
        lambda: test_a_softmax_over_anything_else_stays(torch.softmax, "saliency"),
    ),
    "a batch that is always first": (
        Target, "_entry", lambda self, output: output[0],
        lambda: test_an_output_may_have_its_batch_on_another_axis("auto"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_the_tests_see_a_mistake(name, monkeypatch):
    kind, attribute, wrong, test = MUTANTS[name]
    monkeypatch.setattr(kind, attribute, wrong)
    with pytest.raises((AssertionError, TargetError, RuntimeError)):
        test()


# -- what is wrong

# What is said of a target before any run: the target, the class of the error, the message.
AT_ONCE = {
    "a float mask": (
        lambda: T.region(1, MASK.float()),
        r"^The mask of a region must be boolean; got float32\[4, 5\] on cpu\. For example",
    ),
    "a box as floats": (
        lambda: T.region(1, (0.5, 1)),
        r"^A region must be a boolean mask, or a position or a slice .*; got 0\.5\.$",
    ),
    "a backward slice": (
        lambda: T.region(1, (slice(None, None, -1), 1)),
        r"with a positive step for each axis",
    ),
    "a way to reduce": (
        lambda: T.region(1, reduce="maen"),
        r"^`reduce` of a region must be one that exists; got 'maen'\. Did you mean 'mean'\?$",
    ),
    "no position": (
        lambda: T.token(1, position="last"),
        r"^The position of a token must be a whole number, .*; got 'last'\.$",
    ),
    "a negative box": (lambda: T.box(-1), r"^The number of a box must not be negative; got -1\.$"),
    "a callable at a token": (
        lambda: T.token(lambda output: output.sum(1)),
        r"^A token, region or box must be of a class, .*; got Target\.callable\(",
    ),
    "a token of a token": (lambda: T.token(T.token(1)), r"must be of a class, .*got Target\.token"),
    "an axis that is none": (
        lambda: T.path(0, batch_axis="first"),
        r"^`batch_axis` must be a whole number; got 'first'\.$",
    ),
    "positions for another batch": (
        lambda: T.token(1, position=[1, 2]).check_rows(3),
        r"^A list of token positions must have one for each of the 3 samples; got \[1, 2\]\.$",
    ),
    "boxes for another batch": (
        lambda: T.box([1, 2], 0).check_rows(3),
        r"^A list of box positions must have one for each of the 3 samples; got \[1, 2\]\.$",
    ),
    "classes for another batch": (
        lambda: T.token([1, 2]).check_rows(3),
        r"^A list of targets must name one class for each of the 3 samples; got \[1, 2\]\.$",
    ),
}


@pytest.mark.parametrize("wrong", AT_ONCE)
def test_what_can_be_told_is_told_before_any_run(wrong):
    make, message = AT_ONCE[wrong]
    with pytest.raises((TargetError, UnknownNameError), match=message):
        make()


def segment(target: Any, **options: Any) -> Any:
    return pl.explain(Segmenter().double(), image(), "saliency", target=("out", target), **options)


def speak(target: Any) -> Any:
    x = torch.randn(3, 4, 4, dtype=torch.float64)
    return pl.explain(Language().double(), x, "saliency", target=("logits", target))


def detect(target: Any, least: float = 0.0) -> Any:
    return pl.explain(Detector(least).double(), image(), "saliency", target=target)


OF_THE_OUTPUT = {
    "a map as a table": (
        lambda: segment(1),
        r"must have shape \(3,\) or \(3, class\); got .*'out': float64\[3, 5, 4, 5\] on cpu.*"
        r"What would work: target=",
    ),
    "a mask of another size": (
        lambda: segment(T.region(1, MASK.T)),
        r"must have the shape of the map, \[4, 5\], or one such for each of the 3 samples; "
        r"got bool\[5, 4\]",
    ),
    "masks of other samples": (
        lambda: segment(T.region(1, EACH[:2]), batch_size=2),
        r"one such for each of the 3 samples; got bool\[2, 4, 5\]",
    ),
    "an empty mask": (
        lambda: segment(T.region(1, MASK & ~MASK)),
        r"^A region must have at least one cell; got none\.$",
    ),
    "an empty mask of one sample": (
        lambda: segment(T.region(1, EACH & torch.tensor([1, 0, 1]).bool()[:, None, None])),
        r"^A region must have at least one cell; got none in the mask of sample 1\.$",
    ),
    "an empty mask in the second batch": (
        lambda: segment(
            T.region(1, EACH & torch.tensor([1, 1, 0]).bool()[:, None, None]), batch_size=2
        ),
        r"got none in the mask of sample 2\.$",
    ),
    "a pixel outside": (
        lambda: segment(T.region(1, (4, 0))),
        r"^A region must hold positions of axis 2 of the output, from 0 to 3; got 4\.$",
    ),
    "a slice outside": (
        lambda: segment(T.region(1, (0, slice(9, 12)))),
        r"axis 3 of the output, from 0 to 4; got 9:12\.$",
    ),
    "too few axes": (
        lambda: segment(T.region(1, 3)),
        r"a position or a slice for each of the 2 axes after the class, \[4, 5\]; got \(3\)\.$",
    ),
    "a class outside": (
        lambda: segment(T.region(5, MASK)),
        r"^A target must be a class of the output, from 0 to 4; got 5\.$",
    ),
    "a token outside": (
        lambda: speak(T.token(1, position=4)),
        r"^The position of a token must be from 0 to 3; got 4\.$",
    ),
    "a word outside": (lambda: speak(T.token(9)), r"from 0 to 8; got 9\.$"),
    "a region of tokens": (
        lambda: speak(T.box(1, 12)),
        r"from 0 to 8; got 12\.$",
    ),
    "a token of a map": (
        lambda: segment(T.token(1)),
        r"^The explained output must have shape \(3, token, class\); got .*What would work",
    ),
    "detections as a table": (
        lambda: detect(1),
        r"^The target must lead to a tensor of floating-point scores; got \[\{'boxes': .*"
        r"What would work: target=pl\.Target\.box\(0\); target=",
    ),
    "a box that is not found": (
        lambda: detect(T.box(25)),
        r"^Every sample must have a box 25; got 20 such boxes in sample 0, .*score threshold",
    ),
    "a class that is not found": (
        lambda: detect(T.box(0, 7)),
        r"^Every sample must have a box 0 of class 7; got 0 such boxes in sample 0, of these "
        r"classes: \[",
    ),
    "the probability of a detection": (
        lambda: detect(T.box(0, T.probability(1))),
        r"^A detected box has a score of its own.*; got Target\.box\(0, Target\.probability\(1\)\)",
    ),
    "the probability of one logit": (
        lambda: pl.explain(nn.Linear(3, 1), torch.ones(2, 3), "saliency", target=T.probability(0)),
        r"^A probability by softmax must be of one of several classes; got an output with one "
        r"score a sample\. .*target=None.*output\.sigmoid\(\)\.flatten\(\)\.$",
    ),
    "the log-odds of one logit": (
        lambda: pl.explain(lambda x: x.sum(1), torch.ones(2, 3), "saliency", target=T.log_odds(0)),
        r"^A probability by softmax must be of one of several classes",
    ),
    "a batch axis that is not there": (
        lambda: pl.explain(
            lambda x: x.sum(1), torch.ones(2, 3), "saliency", target=T.path(batch_axis=1)
        ),
        r"^The output must have the `batch_axis` of the target, 1; got float32\[2\] on cpu\.$",
    ),
    "a callable that does not fit": (
        lambda: pl.explain(
            lambda x: (x, x), torch.ones(2, 3), "saliency", target=lambda output: output["logits"]
        ),
        r"^The target `.*<lambda>` must run on the output; got \(float32\[2, 3\] on cpu, float32"
        r".*It raised TypeError: ",
    ),
}


@pytest.mark.parametrize("wrong", OF_THE_OUTPUT)
def test_what_the_output_does_not_have_is_told_with_what_it_has(wrong):
    call, message = OF_THE_OUTPUT[wrong]
    with pytest.raises(TargetError, match=message):
        call()


LOGITS = torch.arange(10.0).reshape(2, 5)

OUTPUTS = {
    "a map": torch.randn(2, 5, 4, 3),
    "tokens": torch.randn(2, 4, 5),
    "a volume": torch.randn(2, 5, 2, 3, 4),
    "a dict": {"loss": torch.tensor(1.0), "logits": LOGITS},
    "a dict of maps": {"out": torch.randn(2, 5, 4, 3), "aux": torch.randn(2, 5, 4, 3)},
    "a tuple": (LOGITS, torch.randn(3, 2, 4)),
    "a nested tuple": ((None, LOGITS), "text"),
    "a dataclass": Output(torch.randn(2, 4, 5)),
    "scores in a dict": {"score": LOGITS[:, 0]},
    "scores in a tuple": (LOGITS[:, 0],),
    "time first": torch.randn(7, 2, 5),
    "time first in a tuple": (torch.randn(7, 2, 5), (torch.randn(1, 2, 5),)),
    "detections": [
        {"boxes": torch.ones(2, 4), "labels": torch.tensor([3, 1]), "scores": torch.rand(2)},
        {"boxes": torch.ones(1, 4), "labels": torch.tensor([1]), "scores": torch.rand(1)},
    ],
    "detections of nothing in common": [
        {"boxes": torch.ones(1, 4), "labels": torch.tensor([3]), "scores": torch.rand(1)},
        {"boxes": torch.ones(1, 4), "labels": torch.tensor([1]), "scores": torch.rand(1)},
    ],
    "detections of nothing": [
        {"boxes": torch.ones(0, 4), "labels": torch.ones(0).long(), "scores": torch.rand(0)},
        {"boxes": torch.ones(1, 4), "labels": torch.tensor([1]), "scores": torch.rand(1)},
    ],
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_examples_in_an_error_work(name):
    """What an ambiguous output is told to try is tried here, every word of it."""
    output = OUTPUTS[name]
    with pytest.raises(TargetError, match=r"; got .* What would work: target=") as caught:
        pl.Target.of(None).resolve(output, 2)
    hint = str(caught.value).partition("What would work: ")[2].removesuffix(".")
    suggested = hint.removeprefix("target=").split("; target=")
    assert len(set(suggested)) == 3
    for text in suggested:
        target = pl.Target.of(eval(text, {"pl": pl, "torch": torch}))
        score = target.check_rows(2).resolve(output, 2).score(output, output)
        assert score.shape == (2,), text
        assert score.isfinite().all(), text


def test_examples_that_do_not_work_are_seen():
    """The test above can fail: an example for another output does."""
    with pytest.raises(TargetError):
        pl.Target.of(("logits", 0)).resolve({"logits": torch.randn(2, 5, 4)}, 2)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.tensor(1.0), "No tensor in it has an axis for the 2 samples: return one row"),
        ({"loss": torch.tensor(1.0)}, "No tensor in it has an axis for the 2 samples"),
        ({"ids": torch.ones(2).long()}, "no floating-point tensor, so nothing in it"),
    ],
)
def test_where_nothing_works_nothing_is_suggested(output, message):
    assert message in examples(output, 2)
    assert "target=" not in examples(output, 2)
