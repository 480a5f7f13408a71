"""Learned masks: the textbook's losses, closed forms, planted rectangles, and what is counted."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.perturb.mask import MeaningfulPerturbation, variation
from pellucid.perturb.mask_levels import widths
from pellucid.perturb.mask_search import fade
from pellucid.perturb.mask_sheets import Sheet, weights
from pellucid.structure import Inputs
from tests.counting import Counting
from tests.perturb import planted
from tests.zoo.network import normal, seeded

WEIGHTS = torch.tensor([4.0, 1.0, 0.2, 2.0, 0.1, 0.4], dtype=torch.float64)
ONES = torch.ones(1, 6, dtype=torch.float64)
IMAGE = normal(2, 2, 9, 7, seed=1)
NET = seeded(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(105, 2)))


def learn(model: object, x: Any, **options: Any) -> pl.Explanation:
    return pl.explain(model, x, "meaningful_perturbation", **{"target": 0, **options})


def line(x: Tensor) -> Tensor:
    return 3.0 + (x * WEIGHTS).sum(1, keepdim=True)


def chosen(sparsity: float, baseline: float = 0.0) -> Tensor:
    """The columns whose contribution is worth their place: more than sparsity times all, a column.

    The loss sparsity mean(m) + (f(x without m) - f(x0)) / (f(x) - f(x0)) is linear in the mask.
    """
    shares = WEIGHTS * (1 - baseline)
    return (shares > sparsity * shares.sum() / 6).double().unsqueeze(0)


@pytest.mark.parametrize("mode", ["deletion", "preservation"])
@pytest.mark.parametrize(("sparsity", "baseline"), [(0.5, 0.0), (1.0, 0.0), (1.0, 0.3), (2.5, 0.0)])
def test_on_a_line_it_chooses_the_contributions_above_their_price(mode, sparsity, baseline):
    found = learn(line, ONES, mode=mode, sparsity=sparsity, baseline=baseline, steps=60)
    expected = chosen(sparsity, baseline)
    assert 0 < expected.sum() < 6
    assert_close(found.values, expected, rtol=0, atol=1e-6)
    assert_close(found.evidence["area"], expected.mean(1, keepdim=True), rtol=0, atol=1e-6)
    share = (expected * WEIGHTS).sum() / WEIGHTS.sum()
    left = found.evidence["without"] if mode == "deletion" else found.evidence["within"]
    assert_close(left[0, 0], 1 - share if mode == "deletion" else share, rtol=0, atol=1e-6)


def test_a_hybrid_asks_for_both_and_pays_once():
    """Each contribution counts twice, once as what is deleted and once as what is kept."""
    found = learn(line, ONES, mode="hybrid", sparsity=2.0, steps=60)
    assert_close(found.values, chosen(1.0), rtol=0, atol=1e-6)
    assert set(found.evidence) == {"area", "without", "within"}


@pytest.mark.parametrize("broken", ["free", "turned"])
def test_the_closed_form_can_fail(broken, monkeypatch):
    penalty = MeaningfulPerturbation._penalty
    factor = {"free": 0.0, "turned": -1.0}[broken]
    monkeypatch.setattr(MeaningfulPerturbation, "_penalty", lambda *given: factor * penalty(*given))
    found = learn(line, ONES, sparsity=1.0, steps=60)
    assert (found.values - chosen(1.0)).abs().max() > 0.5


def test_deletion_stops_at_the_score_of_the_baseline():
    """Without a bound, all that is positive would go, and the score would fall far below."""
    mixed = torch.tensor([3.0, 3.0, 3.0, -4.0, -4.0, 0.1], dtype=torch.float64)
    found = learn(lambda x: (x * mixed).sum(1, keepdim=True), ONES, sparsity=0.5, steps=300)
    assert abs(float(found.evidence["without"])) < 0.2


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("shape", [(7,), (4, 5), (3, 4, 2)])
def test_total_variation_is_that_of_the_textbook(shape, power):
    mask = normal(2, 3, *shape, seed=2)
    expected = torch.zeros(2, 3, dtype=torch.float64)
    places = list(torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, len(shape)).tolist())
    for a in places:
        for b in places:
            if sum(abs(i - j) for i, j in zip(a, b, strict=True)) == 1 and a < b:
                expected += (mask[(..., *a)] - mask[(..., *b)]).abs() ** power
    assert_close(variation(mask, power), expected)


def test_cells_are_interpolated_linearly():
    """Beside torch's own interpolation; of rectangles with another number of cells on each axis."""
    cells = normal(2, 3, 4, 3, seed=3)
    sheet = Sheet(leaves=(0,), size=(9, 7), grid=(4, 3), channel=1, smooth=True)
    expected = F.interpolate(cells, size=(9, 7), mode="bilinear", align_corners=False)
    assert_close(sheet.enlarged(cells), expected)
    assert_close(weights(3, 7).sum(1), torch.ones(7, dtype=torch.float64))


