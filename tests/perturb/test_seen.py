"""What masks leave is what the search looked at, and its picture."""

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError, UnknownNameError
from pellucid.perturb.seen import Seen
from pellucid.plot import SeenPicture, seen
from tests.zoo.network import normal, seeded

NET = seeded(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 140, 2)))
NET = NET.double()
IMAGES = normal(2, 3, 12, 16, seed=1)
ASKED = {
    "meaningful_perturbation": {"steps": 3, "mode": "hybrid", "grid": 5},
    "extremal_perturbation": {"steps": 3, "area": 0.3, "grid": 5},
}


def learned(name, x=IMAGES, model=NET, **options):
    return pl.explain(model, x, name, target=1, **{**ASKED[name], **options})


def part(model, x, absent, seen):
    """How much of the score over that of the baseline is left."""
    with torch.no_grad():
        here, there, left = (model(each)[:, 1] for each in (x, absent, seen))
    return (left - there) / (here - there).abs()


@pytest.mark.parametrize("baseline", [None, 0.2, pl.Baseline.mean()])
@pytest.mark.parametrize("name", ASKED)
def test_the_score_of_what_is_seen_is_the_one_that_was_stated(name, baseline):
    found = learned(name, baseline=baseline)
    nothing = torch.zeros_like(found.values)
    empty = Seen.of(pl.Explanation(**{**vars(found), "values": nothing}), "within").inputs
    for side in ("within", "without") if name.startswith("mean") else ("within",):
        behind = Seen.of(found, side)
        assert behind.inputs.shape == IMAGES.shape
        assert_close(behind.left, part(NET, IMAGES, empty, behind.inputs))
        assert_close(behind.left, found.evidence[side][:, 0])
        assert_close(behind.area, found.evidence["area"][:, 0])
    assert (empty - IMAGES).abs().max() > 0.1


def test_both_sides_of_a_plain_baseline_are_the_input():
    found = learned("extremal_perturbation", baseline=0.0)
    within, without = (Seen.of(found, side).inputs for side in ("within", "without"))
    assert_close(within + without, IMAGES)
    assert Seen.of(found, "without").left is None, "nobody asked"
    assert Seen.of(learned("extremal_perturbation", mode="deletion")).side == "without"


def test_channels_may_come_last():
    last = IMAGES.movedim(1, -1)

    def flip(x):
        return NET(x.movedim(-1, 1))

    one = Seen.of(learned("meaningful_perturbation", last, flip)).inputs
    other = Seen.of(learned("meaningful_perturbation")).inputs
    assert_close(one, other.movedim(1, -1))


def test_the_picture_is_in_the_range_of_the_input():
    found = learned("extremal_perturbation")
    shown = SeenPicture.of(found, row=1)
    left, image = Seen.of(found).inputs[1], IMAGES[1]
    scaled = (
        255
        * (left - min(left.min(), image.min()))
        / (max(left.max(), image.max()) - min(left.min(), image.min()))
    )
    assert_close(torch.tensor(shown.picture).movedim(-1, 0), scaled.round().byte())
    given = SeenPicture.of(found, row=1, pictures=lambda x: (x[0, 0] > 0).numpy())
    assert ((given.picture[..., 0] > 0) == (left[0] > 0).numpy()).all()


def test_it_is_drawn_with_what_it_keeps():
    found = learned("extremal_perturbation")
    ax = seen(found, row=1)
    area, left = (float(found.evidence[name][1, 0]) for name in ("area", "within"))
    assert [text.get_text() for text in ax.texts] == [
        f"{area:.0%} of the input, within the mask:\n{left:.0%} of the score"
    ]
    assert ax.get_title() == "ExtremalPerturbation"
    hidden = seen(found, side="without", title="a photo")
    assert hidden.texts[0].get_text().endswith("of the input, without the mask")
    FigureCanvasAgg(hidden.figure).draw()


def test_what_cannot_be_seen_is_said():
    with pytest.raises(InputError, match="must be a mask that was learned; got .*Saliency"):
        seen(pl.explain(NET, IMAGES, "saliency"))
    with pytest.raises(InputError, match="must be of one area.*got masks of 2 areas"):
        seen(learned("extremal_perturbation", area=[0.1, 0.2]))
    with pytest.raises(UnknownNameError, match="`side`.*got 'withing'.*Did you mean 'within'"):
        seen(learned("extremal_perturbation"), side="withing")
    table = pl.explain(lambda x: x.sum(1, keepdim=True), IMAGES[:, 0, 0], "extremal_perturbation",
                       steps=2)  # fmt: skip
    with pytest.raises(InputError, match=r"must be of one image.*got 1 inputs, .*\[1, 16\]"):
        seen(table)
    words = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 2))
    ids = pl.explain(words, torch.ones(1, 5, dtype=torch.long), "extremal_perturbation", steps=2)
    with pytest.raises(InputError, match="must be floating-point numbers.*got whole numbers"):
        Seen.of(ids)
