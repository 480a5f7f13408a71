"""RISE: the textbook's average over the same masks, without bias, with honest error bars."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.perturb.mask_sheets import Sheet
from pellucid.perturb.rise_draws import grown
from tests.counting import Counting
from tests.perturb import planted
from tests.zoo.network import normal, rows, seeded

IMAGE = normal(2, 2, 10, 7, seed=1)
NET = seeded(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(120, 2)))
TABLE = normal(3, 5, seed=2)
LINE = seeded(nn.Linear(5, 2), 3)


def rise(model: object, x: object, **options: object) -> pl.Explanation:
    return pl.explain(model, x, "rise", **{"target": 0, **options})


class Seen(nn.Module):
    """Remembers what it was shown."""

    def __init__(self, model: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.points = model, []

    def forward(self, x: Tensor) -> Tensor:
        self.points += list(x.detach().clone())
        return self.model(x)


def masks_of(x: Tensor, **options: object) -> Tensor:
    """The masks of an input's shape: what is seen of ones before zeros, (mask, ...)."""
    seen = Seen(lambda x: x.flatten(1).sum(1, keepdim=True))
    rise(seen, torch.ones_like(x[:1]), **{**options, "baseline": 0.0})
    return torch.stack(seen.points[2:])  # after the input and the baseline


def textbook(
    model: Callable[[Tensor], Tensor], x: Tensor, x0: Tensor, masks: Tensor, p: float, center: bool
) -> Tensor:
    """The average of one sample, one mask after another."""
    with torch.no_grad():
        middle = p * model(x[None])[0, 0] + (1 - p) * model(x0[None])[0, 0]
        total = torch.zeros_like(x)
        for mask in masks:
            score = model((mask * x + (1 - mask) * x0)[None])[0, 0]
            total += (score - middle) * (mask / p - float(center))
    return total / len(masks) + (0 if center else middle)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(
    ("model", "x", "options"),
    [
        (NET, IMAGE, {"grid": 3, "probability": 0.4}),
        (NET, IMAGE, {"grid": (4, 2), "probability": 0.5, "baseline": 0.3}),
        (LINE, TABLE, {"probability": 0.7}),
    ],
)
def test_it_is_the_average_of_the_textbook(model, x, options, center):
    options = {"samples": 70, "seed": 5, **options}
    masks = masks_of(x, **options)
    assert len(masks) == 70
    found = rise(model, x, center=center, **options)
    for row in range(len(x)):
        x0 = torch.full_like(x[row], options.get("baseline", 0.0))
        expected = textbook(model, x[row], x0, masks, options["probability"], center)
        values = found.values[row]
        if x.ndim == 4:  # the same for all channels, up to what each of them had
            expected = expected[:1]
        assert_close(values, expected, rtol=1e-9, atol=1e-9)


