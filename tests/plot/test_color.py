"""Zero is neutral, +v and -v mirror each other, and one scale means one color."""

import numpy as np
import pytest

from pellucid.errors import InputError
from pellucid.plot.color import (
    COLORS,
    MAPS,
    NOT_FINITE,
    Scale,
    colorize,
    gray,
    indices,
    number,
    opacities,
    ordinal,
    overlay,
    table,
)

BOTH = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
DEUTERANOPE = np.array(  # Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)


def linear(rgb):
    unit = np.asarray(rgb) / 255
    return np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)


def seen(rgb, matrix=None):
    """CIE L*a*b* coordinates of colors of shape (..., 3), as an eye sees them."""
    light = linear(rgb) if matrix is None else (linear(rgb) @ matrix.T).clip(0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    ratio = (light @ to_xyz.T) / np.array([0.9505, 1.0, 1.089])
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@BOTH
@pytest.mark.parametrize("limit", [1.0, 0.3, 7e-9, 3e12])
def test_plus_and_minus_are_mirror_images(dark, limit):
    values = np.linspace(0, limit, 1001)
    scale = Scale(limit=limit)
    up, down = indices(values, scale).astype(int), indices(-values, scale).astype(int)
    assert (up - COLORS // 2 == COLORS // 2 - down).all()
    assert up[0] == COLORS // 2, "zero is the middle"
    assert up[-1] == COLORS - 1, "the limit has the strongest color"
    assert (colorize(values, scale, dark=dark) == table(dark)[up]).all()


@BOTH
def test_both_signs_are_equally_strong(dark):
    """No sign looks weaker: the two ends are about as far from the middle."""
    colors = seen(table(dark)[:COLORS])
    middle = colors[COLORS // 2]
    low, high = np.linalg.norm(colors[[0, -1]] - middle, axis=1)
    assert 0.6 < low / high < 1.6


@BOTH
@pytest.mark.parametrize("eye", [None, DEUTERANOPE], ids=["all cones", "deuteranope"])
def test_the_two_signs_differ_for_every_eye(dark, eye):
    """A difference of 2.3 is just noticeable; red-white-green gives a deuteranope 0.2."""
    low, high = seen(table(dark)[[0, COLORS - 1]], eye)
    assert np.linalg.norm(low - high) > 40


@BOTH
def test_warm_colors_are_positive_on_every_page(dark):
    (red_low, _, blue_low), (red_high, _, blue_high) = table(dark)[[0, COLORS - 1]].astype(int)
    assert blue_low > red_low
    assert red_high > blue_high


@BOTH
def test_values_that_are_not_finite_have_a_color_of_their_own(dark):
    values = np.array([np.nan, np.inf, -np.inf, 0.0])
    colors = colorize(values, Scale(limit=1.0), dark=dark)
    assert (colors[:3] == NOT_FINITE[dark][1]).all()
    assert (colors[3] != NOT_FINITE[dark][1]).any()


@BOTH
@pytest.mark.parametrize("eye", [None, DEUTERANOPE], ids=["all cones", "deuteranope"])
def test_no_value_looks_like_one_that_is_not_finite(dark, eye):
    distances = np.linalg.norm(
        seen(table(dark)[:COLORS], eye) - seen(NOT_FINITE[dark][1], eye), axis=1
    )
    assert distances.min() > 12


def test_the_maps_are_those_the_design_names():
    assert MAPS == {False: "coolwarm", True: "managua_r"}
    assert (table() != table(dark=True)).any()
    assert len(table()) == 256


def test_the_table_cannot_be_changed_by_its_user():
    table()[:] = 0
    assert table().any()


def test_one_scale_one_color():
    """The same value has the same color in two maps on one scale, and another on their own."""
    weak, strong = np.array([0.1, 0.2]), np.array([0.1, 5.0])
    shared = Scale.of([weak, strong], percentile=100, shared=True)
    assert shared.limit == 5.0
    assert (colorize(weak, shared)[0] == colorize(strong, shared)[0]).all()
    own = Scale.of(weak, percentile=100), Scale.of(strong, percentile=100)
    assert (colorize(weak, own[0])[0] != colorize(strong, own[1])[0]).any()


def test_a_percentile_is_of_absolute_finite_values():
    values = np.array([-100.0, *np.zeros(5), *np.ones(94), np.nan, np.inf])
    assert Scale.of(values, percentile=100).limit == 100
    assert Scale.of(values, percentile=50).limit == 1
    assert indices(values[:1], Scale.of(values, percentile=50))[0] == 0, "beyond it saturates"


def test_the_default_is_the_99_5th_percentile():
    values = np.arange(1001.0)
    assert Scale.of(values).limit == pytest.approx(995.0)
    assert str(Scale.of(values)) == "±995, 99.5th percentile of |values|"


def test_a_percentile_of_zero_falls_back_to_the_maximum():
    sparse = np.zeros(10_000)
    sparse[0] = -3.0
    scale = Scale.of(sparse)
    assert scale.limit == 3.0
    assert str(scale) == "±3, maximum of |values|"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros(4), "all values are zero"),
        (np.array([0, np.nan]), "all values are zero"),
        (np.full(4, np.nan), "no value is finite"),
        (np.zeros(0), "no value is finite"),
    ],
)
def test_a_map_of_nothing_has_a_scale(values, words):
    scale = Scale.of(values)
    assert scale.span == 1
    assert words in str(scale)
    assert colorize(values, scale).shape == (len(values), 3)


@pytest.mark.parametrize("percentile", [0, -1, 100.1, float("nan")])
def test_a_percentile_out_of_range(percentile):
    with pytest.raises(InputError, match=r"`percentile` must be above 0 and at most 100; got"):
        Scale.of(np.ones(2), percentile=percentile)


def test_the_picture_shows_where_nothing_is_said():
    picture = np.full((1, 3, 3), 200, dtype=np.uint8)
    values = np.array([[0.0, 1.0, np.nan]])
    shown = overlay(values, Scale(limit=1.0), picture, opacity=1.0)
    assert (shown[0, 0] == 200).all()
    assert (shown[0, 1] == table()[COLORS - 1]).all()
    assert (shown[0, 2] == NOT_FINITE[False][1]).all()


def test_an_overlay_grows_with_the_value_and_not_with_its_sign():
    cover = opacities(np.array([-1.0, -0.25, 0.0, 0.25, 4.0]), Scale(limit=1.0), 0.8)
    assert cover == pytest.approx([0.8, 0.4, 0.0, 0.4, 0.8])
    with pytest.raises(InputError, match="`overlay` must be an opacity from 0 to 1, or None; got"):
        opacities(np.ones(1), Scale(limit=1.0), 1.2)


def test_the_picture_beneath_has_no_colors():
    channels = gray(np.array([[[255, 0, 0], [0, 0, 255]]], dtype=np.uint8))
    assert (channels == channels[..., :1]).all()
    assert channels[0, 0, 0] > channels[0, 1, 0], "red is lighter than blue"


@pytest.mark.parametrize(
    ("value", "text"), [(91, "91st"), (92, "92nd"), (93, "93rd"), (11, "11th"), (99.5, "99.5th")]
)
def test_ordinals(value, text):
    assert ordinal(value) == text


def test_numbers_have_three_digits():
    assert [number(v) for v in (0.123456, 12.0, -1e-9)] == [
        "0.123",
        "12",
        "\N{MINUS SIGN}1e\N{MINUS SIGN}09",
    ]
