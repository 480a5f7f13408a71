"""Remove and debias: imputation against a sparse solver, and lost decisions against a loop."""

import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.evaluate.faithfulness import ROAD, imputation
from pellucid.evaluate.faithfulness.imputation import NoisyLinear, imputed
from tests.counting import Counting
from tests.zoo.network import normal, seeded


def solved(image, there):
    """The weighted means of neighbours of one image (height, width), by a sparse solver."""
    free = np.argwhere(~there)
    number = {tuple(place): i for i, place in enumerate(free)}
    matrix, right = lil_matrix((len(free), len(free))), np.zeros(len(free))
    for (row, column), i in number.items():
        for a, b in np.ndindex(3, 3):
            place = (row + a - 1, column + b - 1)
            inside = 0 <= place[0] < image.shape[0] and 0 <= place[1] < image.shape[1]
            if not inside or (a, b) == (1, 1):
                continue
            weight = 1 / 6 if a == 1 or b == 1 else 1 / 12
            matrix[i, i] += weight
            if place in number:
                matrix[i, number[place]] -= weight
            else:
                right[i] += weight * image[place]
    made = image.copy()
    made[~there] = spsolve(matrix.tocsr(), right)
    return made


def pictures(side=20):
    coarse = normal(2, 1, 5, 5, seed=1)
    made = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    made = made + 0.1 * normal(2, 1, side, side, seed=2)
    low, high = made.amin((1, 2, 3), keepdim=True), made.amax((1, 2, 3), keepdim=True)
    return (made - low) / (high - low)


def is_solved(tolerance=0.01):
    image = pictures()
    for share in (0.2, 0.5, 0.9):
        there = torch.rand(2, 1, 20, 20, generator=torch.Generator().manual_seed(3)) > share
        there[0, :, 4:12, 5:9] = False
        got = imputed(image, there.double())
        for row in range(2):
            want = solved(image[row, 0].numpy(), there[row, 0].numpy())
            assert np.abs(got[row, 0].numpy() - want).max() < tolerance
        assert torch.equal(got[there], image[there])


def test_imputed_pixels_are_the_weighted_means_of_their_neighbours():
    """Within the noise that is added to them."""
    is_solved()


@pytest.mark.parametrize("fault", ["no corrections", "diagonals count alike"])
def test_a_wrong_imputation_is_noticed(fault, monkeypatch):
    if fault == "no corrections":
        monkeypatch.setattr(imputation, "CORRECTIONS", 0)
    else:
        own = imputation._Neighbours.__init__

        def alike(self, image):
            own(self, image)
            self.kernel = self.kernel.clamp(max=1)
            self.degree = self._sum(image.new_ones(1, 1, *image.shape[2:]))

        monkeypatch.setattr(imputation._Neighbours, "__init__", alike)
    with pytest.raises(AssertionError):
        is_solved()


def test_noise_is_a_fraction_of_the_range_and_alike_in_every_row():
    image = pictures().expand(-1, 3, -1, -1).contiguous()
    there = (torch.rand(2, 1, 20, 20, generator=torch.Generator().manual_seed(3)) > 0.5).double()
    clean, noisy = (NoisyLinear(noise=noise, seed=5)([image], [there])[0] for noise in (0.0, 0.1))
    gone = (there == 0).expand_as(image)
    assert torch.equal(noisy[~gone], image[~gone])
    assert float((noisy - clean)[gone].std()) == pytest.approx(0.1, rel=0.1)
    alone = NoisyLinear(noise=0.1, seed=5)([image[1:]], [there[1:]])[0]
    assert_close(noisy[1:], alone)


def test_the_last_axis_may_hold_the_channels():
    image = pictures().expand(-1, 3, -1, -1).contiguous()
    there = (torch.rand(2, 1, 20, 20, generator=torch.Generator().manual_seed(3)) > 0.5).double()
    first = NoisyLinear(noise=0, seed=5)([image], [there])[0]
    last = NoisyLinear(noise=0, seed=5)([image.movedim(1, -1)], [there.movedim(1, -1)])[0]
    assert_close(last.movedim(-1, 1), first)