def test_the_standard_error_is_that_of_a_mean():
    options = {"samples": 90, "probability": 0.6}
    masks, x = masks_of(TABLE, **options), TABLE[:1]
    with torch.no_grad():
        middle = 0.6 * LINE(x)[0, 0] + 0.4 * LINE(torch.zeros_like(x))[0, 0]
        terms = (LINE(masks * x)[:, :1] - middle) * (masks / 0.6 - 1)
    expected = terms.std(0) / 90**0.5
    assert_close(rise(LINE, x, **options).error[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "grid"), [((9,), (3,)), ((10, 7), (4, 3)), ((6, 5, 4), (2, 2, 2))]
)
def test_cells_are_interpolated_linearly_and_cut_at_the_shift(size, grid):
    """Beside torch's own interpolation."""
    cells = (normal(6, *grid, seed=7) > 0).double()
    periods = [-(-n // g) for n, g in zip(size, grid, strict=True)]
    shifts = torch.stack([torch.arange(6) % period for period in periods], 1)
    sheet = Sheet(leaves=(0,), size=size, grid=grid, channel=1, smooth=True)
    found = grown(cells, sheet, shifts, {})
    assert len(size) == len(grid) == found.ndim - 1
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    large = [(g + 1) * period for g, period in zip(grid, periods, strict=True)]
    whole = F.interpolate(cells[:, None], size=large, mode=mode, align_corners=False)[:, 0]
    for row in range(6):
        cut = tuple(slice(int(s), int(s) + n) for s, n in zip(shifts[row], size, strict=True))
        assert_close(found[row], whole[row][cut])


def expected_of_line(weights: Tensor, grid: int, p: float) -> Tensor:
    """What R is on average for a linear score of a signal, where every cell is apart.

    E[M_i M_j] = p^2 + p (1 - p) K_ij, K_ij = mean over shifts of sum over cells k of A_ki A_kj,
    where A_k is cell k alone. So E[f M_i] / p - E[f] = (1 - p) sum over j of w_j K_ij.
    """
    size = len(weights)
    period = -(-size // grid)
    alone = F.interpolate(
        torch.eye(grid, dtype=torch.float64)[:, None],
        size=(grid + 1) * period,
        mode="linear",
        align_corners=False,
    )[:, 0]
    found = torch.zeros(size, dtype=torch.float64)
    for shift in range(period):
        cut = alone[:, shift : shift + size]
        for i in range(size):
            for j in range(size):
                found[i] += (1 - p) * weights[j] * (cut[:, i] @ cut[:, j]) / period
    return found


SIGNAL = normal(1, 1, 9, seed=8)
WEIGHTS = normal(9, seed=9)


def of_signal(x: Tensor) -> Tensor:
    return (x[:, 0] * WEIGHTS).sum(1, keepdim=True)


def of_table(x: Tensor) -> Tensor:
    return 2.0 + (x * WEIGHTS[:5]).sum(1, keepdim=True)


BACKGROUND = normal(4, 5, seed=10)
KNOWN = {
    "columns": (of_table, TABLE[:1], {}, 0.5 * TABLE[0] * WEIGHTS[:5]),
    "a background": (
        of_table,
        TABLE[:1],
        {"baseline": BACKGROUND, "probability": 0.3},
        0.7 * (TABLE[0] - BACKGROUND.mean(0)) * WEIGHTS[:5],
    ),
    "as in the paper": (
        of_table,
        TABLE[:1],
        {"center": False},
        2.0 + 0.5 * (TABLE[0] * WEIGHTS[:5]).sum() + 0.5 * TABLE[0] * WEIGHTS[:5],
    ),
    "a signal": (
        of_signal,
        SIGNAL,
        {"grid": 3, "probability": 0.4},
        expected_of_line(SIGNAL[0, 0] * WEIGHTS, 3, 0.4),
    ),
}


@cache
def repeated(name: str, times: int = 120) -> tuple[Tensor, Tensor, Tensor]:
    """Values and errors over many seeds, (seed, element), and what they should be on average."""
    model, x, options, expected = KNOWN[name]
    found = [rise(model, x, samples=80, seed=seed, **options) for seed in range(times)]
    values = torch.stack([each.values.flatten() for each in found])
    return values, torch.stack([each.error.flatten() for each in found]), expected


def check_unbiased(values: Tensor, errors: Tensor, expected: Tensor) -> None:
    """The mean is what it should be, and 90 to 99 % of 95 % intervals hold that."""
    off = (values.mean(0) - expected) / (values.std(0) / len(values) ** 0.5)
    assert off.abs().max() < 4
    inside = ((values - expected).abs() < 1.96 * errors).double().mean()
    assert 0.9 <= inside <= 0.99


@pytest.mark.parametrize("name", KNOWN)
def test_it_is_without_bias_and_the_errors_cover(name):
    check_unbiased(*repeated(name))


@pytest.mark.parametrize(
    "broken",
    [
        lambda v, e, t: (v, e / 2, t),
        lambda v, e, t: (v, e * 2, t),
        lambda v, e, t: (v + 0.3 * e.mean(), e, t),
        lambda v, e, t: (v * 0.5, e, t),
    ],
)
def test_the_check_can_fail(broken):
    with pytest.raises(AssertionError):
        check_unbiased(*broken(*repeated("columns")))


def test_the_error_falls_with_the_root_of_the_masks():
    few, many = (rise(NET, IMAGE, samples=n, grid=3).error.mean() for n in (100, 1600))
    assert 3.3 < few / many < 4.8


@pytest.mark.parametrize("size", [1, 3, 64])
def test_the_batch_size_changes_nothing_and_batches_are_full(size):
    whole = rise(NET, IMAGE, samples=50, grid=3, batch_size=1000)
    counted = Counting(NET)
    found = rise(counted, IMAGE, samples=50, grid=3, batch_size=size)
    assert_close(found.values, whole.values, rtol=1e-9, atol=1e-12)
    assert_close(found.error, whole.error, rtol=1e-9, atol=1e-12)
    parts = -(-2 // size)  # batches of samples, of which each has an input, a baseline and masks
    assert found.evaluations.forward == sum(counted.calls) == 2 * 50 + 2 + parts
    masked = [-(-50 * min(size, 2 - size * part) // size) for part in range(parts)]
    assert len(counted.calls) == 2 * parts + sum(masked)


def test_memory_is_that_of_a_batch():
    counted = Counting(NET)
    rise(counted, IMAGE[:1], samples=200, grid=3, batch_size=8)
    assert counted.most_alive <= 4 * 8


def test_every_sample_sees_the_same_masks():
    together = rise(NET, IMAGE, samples=40, grid=3)
    for row in range(2):
        alone = rise(NET, IMAGE[row : row + 1], samples=40, grid=3)
        assert_close(alone.values[0], together.values[row], rtol=1e-9, atol=1e-12)
    assert rise(NET, IMAGE, samples=40, grid=3) == together
    assert not torch.equal(rise(NET, IMAGE, samples=40, grid=3, seed=1).values, together.values)


def test_a_tolerance_stops_each_sample_when_its_own_errors_are_small():
    x = torch.cat([TABLE[:1], 0.01 * torch.ones(1, 5)])
    steep = nn.Sequential(LINE, nn.Tanh())
    options = {"samples": 5000, "tolerance": 0.05}
    found = rise(steep, x, **options)
    taken = found.evidence["masks"]
    assert set(taken.tolist()) <= {128 * 2**k for k in range(6)} | {5000}
    assert taken.max() < 5000
    spread = found.values.amax(1) - found.values.amin(1)
    assert (found.error.amax(1) <= 0.05 * spread).all()
    assert any("Stopped after" in note for note in found.notes)
    for row in range(2):
        alone = rise(steep, x[row : row + 1], batch_size=7, **options)
        assert_close(alone.values[0], found.values[row], rtol=1e-9, atol=1e-12)
        assert alone.evidence["masks"].item() == taken[row]


def test_a_tolerance_that_is_not_reached_is_said():
    found = rise(NET, IMAGE, samples=200, grid=3, tolerance=1e-4)
    assert found.evidence["masks"].tolist() == [200, 200]
    assert any("errors of 2 of 2 samples are above the tolerance" in n for n in found.notes)


@pytest.mark.parametrize("seed", [-1, 2**64, 2**70])
def test_any_whole_number_is_a_seed(seed):
    assert rise(of_table, TABLE[:1], samples=8, seed=seed).values.isfinite().all()


def test_it_finds_what_was_planted():
    """Of a rectangle that alone makes the score, values inside stand out from those outside."""
    x, where = planted.images()
    found = rise(planted.Rectangle(), (x, where), samples=1500, grid=6)
    values = found.values[0]
    assert values.shape == (2, 1, planted.SIDE, planted.SIDE)
    for row in range(2):
        inside, outside = values[row, 0][where[row]], values[row, 0][~where[row]]
        assert inside.mean() > 5 * outside.mean().abs()
        assert inside.min() > outside.median()
    assert (
        planted.overlap(values / values.flatten(1).amax(1).reshape(-1, 1, 1, 1), where).min() > 0.5
    )
    assert not found.values[1].any()


class Ids(nn.Module):
    """Scores ids, and remembers them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = seeded(nn.Embedding(9, 3))
        self.seen: set[int] = set()

    def forward(self, ids: Tensor) -> Tensor:
        self.seen |= set(ids.flatten().tolist())
        return self.table(ids).sum((1, 2)).unsqueeze(1)


IDS = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 7]])


def test_tokens_are_absent_by_a_zero_embedding_or_by_an_id():
    model = Ids()
    shares = model.table.weight.detach().sum(1)
    found = rise(model, IDS, samples=4000)
    assert_close(found.values, 0.5 * shares[IDS], rtol=0, atol=0.15)
    assert found.players.shape == (2, 4)
    model = Ids()
    found = rise(model, IDS, samples=4000, baseline=torch.zeros(1, 4, dtype=torch.long))
    assert_close(found.values, 0.5 * (shares[IDS] - shares[0]), rtol=0, atol=0.15)
    assert model.seen == {0, 1, 2, 3, 4, 5, 6, 7}


def test_players_may_be_anything():
    labels = torch.tensor([[0, 0, 1, 1, -1]])
    found = rise(of_table, TABLE[:1], features=labels, samples=4000)
    shares = TABLE[0] * WEIGHTS[:5]
    expected = 0.5 * torch.stack([shares[:2].sum(), shares[2:4].sum()])
    assert_close(found.players[0], expected, rtol=0, atol=0.2)
    assert found.values[0, 4] == 0
    assert (found.player_error > 0).all()


def test_images_with_channels_last_have_masks_over_height_and_width():
    x = normal(1, 9, 8, 3, seed=11)
    found = rise(lambda x: x.flatten(1).tanh().sum(1, keepdim=True), x, samples=20)
    assert found.values.shape == (1, 9, 8, 1)


def test_a_callable_is_all_it_takes():
    def detached(x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy().sum(1, keepdims=True))

    found = rise(detached, rows([1.0, 2.0]), samples=4000)
    assert_close(found.values, rows([0.5, 1.0]), rtol=0, atol=0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 1}, "`samples` must be a whole number, at least 2; got 1"),
        ({"grid": 0}, "`grid` must be a whole number, at least 1; got 0"),
        ({"grid": (2, 2, 2)}, "`grid` must have a number of cells for each of the 2 axes after"),
        ({"probability": 0}, "`probability` must be a probability, above 0 and below 1; got 0"),
        ({"probability": 1.0}, "`probability` must be a probability, above 0 and below 1"),
        ({"tolerance": 0}, "`tolerance` must be a positive fraction of the range of the values"),
        ({"center": "yes"}, "`center` must be True or False; got 'yes'"),
        ({"seed": 0.5}, "`seed` must be a whole number; got 0.5"),
        ({"baseline": torch.zeros(3)}, "The baseline of `inputs` must have the shape of one"),
    ],
)
def test_what_cannot_be_is_said(options, words):
    with pytest.raises(InputError) as caught:
        rise(NET, IMAGE, **options)
    assert words in str(caught.value)


def test_the_number_of_players_of_other_samples_does_not_matter():
    x = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5]])
    net = lambda rows: (rows[:, :3].prod(1) + rows[:, 3:].exp().sum(1)).unsqueeze(1)  # noqa: E731
    method = pl.RISE(features=labels, samples=200)
    together, alone = (method(net, x, batch_size=size) for size in (3, 1))
    assert_close(together.players, alone.players)
