"""Metrics against masks: slow textbook versions, what they must not notice, and what is refused."""

import math

import pytest
import torch
from sklearn.metrics import jaccard_score, roc_auc_score

import pellucid as pl
from pellucid.evaluate.localization import (
    EnergyInside,
    MaskAUC,
    MaskIoU,
    MaskPrecision,
    PointingGame,
    RelevanceMass,
    RelevanceRank,
    TopKIntersection,
    against_masks,
    heat,
)

ALL = [
    PointingGame(tolerance=1),
    EnergyInside(),
    RelevanceMass(),
    RelevanceMass(pooling="abs_sum"),
    RelevanceMass(pooling="sum"),
    RelevanceRank(),
    TopKIntersection(k=5),
    TopKIntersection(k=0.2),
    MaskAUC(),
    MaskPrecision(),
    MaskIoU(threshold=0.5),
]
IDS = [f"{each.name}-{number}" for number, each in enumerate(ALL)]


class Weighted(torch.nn.Module):
    """A linear score: the map of gradient x input is the input times the weights."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(shape, dtype=torch.float64))

    def forward(self, x):
        return (x * self.weight).flatten(1).sum(1, keepdim=True)


def explained(values, method="gradient_x_input"):
    """An explanation with just these values."""
    return pl.explain(Weighted(values.shape[1:]), values, method)


def judged(metric, values, masks, method="gradient_x_input", **more):
    return metric(Weighted(values.shape[1:]), explained(values, method), masks=masks, **more).values


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    masks = torch.rand(shape[0], *shape[2:], generator=generator) < 0.12
    masks.flatten(1)[:, 0] = True
    return values, masks


def textbook(metric, values, mask):
    """One number, in plain Python, for values (channel, ...) and a mask (...) of one sample."""
    flat = [tuple(v) for v in values.flatten(1).T.tolist()]
    total = [sum(v) for v in flat]
    inside = mask.flatten().tolist()
    order = sorted(range(len(total)), key=lambda p: -total[p])
    if isinstance(metric, PointingGame):
        places = list(torch.cartesian_prod(*[torch.arange(n) for n in mask.shape]).tolist())
        best = places[order[0]] if mask.ndim > 1 else [order[0]]
        where = mask.nonzero().tolist()
        return float(min(math.dist(best, each) for each in where) <= metric.tolerance)
    if isinstance(metric, EnergyInside):
        positive = [max(each, 0) for each in total]
        return sum(p for p, m in zip(positive, inside, strict=True) if m) / sum(positive)
    if isinstance(metric, RelevanceMass):
        pool = {
            "l2": lambda v: math.sqrt(sum(e * e for e in v)),
            "abs_sum": lambda v: sum(abs(e) for e in v),
            "sum": lambda v: max(sum(v), 0),
        }[metric.pooling]
        pooled = [pool(v) for v in flat]
        return sum(p for p, m in zip(pooled, inside, strict=True) if m) / sum(pooled)
    if isinstance(metric, RelevanceRank | TopKIntersection):
        k = sum(inside)
        if isinstance(metric, TopKIntersection):
            k = metric.k if metric.k >= 1 else round(metric.k * len(total))
        return sum(inside[p] for p in order[:k]) / k
    if isinstance(metric, MaskAUC):
        return roc_auc_score(inside, total)
    if isinstance(metric, MaskPrecision):
        hits = [rank for rank, p in enumerate(order, 1) if inside[p]]
        return sum(number / rank for number, rank in enumerate(hits, 1)) / len(hits)
    high = [each >= metric.threshold * max(total) for each in total]
    return jaccard_score(inside, high)


@pytest.mark.parametrize("metric", ALL, ids=IDS)
@pytest.mark.parametrize("shape", [(6, 3, 6, 7), (6, 1, 6, 7), (6, 2, 15)], ids=str)
def test_it_is_that_of_the_textbook(metric, shape):
    values, masks = drawn(*shape)
    expected = [textbook(metric, v, m) for v, m in zip(values, masks, strict=True)]
    assert len(set(expected)) > 1
    found = judged(metric, values, masks)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12)
    assert torch.equal(found, judged(metric, values, masks, batch_size=1))


@pytest.mark.parametrize("metric", ALL, ids=IDS)
def test_masks_may_have_channels_and_channels_may_be_last(metric):
    values, masks = drawn(4, 3, 6, 7)
    expected = judged(metric, values, masks)
    assert torch.equal(judged(metric, values, masks.unsqueeze(1)), expected)
    assert torch.equal(judged(metric, values, masks.numpy().astype(float)), expected)
    last = values.movedim(1, -1).contiguous()
    for given in (masks, masks.unsqueeze(-1)):
        assert torch.allclose(judged(metric, last, given), expected, atol=1e-12)


@pytest.mark.parametrize("metric", ALL, ids=IDS)
def test_masks_of_elements_know_their_channels(metric):
    """A signal with a mask for each channel is a table of all its elements, but for distances."""
    values, _ = drawn(4, 2, 9)
    masks = torch.rand(4, 2, 9, generator=torch.Generator().manual_seed(1)) < 0.4
    found = judged(metric, values, masks)
    if not isinstance(metric, PointingGame):
        flat = judged(metric, values.flatten(1), masks.flatten(1))
        assert torch.allclose(found, flat, atol=1e-12)
        return
    for value, row, mask in zip(found, values, masks, strict=True):
        channel, place = divmod(int(row.argmax()), 9)
        near = [abs(place - p) <= 1 for c, p in mask.nonzero().tolist() if c == channel]
        assert value == float(any(near))


@pytest.mark.parametrize("metric", ALL, ids=IDS)
def test_the_scale_of_a_map_does_not_matter(metric):
    values, masks = drawn(4, 2, 6, 7)
    assert torch.allclose(judged(metric, 8 * values, masks), judged(metric, values, masks))


@pytest.mark.parametrize("metric", [m for m in ALL if "order" in m.ignores], ids=lambda m: m.name)
def test_only_the_order_matters(metric):
    values, masks = drawn(4, 1, 6, 7)
    assert torch.equal(judged(metric, values**3, masks), judged(metric, values, masks))


def few_levels():
    values, masks = drawn(6, 1, 3, 4)
    return values.round(), masks


@pytest.mark.parametrize(
    "metric", [PointingGame(), RelevanceRank(), TopKIntersection(k=3)], ids=lambda m: m.name
)
def test_ties_are_the_mean_over_all_orders(metric):
    """Against the mean over many ways to break the ties."""
    values, masks = few_levels()
    noise = torch.rand(300, *values.shape, generator=torch.Generator().manual_seed(0))
    broken = [
        [textbook(metric, v, m) for v, m in zip(values + 1e-3 * each, masks, strict=True)]
        for each in noise.double()
    ]
    expected = torch.tensor(broken, dtype=torch.float64).mean(0)
    assert float((judged(metric, values, masks) - expected).abs().max()) < 0.1


def test_ties_of_areas():
    values, masks = few_levels()
    flat = [
        (m.flatten().tolist(), v.flatten().tolist()) for v, m in zip(values, masks, strict=True)
    ]
    areas = [roc_auc_score(mask, value) for mask, value in flat]
    assert judged(MaskAUC(), values, masks).tolist() == pytest.approx(areas)
    precisions = []
    for mask, value in flat:
        found, last = 0.0, 0
        for level in sorted(set(value), reverse=True):
            hits = sum(m for m, v in zip(mask, value, strict=True) if v >= level)
            found += (hits - last) / sum(mask) * hits / sum(v >= level for v in value)
            last = hits
        precisions.append(found)
    assert judged(MaskPrecision(), values, masks).tolist() == pytest.approx(precisions)


@pytest.mark.parametrize("metric", ALL, ids=IDS)
def test_a_map_that_is_the_mask_is_the_best(metric):
    _, masks = drawn(3, 1, 8, 8, seed=3)
    k = TopKIntersection(k=int(masks.flatten(1).sum(1).min()))
    metric = k if isinstance(metric, TopKIntersection) else metric
    found = judged(metric, masks.unsqueeze(1).double(), masks)
    assert torch.equal(found, torch.ones(3, dtype=torch.float64))
    worst = judged(metric, (~masks).unsqueeze(1).double(), masks)
    if not isinstance(metric, PointingGame | MaskPrecision):
        assert torch.equal(worst, torch.zeros(3, dtype=torch.float64))


def test_minus_the_map_has_the_other_area():
    values, masks = drawn(4, 1, 6, 7)
    assert torch.allclose(judged(MaskAUC(), -values, masks), 1 - judged(MaskAUC(), values, masks))


@pytest.mark.parametrize("metric", ALL, ids=IDS)
def test_slopes_tell_by_their_size(metric):
    """A gradient of the other sign says the same."""
    _, masks = drawn(2, 2, 5, 6)
    model = Weighted((2, 5, 6))
    model.weight.copy_(drawn(1, 2, 5, 6, seed=5)[0][0])
    x = torch.ones(2, 2, 5, 6, dtype=torch.float64)
    up = metric(model, pl.explain(model, x, "saliency"), masks=masks).values
    size = Weighted((2, 5, 6))
    size.weight.copy_(model.weight.abs())
    same = metric(size, pl.explain(size, x, "gradient_x_input"), masks=masks).values
    if not (isinstance(metric, RelevanceMass) and metric.pooling == "sum"):
        assert torch.allclose(up, same, atol=1e-12)


def test_players_share_out_what_they_have():
    """A superpixel of four pixels and one of a single pixel, of the same value."""
    x = torch.ones(1, 1, 1, 5, dtype=torch.float64)
    features = torch.tensor([[[0, 0, 0, 0, 1]]])
    model = Weighted((1, 1, 5))
    model.weight[..., 4] = 4
    found = pl.explain(model, x, "occlusion", features=features)
    masks = torch.tensor([[[0, 0, 0, 0, 1]]])
    assert EnergyInside()(model, found, masks=masks).values.tolist() == [0.5]
    assert RelevanceMass()(model, found, masks=masks).values.tolist() == [0.5]
    assert PointingGame()(model, found, masks=masks).values.tolist() == [1]


def test_rivals_are_judged_apart():
    values, masks = drawn(4, 1, 6, 7)
    model = Weighted((1, 6, 7))
    names = ["gradient_x_input", "saliency", "occlusion"]
    rivals = [pl.explain(model, values, name) for name in names]
    together = pl.evaluate.measure(model, rivals, ALL, masks=masks)
    alone = [
        each for rival in rivals for each in pl.evaluate.measure(model, [rival], ALL, masks=masks)
    ]
    assert all(torch.equal(a.values, b.values) for a, b in zip(together, alone, strict=True))
    assert all(each.evaluations.forward == 0 for each in together)


def test_masks_without_an_object():
    values, masks = drawn(3, 1, 4, 4)
    masks[0], masks[2] = False, True
    for metric in ALL:
        found = metric(Weighted((1, 4, 4)), explained(values), masks=masks)
        assert found.values.isfinite().tolist() == [False, True, not metric.two_sided]
        empty = "1 of 3 samples have an empty mask, for which it is not defined."
        full = "1 of 3 samples have a mask of everything, for which it is not defined."
        assert found.notes == ((empty, full) if metric.two_sided else (empty,))


def test_maps_of_zeros_know_nothing():
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[:, 0] = True
    zeros = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    expected = [0.25, None, None, None, None, 0.25, 0.25, 0.25, 0.5, 0.25, 0.0]
    for metric, value in zip(ALL, expected, strict=True):
        if isinstance(metric, PointingGame):
            metric = PointingGame()
        found = metric(Weighted((1, 4, 4)), explained(zeros), masks=masks)
        if value is None:
            assert found.values.isnan().all()
            note = "2 of 2 samples have no relevance of which a part could be inside."
            assert found.notes == (note,)
        else:
            assert found.values.tolist() == [value, value]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (
            PointingGame(tolerance=-1),
            "`tolerance` must be a distance in pixels, 0 or more; got -1.",
        ),
        (TopKIntersection(k=0), "`k` must be a whole number of places, or a share of them"),
        (TopKIntersection(k=1.5), "between 0 and 1; got 1.5."),
        (MaskIoU(threshold=0), "`threshold` must be a share of the maximum, above 0 and at most 1"),
        (RelevanceMass(pooling="l1"), "`pooling` of relevance_mass must be one that exists; got"),
        (RelevanceMass(pooling="negative"), "got 'negative'. Did you mean 'positive'?"),
    ],
)
def test_options_that_make_no_sense(metric, message):
    values, masks = drawn(2, 1, 4, 4)
    with pytest.raises(pl.errors.InputError) as caught:
        judged(metric, values, masks)
    assert message in str(caught.value)


def test_masks_must_be_given():
    values, _ = drawn(2, 1, 4, 4)
    with pytest.raises(pl.errors.InputError, match="pointing_game must have `masks`; got none."):
        judged(PointingGame(), values, None)


# What is broken -> where, how, and the test that must fail.
MUTANTS = {
    "the lowest place": (
        PointingGame, "rate", lambda self, h, m: _RATES[PointingGame](self, -h, m), PointingGame(),
    ),
    "no tolerance": (against_masks, "widened", lambda m, t: m, PointingGame(tolerance=1)),
    "both signs": (
        EnergyInside, "rate", lambda self, h, m: against_masks._inside(h.abs(), m), EnergyInside(),
    ),
    "not pooled": (
        RelevanceMass, "map", lambda self, r, m: heat.heat_on(r, m), RelevanceMass(),
    ),
    "one place more": (
        against_masks, "_hits", lambda h, m, k: _HITS(h, m, k + 1), RelevanceRank(),
    ),
    "too few places": (
        against_masks, "_hits", lambda h, m, k: _HITS(h, m, k - 1), TopKIntersection(k=5),
    ),
    "the other side": (
        MaskAUC, "rate", lambda self, h, m: _RATES[MaskAUC](self, h, ~m), MaskAUC(),
    ),
    "precision of the other side": (
        MaskPrecision, "rate", lambda self, h, m: _RATES[MaskPrecision](self, -h, m),
        MaskPrecision(),
    ),
    "half of the threshold": (
        against_masks, "above", lambda h, t: _ABOVE(h, t / 2), MaskIoU(threshold=0.5),
    ),
}  # fmt: skip
_RATES = {each: each.rate for each in (PointingGame, MaskAUC, MaskPrecision)}
_HITS, _ABOVE = against_masks._hits, against_masks.above


@pytest.mark.parametrize("name", MUTANTS)
def test_what_is_wrong_is_noticed(name, monkeypatch):
    home, attribute, mutant, metric = MUTANTS[name]
    test_it_is_that_of_the_textbook(metric, (6, 3, 6, 7))
    monkeypatch.setattr(home, attribute, mutant)
    with pytest.raises(AssertionError):
        test_it_is_that_of_the_textbook(metric, (6, 3, 6, 7))


def test_the_first_of_tied_places_is_noticed(monkeypatch):
    def first(heat, masks, k):
        order = heat.sort(dim=1, descending=True, stable=True).indices
        taken = order[:, : int(k[0])]
        return masks.flatten(1).gather(1, taken).sum(1).double()

    test_ties_are_the_mean_over_all_orders(RelevanceRank())
    monkeypatch.setattr(against_masks, "_hits", first)
    with pytest.raises(AssertionError):
        test_ties_are_the_mean_over_all_orders(RelevanceRank())