def test_levels_fade_linearly_from_one_to_the_next():
    levels = normal(1, 4, 2, 5, seed=4)  # three steps
    for there, expected in [
        (0.0, levels[:, 0]),
        (1.0, levels[:, 3]),
        (0.5, (levels[:, 1] + levels[:, 2]) / 2),
        (0.25, 0.25 * levels[:, 0] + 0.75 * levels[:, 1]),
    ]:
        mask = torch.full((1, 1, 5), there, dtype=torch.float64)
        assert_close(fade(levels, mask), expected)
        assert_close(fade(levels[:, [0, 3]], mask), torch.lerp(levels[:, 0], levels[:, 3], mask))


def test_without_a_baseline_positions_are_blurred_and_columns_are_zero():
    seen = []

    def both(image: Tensor, table: Tensor) -> Tensor:
        seen.append((image.detach().clone(), table.detach().clone()))
        return (image.flatten(1).sum(1) + table.sum(1)).unsqueeze(1)

    learn(both, (IMAGE, torch.ones(2, 4, dtype=torch.float64)), steps=1)
    image, table = seen[1]  # after the inputs themselves
    sigma = widths(9, 10 / 224, 1)[0]
    assert sigma == 1 / 9
    assert_close(image, pl.Baseline.blur(sigma).single(Inputs.of(IMAGE)).leaves[0])
    assert not table.any()


@pytest.mark.parametrize(
    # Half of the brightness of the rectangle is as good as all, so no more of it has to be kept.
    ("mode", "above"),
    [("deletion", 0.9), ("preservation", 0.45), ("hybrid", 0.9)],
)
def test_a_mask_finds_what_was_planted(mode, above):
    x, where = planted.images()
    found = learn(
        planted.Rectangle(), (x, where), mode=mode, baseline=0.0, grid=12, steps=80, sparsity=0.5
    )
    values = found.values[0]
    assert values.shape == (2, 1, planted.SIDE, planted.SIDE)
    assert values.min() >= 0
    assert values.max() <= 1
    assert planted.overlap(values, where, above).min() > 0.6
    for row in range(2):
        assert values[row, 0][where[row]].mean() > above
        assert values[row, 0][~where[row]].mean() < 0.25 * above + 0.05
    assert not found.values[1].any()
    share = where.double().flatten(1).mean(1, keepdim=True)
    assert (found.evidence["area"] < 3 * share).all()
    if mode != "preservation":  # a small part is deleted, and hardly anything is left
        assert (found.evidence["without"] < 0.1).all()
    if mode != "deletion":
        assert (found.evidence["within"] > 0.9).all()


def test_what_is_said_is_what_the_model_says():
    """The evidence is that of the masked inputs themselves, run here again."""
    found = learn(NET, IMAGE, baseline=0.2, steps=10, grid=9, jitter=0.0)
    masked = torch.lerp(IMAGE, torch.full_like(IMAGE, 0.2), found.values)
    with torch.no_grad():
        points = [NET(x)[:, 0] for x in (masked, torch.full_like(IMAGE, 0.2), IMAGE)]
    left = (points[0] - points[1]) / (points[2] - points[1]).abs()
    assert_close(found.evidence["without"][:, 0], left)
    assert_close(found.evidence["area"][:, 0], found.values.flatten(1).mean(1))
    percents = sorted(round(100 * float(each)) for each in left)
    assert any(f"Without it {percents[0]} to {percents[1]} % of" in note for note in found.notes)


