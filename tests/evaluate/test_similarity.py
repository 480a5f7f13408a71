"""Similarities against slow versions, and where they are not defined."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch.testing import assert_close

from pellucid.errors import InputError
from pellucid.evaluate.similarity import (
    SIMILARITIES,
    TopShare,
    maps,
    ranks,
    similarities_of,
    similarity_of,
)


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return (made * 8).round() / 8  # with equal values


def textbook_ssim(a, b):
    """Position by position, with a window that is cut at the border."""
    a, b = (abs(each) / abs(each).max() for each in (a, b))
    found = []
    for place in np.ndindex(a.shape):
        weights = np.zeros(a.shape)
        for other in np.ndindex(a.shape):
            apart = [abs(i - j) for i, j in zip(place, other, strict=True)]
            if max(apart) <= 5:
                weights[other] = math.exp(-sum(d * d for d in apart) / (2 * 1.5**2))
        weights /= weights.sum()
        x, y = (weights * a).sum(), (weights * b).sum()
        var_x, var_y = (weights * (a - x) ** 2).sum(), (weights * (b - y) ** 2).sum()
        both = (weights * (a - x) * (b - y)).sum()
        light = (2 * x * y + 1e-4) / (x * x + y * y + 1e-4)
        found.append(light * (2 * both + 9e-4) / (var_x + var_y + 9e-4))
    return float(np.mean(found))


TEXTBOOK = {
    "spearman": lambda a, b: stats.spearmanr(a.ravel(), b.ravel()).statistic,
    "absolute_spearman": lambda a, b: stats.spearmanr(abs(a).ravel(), abs(b).ravel()).statistic,
    "pearson": lambda a, b: stats.pearsonr(a.ravel(), b.ravel()).statistic,
    "absolute_pearson": lambda a, b: stats.pearsonr(abs(a).ravel(), abs(b).ravel()).statistic,
    "cosine": lambda a, b: (a * b).sum() / math.sqrt((a**2).sum() * (b**2).sum()),
    "ssim": textbook_ssim,
    "top_share": lambda a, b: len(strongest(a) & strongest(b)) / len(strongest(a)),
}


def strongest(a):
    order = sorted(range(a.size), key=lambda i: -abs(a.ravel()[i]))
    return set(order[: max(1, round(0.1 * a.size))])


@pytest.mark.parametrize("shape", [(9, 7), (23,)])
@pytest.mark.parametrize("name", SIMILARITIES)
def test_they_are_those_of_the_textbook(name, shape):
    a, b = drawn(3, 1, *shape), drawn(3, 1, *shape, seed=1)
    expected = [TEXTBOOK[name](x.numpy(), y.numpy()) for x, y in zip(a[:, 0], b[:, 0], strict=True)]
    assert_close(similarity_of(name)([a], [b]), torch.tensor(expected, dtype=torch.float64))


def test_ssim_inside_is_that_of_a_gaussian_filter():
    """A filter of another library, where the border is not seen."""
    a, b = drawn(30, 30).numpy(), drawn(30, 30, seed=1).numpy()
    a, b = abs(a) / abs(a).max(), abs(b) / abs(b).max()

    def filtered(x):
        return ndimage.gaussian_filter(x, 1.5, radius=5)

    x, y = filtered(a), filtered(b)
    both, var_x, var_y = filtered(a * b) - x * y, filtered(a * a) - x * x, filtered(b * b) - y * y
    expected = (2 * x * y + 1e-4) * (2 * both + 9e-4)
    expected /= (x * x + y * y + 1e-4) * (var_x + var_y + 9e-4)
    from pellucid.evaluate.similarity import _structure

    ways = similarity_of("ssim")
    (one,), (other,) = (ways.prepare([torch.tensor(e)[None, None]]) for e in (a, b))
    found = _structure(one, other)[0, 0].numpy()
    np.testing.assert_allclose(found[5:-5, 5:-5], expected[5:-5, 5:-5], rtol=1e-6)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_equal_maps_are_alike_and_scale_does_not_count(name):
    a, way = drawn(4, 2, 8, 8), similarity_of(name)
    assert_close(way([a], [a]), torch.ones(4, dtype=torch.float64))
    assert_close(way([a], [3 * drawn(4, 2, 8, 8, seed=1)]), way([a], [drawn(4, 2, 8, 8, seed=1)]))


@pytest.mark.parametrize("name", SIMILARITIES)
def test_samples_do_not_mix_and_both_sides_are_alike(name):
    a, b, way = drawn(4, 1, 8, 8), drawn(4, 1, 8, 8, seed=1), similarity_of(name)
    whole = way([a], [b])
    assert_close(torch.cat([way([a[i : i + 1]], [b[i : i + 1]]) for i in range(4)]), whole)
    assert_close(way([b], [a]), whole)
    assert bool(whole.abs().max() < 1)


@pytest.mark.parametrize("name", SIMILARITIES)
@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_what_cannot_be_compared_is_not_a_number(name, value):
    a, b = drawn(2, 1, 6, 6), drawn(2, 1, 6, 6, seed=1)
    b[1] = value
    found = similarity_of(name)([a], [b])
    assert found.isnan().tolist() == [False, True]


@pytest.mark.parametrize("name", ["spearman", "absolute_spearman", "pearson", "absolute_pearson"])
def test_a_constant_map_has_no_correlation(name):
    assert bool(similarity_of(name)([drawn(1, 1, 5, 5)], [torch.full((1, 1, 5, 5), 0.1)]).isnan())


def test_signs_count_where_sizes_do_not():
    a = drawn(2, 1, 6, 6)
    for name, expected in {"spearman": -1.0, "absolute_spearman": 1.0, "cosine": -1.0, "ssim": 1.0,
                           "pearson": -1.0, "top_share": 1.0}.items():  # fmt: skip
        assert_close(
            similarity_of(name)([a], [-a]), torch.full((2,), expected, dtype=torch.float64)
        )


def test_ranks_are_means_of_equal_values():
    rows = drawn(3, 40)
    expected = stats.rankdata(rows.numpy(), axis=1)
    assert_close(ranks(rows), torch.tensor(expected))


def test_rounding_makes_no_order():
    """Values that differ by the precision of single numbers share a rank."""
    a = torch.tensor([[[1.0, 0.3, 0.3, -0.5]]])
    b = a + torch.tensor([0, 3e-8, -3e-8, 0])
    way = similarity_of("spearman")
    assert_close(way([a], [b]), torch.ones(1, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_ranks_too(dtype):
    a, b = torch.linspace(0.1, 0.4, 40, dtype=torch.float64), torch.zeros(40, dtype=torch.float64)
    b[-1], a[-1] = 1.0, 1.0
    b[:-1] = a[:-1].flip(0)
    found = SIMILARITIES["spearman"]([a.to(dtype)[None, None]], [b.to(dtype)[None, None]])
    assert float(found) == pytest.approx(stats.spearmanr(a, b).statistic, abs=0.01)


def test_structures_of_a_long_signal_take_little_memory():
    a, b = torch.rand(2, 1, 1, 200_000, generator=torch.Generator().manual_seed(0))
    found = SIMILARITIES["ssim"]([a[None]], [b[None]])  # a table of all pairs would be 320 GB
    short = SIMILARITIES["ssim"]([a[None, ..., :2000]], [b[None, ..., :2000]])
    assert float(found) == pytest.approx(float(short), abs=0.05)


def test_structures_of_an_input_without_relevance_are_alike():
    a, b = drawn(2, 1, 9, seed=4), drawn(2, 1, 9, seed=5)
    nothing = torch.zeros(2, 1, 3, dtype=torch.float64)
    ssim = SIMILARITIES["ssim"]
    assert_close(ssim([a, nothing], [b, nothing]), (9 * ssim([a], [b]) + 3) / 12)


def test_several_inputs_are_one_map():
    a, b = drawn(2, 1, 4, 4), drawn(2, 1, 6)
    c, d = drawn(2, 1, 4, 4, seed=1), drawn(2, 1, 6, seed=2)
    joined = [torch.cat([x.flatten(1), y.flatten(1)], 1).unsqueeze(1) for x, y in ((a, b), (c, d))]
    for name in ("spearman", "cosine", "top_share"):
        way = similarity_of(name)
        assert_close(way([a, b], [c, d]), way([joined[0]], [joined[1]]))


def test_channels_of_images_are_added_up_and_those_of_signals_stay():
    image, last = drawn(2, 3, 6, 6), drawn(2, 6, 6, 3)
    assert_close(maps([image])[0], image.sum(1, keepdim=True))
    assert_close(maps([last])[0], last.sum(3).unsqueeze(1))
    assert maps([drawn(2, 3, 9)])[0].shape == (2, 3, 9)
    assert maps([drawn(2, 9), torch.zeros(2, 4).long()])[0].shape == (2, 1, 9)
    with pytest.raises(InputError, match="must have values that are real numbers"):
        maps([torch.zeros(2, 4).long()])


def test_bad_names_and_shares():
    with pytest.raises(
        InputError, match="`similarity` must be one that exists; got 'sperman'"
    ) as i:
        similarity_of("sperman")
    assert "'spearman'" in str(i.value) or "spearman" in str(i.value)
    with pytest.raises(InputError, match="`similarity` must name at least one"):
        similarities_of([])
    with pytest.raises(InputError, match="`share` must be a fraction of the elements"):
        TopShare(share=0.0)