def test_signals_and_volumes_are_imputed():
    ramp = torch.arange(9.0).double()
    there = torch.ones(9).double()
    there[3:6] = 0
    assert_close(imputed(ramp[None, None], there[None, None])[0, 0], ramp, atol=1e-3, rtol=0)
    volume = (ramp[:, None, None] + 2 * ramp[:, None] - ramp).expand(1, 1, 9, 9, 9).contiguous()
    hole = torch.ones(1, 1, 9, 9, 9).double()
    hole[..., 3:6, 3:6, 3:6] = 0
    assert_close(imputed(volume, hole), volume, atol=0.05, rtol=0)


# --------------------------------------------------------------------------------- the decision


def network():
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 3)
    return seeded(nn.Sequential(*layers)).eval(), normal(6, 1, 8, 8, seed=3)


@pytest.mark.parametrize("first", ["most", "least"])
def test_lost_decisions_are_those_of_a_loop(first):
    model, x = network()
    found = pl.explain(model, x, "gradient_x_input")
    shares = (0.1, 0.3, 0.6)
    got = ROAD(shares=shares, first=first, noise=0.02, seed=4)(model, found)
    fill = NoisyLinear(noise=0.02, seed=4)
    name = {"most": "morf", "least": "lerf"}[first]
    assert got.curves[name].x.tolist() == [0, *shares]
    for row in range(6):
        ranked = found.values[row].flatten().argsort(descending=first == "most")
        kept = []
        for share in shares:
            there = torch.ones(64).double()
            there[ranked[: round(share * 64)]] = 0
            point = fill([x[row : row + 1]], [there.reshape(1, 1, 8, 8)])[0]
            kept.append(float(model(point).argmax() == found.target.classes[row]))
        assert got.curves[name].y[row].tolist() == [1, *kept]
        share = sum(kept) / 3
        assert float(got.values[row]) == pytest.approx(1 - share if first == "most" else share)
    assert first == "least" or len(set(got.values.tolist())) > 1


def test_a_class_that_is_not_predicted_is_lost_from_the_start():
    model, x = network()
    worst = model(x).argmin(1)
    got = ROAD()(model, pl.explain(model, x, "gradient_x_input", target=worst))
    assert got.curves["morf"].y[:, 0].tolist() == [0] * 6


def test_rows_and_calls():
    """A run for the predicted class, one for its margin, and one for each share and method."""
    model, x = network()
    found = pl.compare(model, x, ["gradient_x_input", "saliency"])
    counting = Counting(model)
    pl.evaluate.measure(counting, list(found), ROAD(shares=(0.2, 0.5)), batch_size=3)
    assert sum(counting.calls) == 6 * (2 + 2 * 2)
    assert max(counting.calls) == 3


def test_tables_take_a_baseline():
    model = seeded(nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))).eval()
    found = pl.explain(model, normal(3, 5), "gradient_x_input")
    with pytest.raises(InputError, match="What road imputes must be images or signals") as info:
        ROAD()(model, found)
    assert "baseline=0.0, features=None" in str(info.value)
    got = ROAD(baseline=0.0, features=None, shares=(0.1, 0.2, 0.9))(model, found)
    assert bool(got.values.isfinite().all())
    assert torch.equal(got.curves["morf"].y[:, 1], got.curves["morf"].y[:, 2])  # one feature


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shares": ()}, "`shares` must be shares of the features, above 0 and below 1"),
        ({"shares": (0.5, 1.0)}, "`shares` must be shares of the features"),
        ({"first": "both"}, "`first` of road"),
        ({"noise": -1}, "`noise` must be a fraction of the range"),
        ({"seed": "a"}, "`seed` must be a whole number"),
    ],
)
def test_options_are_checked(options, words):
    with pytest.raises((InputError, pl.errors.UnknownNameError), match=words):
        ROAD(**options)