@pytest.mark.parametrize(("mode", "sides"), [("deletion", 1), ("hybrid", 2)])
@pytest.mark.parametrize("size", [1, 2, 64])
def test_passes_are_counted_and_batches_are_full(mode, sides, size):
    counted = Counting(NET)
    found = learn(counted, IMAGE, mode=mode, steps=5, batch_size=size)
    assert found.evaluations.forward == sum(counted.calls) == 2 * (2 + 6 * sides)
    assert found.evaluations.backward == 2 * 5 * sides
    parts, rows = (2, 1) if size == 1 else (1, 2)
    assert len(counted.calls) == parts * (2 + 6 * -(-sides * rows // size))


@pytest.mark.parametrize("name", ["meaningful_perturbation", "extremal_perturbation"])
def test_every_sample_has_a_mask_of_its_own(name):
    options = {"target": 0, "steps": 12, "jitter": 0.2}
    together = pl.explain(NET, IMAGE, name, **options)
    cut = pl.explain(NET, IMAGE, name, batch_size=1, **options)
    assert_close(cut.values, together.values, rtol=1e-6, atol=1e-9)
    alone = pl.explain(NET, IMAGE[1:], name, **options)
    assert_close(alone.values[0], together.values[1], rtol=1e-6, atol=1e-9)
    assert pl.explain(NET, IMAGE, name, **options) == together
    other = pl.explain(NET, IMAGE, name, seed=1, **options)
    assert not torch.equal(other.values, together.values)


def test_tokens_have_one_number_each():
    table = seeded(nn.Embedding(9, 3))
    found = learn(
        lambda ids: table(ids).sum((1, 2)).unsqueeze(1), torch.tensor([[1, 2, 3, 4]]), steps=60
    )
    shares = table.weight.detach().sum(1)[[1, 2, 3, 4]]
    assert found.values.shape == (1, 4)
    # The score is that of a line: one with the sign of the whole, beyond the mean, has to go.
    if shares.sum() > 0:
        assert found.values[0, shares.argmax()] > 0.5
    assert found.values[0, shares.argmin()] == 0


def test_signals_and_volumes_have_masks_over_their_positions():
    for shape in [(2, 3, 11), (2, 2, 5, 4, 3)]:
        x = normal(*shape, seed=6)
        found = learn(lambda x: x.flatten(1).tanh().sum(1, keepdim=True), x, steps=3, grid=4)
        assert found.values.shape == (2, 1, *shape[2:])
    x = normal(1, 9, 8, 3, seed=11)  # channels last
    found = learn(lambda x: x.flatten(1).tanh().sum(1, keepdim=True), x, steps=3)
    assert found.values.shape == (1, 9, 8, 1)


def test_a_baseline_with_a_higher_score_is_said():
    found = learn(lambda x: -line(x), ONES, steps=3)
    assert any("at least the score of the input in 1 of 1 samples" in note for note in found.notes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "delete"}, "Did you mean 'deletion'?"),
        ({"grid": -1}, "`grid` must be a whole number, at least 1; got -1"),
        ({"grid": (3,)}, "`grid` must have a number of cells for each of the 2 axes after the"),
        ({"sparsity": -1}, "`sparsity` must be a weight, 0 or more; got -1"),
        ({"smoothness": "much"}, "`smoothness` must be a weight, 0 or more; got 'much'"),
        ({"power": 0.5}, "`power` must be at least 1; got 0.5"),
        ({"jitter": 2}, "`jitter` must be a fraction of each axis; got 2"),
        ({"steps": 0}, "`steps` must be a whole number, at least 1; got 0"),
        ({"rate": 0}, "`rate` must be a positive step, at most 1; got 0"),
        ({"seed": None}, "`seed` must be a whole number; got None"),
        ({"baseline": normal(3, 2, 9, 7)}, "This method takes one reference a sample; got a back"),
        ({"baseline": torch.zeros(3)}, "The baseline of `inputs` must have the shape of one"),
    ],
)
def test_what_cannot_be_is_said(options, words):
    with pytest.raises(InputError) as caught:
        learn(NET, IMAGE, **options)
    assert words in str(caught.value)
