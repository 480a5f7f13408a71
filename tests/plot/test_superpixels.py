"""Players of an image lie on it with their borders, and the strongest can be seen alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pellucid.errors import InputError, UnknownNameError
from pellucid.plot import Map, Superpixels, draw, grid, superpixels
from pellucid.plot.borders import borders
from pellucid.report.wording import where
from tests.plot.made import image, of_players, ramp

# Four players of four, four, six and two pixels.
REGIONS = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 3], [2, 2, 2, 3]])
PHOTO = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5


def photo(values=(1.0, -3.0, 2.0, 0.0), channels=3, **fields):
    """An explanation of the four players of a small photo."""
    inputs = torch.rand(1, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    return of_players([values], labels=REGIONS[None, None], inputs=inputs, **fields)


def crossings(labels):
    """The unit edges between pixels of different players, by looking at each pair."""
    height, width = labels.shape
    found = set()
    for y in range(height):
        for x in range(width):
            if x + 1 < width and labels[y, x] != labels[y, x + 1]:
                found.add((x + 0.5, y - 0.5, x + 0.5, y + 0.5))
            if y + 1 < height and labels[y, x] != labels[y + 1, x]:
                found.add((x - 0.5, y + 0.5, x + 0.5, y + 0.5))
    return found


def units(lines):
    """Lines cut into edges of one pixel."""
    found = []
    for (x0, y0), (x1, y1) in lines.tolist():
        steps = round(max(x1 - x0, y1 - y0))
        step = ((x1 - x0) / steps, (y1 - y0) / steps)
        for i in range(steps):
            a = (x0 + i * step[0], y0 + i * step[1])
            found.append((*a, a[0] + step[0], a[1] + step[1]))
    return found


@given(
    arrays(np.int64, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 3))
)
@settings(max_examples=80, deadline=None)
def test_borders_are_where_pixels_differ(labels):
    found = units(borders(labels))
    assert sorted(found) == sorted(crossings(labels)), "every edge once"


def test_what_is_closed_has_a_border_along_the_frame():
    assert len(units(borders(np.ones((2, 3), bool)))) == 0
    assert len(units(borders(np.ones((2, 3), bool), closed=True))) == 10


def test_players_lie_on_the_picture_with_their_borders():
    found = photo()
    shown = Map.of(found)
    assert (shown.regions == REGIONS).all()
    assert shown.values.tolist() == np.array([1.0, -3.0, 2.0, 0.0])[REGIONS].tolist()
    assert shown.covers
    ax = draw(found)
    assert len(ax.get_images()) == 2, "the picture, and the map on it"
    lines = {tuple(map(tuple, line.tolist())) for line in borders(REGIONS)}
    for collection in ax.collections:
        assert {tuple(map(tuple, s.tolist())) for s in collection.get_segments()} == lines
    assert len(draw(found, overlay=None).get_images()) == 1
    assert len(draw(image(ramp(4, 4))).get_images()) == 1, "single pixels would hide"
    _, beside = grid(found).axes
    assert len(beside.get_images()) == 2


def test_elements_that_are_players_have_no_borders():
    labels = torch.arange(16).reshape(1, 1, 4, 4)
    found = of_players(np.linspace(-1, 1, 16)[None], labels=labels, inputs=torch.rand(1, 1, 4, 4))
    assert Map.of(found).regions is None
    apart = torch.stack([torch.zeros(4, 4), torch.ones(4, 4)])[None].long()
    found = of_players([[1.0, 2.0]], labels=apart, inputs=torch.rand(1, 2, 4, 4))
    assert Map.of(found).regions is None, "channels are players of their own"


def test_channels_may_come_last():
    large = REGIONS.repeat(2, 0).repeat(2, 1)
    labels, inputs = large[None, :, :, None], torch.rand(1, 8, 8, 3)
    shown = Map.of(of_players([[1.0, -3.0, 2.0, 0.0]], labels=labels, inputs=inputs))
    assert (shown.regions == large).all()
    assert (shown.values == np.array([1.0, -3.0, 2.0, 0.0])[large]).all()


def test_the_strongest_supporting_players_alone():
    found = Superpixels.of(photo(), most=1, picture=PHOTO)
    assert found.chosen == (2,)
    assert (found.mask == (REGIONS == 2)).all()
    drawn = found.image(rest=0.0)
    assert (drawn[REGIONS == 2] == PHOTO[REGIONS == 2]).all()
    assert (drawn[REGIONS != 2] == 255).all()
    faded = found.image(rest=1.0)[REGIONS != 2]
    assert (faded == faded[:, :1]).all(), "what does not count has no color"


@pytest.mark.parametrize(
    ("sign", "chosen"), [("positive", (2, 0)), ("negative", (1,)), ("all", (1, 2, 0))]
)
def test_a_sign_is_chosen(sign, chosen):
    assert Superpixels.of(photo(), sign=sign).chosen == chosen, "zero is of no sign"


def test_what_is_shown_is_said():
    ax = superpixels(photo(), most=2)
    assert [text.get_text() for text in ax.texts] == [
        "the 2 strongest positive of 4 players,\ntogether 3"
    ]
    assert len(ax.collections) == 4, "a line and its halo for each"
    none = superpixels(photo((-1.0, -1.0, 0.0, torch.nan)))
    assert [text.get_text() for text in none.texts] == ["none of 4 players is positive"]
    FigureCanvasAgg(none.figure).draw()


def test_errors_of_superpixels():
    with pytest.raises(UnknownNameError, match=r"`sign`.*got 'postive'\. Did you mean 'positive'"):
        superpixels(photo(), sign="postive")
    with pytest.raises(InputError, match="`most` must be a whole number"):
        superpixels(photo(), most=0)
    with pytest.raises(InputError, match="`rest` must be an opacity from 0 to 1; got 2"):
        superpixels(photo(), rest=2)
    for wrong in (image(ramp(4, 4)), of_players([[1.0, 2.0]])):
        with pytest.raises(InputError, match="must be of players of an image, each of several"):
            superpixels(wrong)
    ax = Figure().add_subplot()
    assert superpixels(photo(), ax) is ax


@pytest.mark.parametrize("values", [(0.0,) * 4, (torch.nan,) * 4, (torch.inf, 1.0, -1.0, 0.0)])
def test_anything_draws(values):
    FigureCanvasAgg(draw(photo(values)).figure).draw()
    FigureCanvasAgg(superpixels(photo(values), sign="all").figure).draw()


def test_a_part_of_a_picture_that_is_nobodys():
    labels = np.where(REGIONS == 3, -1, REGIONS)
    found = of_players([[1.0, -3.0, 2.0]], labels=labels[None, None], inputs=torch.rand(1, 1, 4, 4))
    assert Map.of(found).values[3, 3] == 0.0
    assert "of 3 regions" in where(Map.of(found))
    assert "of 3 players" in superpixels(found).texts[0].get_text()


def test_each_region_counts_once_whatever_its_size():
    said = where(Map.of(photo((1.0, 0.0, 0.0, 9.0))))
    assert said == "half of the positive part in 1 of 4 regions, around the lower right"
    assert "25\N{NO-BREAK SPACE}% of all is negative" in where(Map.of(photo((3.0, -1.0, 0.0, 0.0))))


def test_windows_of_a_signal_lie_on_it():
    signal = torch.rand(1, 2, 6)
    labels = torch.tensor([[[0, 0, 0, 1, 1, 1]]])
    shown = Map.of(of_players([[1.0, -2.0]], labels=labels, inputs=signal))
    assert shown.kind == "signal"
    assert shown.values.tolist() == [[1, 1, 1, -2, -2, -2]]
    FigureCanvasAgg(draw(of_players([[1.0, -2.0]], labels=labels, inputs=signal)).figure).draw()
