"""A drawing shows every kind of map, says its scale, and touches nothing but its axes."""

import sys

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle

import pellucid as pl
from pellucid.errors import InputError, UnknownNameError
from pellucid.plot import Map, Scale, draw, grid
from pellucid.plot.color import colorize, ink_on, luminance, table
from pellucid.plot.map import as_picture, stretch
from tests.plot.made import image, made, ramp


def words(figure):
    """All text on a figure, of its axes and of the strips below them."""
    FigureCanvasAgg(figure).draw()
    return " ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


MAPS = {
    "rgb": ramp(1, 3, 5, 4),
    "gray": ramp(1, 1, 5, 4),
    "four channels": ramp(1, 4, 5, 4),
    "signal": ramp(1, 2, 9),
    "table": ramp(1, 16),
    "wide table": ramp(1, 40),
}
KINDS = ["as is", "zeros", "positive", "negative", "nan", "inf"]


@pytest.mark.parametrize(
    ("name", "what", "dark"),
    [(n, w, bool((i + j) % 2)) for i, n in enumerate(MAPS) for j, w in enumerate(KINDS)],
)
def test_every_map_draws(name, what, dark):
    """Every map of every kind, half of each light and half of each dark."""
    values = MAPS[name].clone()
    values = {"zeros": values * 0, "positive": values.abs(), "negative": -values.abs()}.get(
        what, values
    )
    if what in ("nan", "inf"):
        values.flatten()[::7] = float(what)
    shown = words(draw(made(values, inputs=torch.ones_like(values)), dark=dark).figure)
    assert "Saliency" in shown
    assert ("all values are zero" in shown) == (what == "zeros")
    assert "no value is finite" not in shown
    assert ("not finite" in shown) == (what in ("nan", "inf"))


def test_the_scale_is_stated():
    shown = words(draw(image(ramp(10, 10) * 0.5), percentile=100).figure)
    assert "maximum of |values|" in shown
    assert "+0.5" in shown
    assert "\N{MINUS SIGN}0.5" in shown
    assert "99.5th percentile of |values|" in words(draw(image(ramp(10, 10))).figure)


def test_the_pooling_is_stated_and_done():
    explanation = made(torch.tensor([[[[1.0]], [[-3.0]]]]))
    assert Map.of(explanation).values.item() == -2
    assert Map.of(explanation, pool="abs_sum").values.item() == 4
    assert "channels: sum" in words(draw(explanation).figure)
    assert "channels: abs_sum" in words(draw(explanation, pool="abs_sum").figure)
    with pytest.raises(UnknownNameError, match=r"`pool`.*got 'summ'\. Did you mean 'sum'\?"):
        draw(explanation, pool="summ")


def test_given_axes_are_used_and_others_left_alone():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    before = list(right.get_children()), right.get_title(), figure.get_facecolor()
    assert draw(image(ramp(4, 4)), ax=left) is left
    assert figure.axes == [left, right]
    assert (list(right.get_children()), right.get_title(), figure.get_facecolor()) == before


def test_the_global_state_of_pyplot_is_never_touched():
    """pyplot may be loaded by somebody else; it must know of no figure of ours."""
    draw(image(ramp(4, 4)))
    grid(image(ramp(4, 4)))
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_explanation_plot_is_draw():
    figure = Figure()
    ax = figure.subplots()
    assert image(ramp(4, 4)).plot(ax, title="mine") is ax
    assert ax.get_title() == "mine"


def test_pixels_are_crisp_and_cams_are_smooth():
    crisp, smooth = image(ramp(4, 4)), image(ramp(4, 4), method=pl.GradCAM())
    assert draw(crisp).get_images()[-1].get_interpolation() == "nearest"
    assert draw(smooth).get_images()[-1].get_interpolation() == "bilinear"


def test_a_row_of_the_batch_is_drawn():
    explanation = made(torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1))
    assert Map.of(explanation, row=1).values.item() == 2
    with pytest.raises(InputError, match="A sample must be from 0 to 1; got 2"):
        draw(explanation, row=2)


def test_one_of_several_inputs_is_drawn():
    parts = {"a": ramp(1, 3), "b": 2 * ramp(1, 5)}
    explanation = made(ramp(1, 3))
    explanation = type(explanation)(
        **{**vars(explanation), "values": parts, "inputs": {k: v * 0 for k, v in parts.items()}}
    )
    assert len(Map.of(explanation).values) == 3
    assert len(Map.of(explanation, part="b").values) == 5
    assert len(Map.of(explanation, part=1).values) == 5
    with pytest.raises(UnknownNameError, match=r"`part`.*got 'c'\. Known: a, b\."):
        draw(explanation, part="c")


def test_a_table_names_its_strongest_features():
    values = torch.zeros(1, 30)
    values[0, 17] = -5
    ax = draw(made(values), names=[f"column {i}" for i in range(30)])
    assert ax.get_yticklabels()[0].get_text() == "column 17 = 0.586207", "its name and its value"
    assert "the 20 largest of 30 features" in words(ax.figure)
    with pytest.raises(
        InputError, match=r"`names` \(in a report: `features`\) must name all 30 features; got 2"
    ):
        draw(made(values), names=["a", "b"])


def test_of_a_volume_the_middle_is_drawn():
    values = ramp(1, 2, 5, 3, 4)
    shown = Map.of(made(values))
    assert shown.kind == "image"
    assert np.allclose(shown.values, values[0, :, 2].sum(0))
    assert shown.picture.shape == (3, 4, 3)
    assert "the middle: slice 3 of 5" in words(draw(made(values)).figure)
    assert Map.of(made(torch.tensor([2.0]))).values.tolist() == [2.0]


def test_channels_may_come_last():
    values, photo = ramp(1, 6, 7, 3), torch.rand(1, 6, 7, 3)
    shown = Map.of(made(values, inputs=photo))
    assert np.allclose(shown.values, values[0].sum(-1), atol=1e-6)
    first = Map.of(made(values.movedim(-1, 1), inputs=photo.movedim(-1, 1)))
    assert np.allclose(shown.values, first.values)
    assert (shown.picture == first.picture).all()


def test_an_array_of_images_is_drawn_without_names():
    def model(rows):
        return rows.mean((1, 2, 3))[:, None]

    found = pl.explain(model, np.ones((2, 8, 9, 3), dtype=np.float32), "occlusion", window=4)
    assert found.values.shape == (2, 8, 9, 1)
    assert "Occlusion" in words(found.plot().figure)
    assert "<img" in found._repr_html_()


def test_three_axes_at_a_layer_have_no_names():
    found = made(ramp(1, 4, 6), at="blocks")
    ax = draw(found)
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("axis 1", "axis 2")
    with pytest.raises(InputError, match=r"which of three axes .*explanation\.pool\(how, axis=1\)"):
        draw(found, pool="sum")
    assert draw(made(ramp(1, 4, 6))).get_ylabel() == "channel"


@pytest.mark.parametrize("given", ["abc", [3], 3, [[image(ramp(2, 2)), None]]])
def test_a_grid_of_what_is_no_explanation(given):
    with pytest.raises(InputError, match="`explanations` must"):
        grid(given)


def test_axes_must_be_axes():
    with pytest.raises(InputError, match="`ax` must be axes of matplotlib; got 3"):
        draw(image(ramp(2, 2)), ax=3)


def test_maps_of_one_method_are_told_apart():
    line = [image(ramp(2, 2), method=pl.Saliency(reduce=how)) for how in ("signed", "squared")]
    titles = [ax.get_title() for ax in grid(line).axes]
    assert titles == ["input", "Saliency, reduce='signed'", "Saliency, reduce='squared'"]


@pytest.mark.parametrize("scale", ["mine", 0.0, -1.0, float("inf"), True])
def test_a_scale_that_is_none(scale):
    with pytest.raises(InputError, match='`scale` must be "own" or a positive number, .*; got'):
        draw(image(ramp(2, 2)), scale=scale)


def test_a_scale_by_hand_is_used():
    drawn = draw(image(ramp(2, 2)), scale=4.0)
    assert drawn.get_images()[-1].norm.vmax == 4.0
    assert "scale as given" in words(drawn.figure)


def test_a_grid_can_share_one_scale():
    maps = [image(ramp(3, 3)), image(7 * ramp(3, 3))]
    limits = [
        [ax.get_images()[-1].norm.vmax for ax in grid(maps, scale=s, percentile=100).axes[1:]]
        for s in ("own", "shared")
    ]
    assert limits == [[1, 7], [7, 7]]
    assert "shared" in words(grid(maps, scale="shared"))


def test_a_grid_has_a_line_for_each_sample():
    line = [image(ramp(3, 3)), image(ramp(3, 3), method=pl.GradCAM())]
    figure = grid([line, line], titles=["first", "second"])
    assert [ax.get_title() for ax in figure.axes] == [
        *("first", "Saliency", "GradCAM", "second", "Saliency", "GradCAM")
    ]
    wide = grid(line * 4, columns=7)
    assert len(wide.axes) == 9
    assert {ax.get_gridspec().ncols for ax in wide.axes} == {5}, "two lines of about one length"
    with pytest.raises(InputError, match="`columns` must be at least 1; got 0"):
        grid(line, columns=0)
    with pytest.raises(InputError, match="`titles` must have one entry for each of the 2 samples"):
        grid([line, line], titles=["one"])
    with pytest.raises(InputError, match="`explanations` must hold at least one"):
        grid([])


def test_cams_lie_on_the_picture_and_pixels_do_not():
    line = [image(ramp(3, 3)), image(ramp(3, 3), method=pl.GradCAM())]
    _, pixel, cam = grid(line).axes
    assert (len(pixel.get_images()), len(cam.get_images())) == (1, 2)


def test_the_picture_is_shown_where_a_map_says_nothing():
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    flat = image(torch.zeros(4, 4))
    a, b = (pixels(draw(flat, picture=p, overlay=0.5).figure) for p in (black, white))
    assert (a != b).any()
    alone = [pixels(draw(flat, picture=p).figure) for p in (black, white)]
    assert (alone[0] == alone[1]).all()


def test_pictures_come_in_every_usual_form():
    from PIL import Image

    whole = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert (as_picture(whole) == whole).all()
    assert (as_picture(Image.fromarray(whole)) == whole).all()
    assert (as_picture(whole / 255) == whole).all()
    assert as_picture(np.zeros((2, 2))).shape == (2, 2, 3)
    assert as_picture(np.dstack([whole, whole[..., :1]])).shape == (2, 2, 3)
    with pytest.raises(InputError, match=r"`picture` must be an image .*got uint8\[3, 2, 9\]"):
        as_picture(np.zeros((3, 2, 9), np.uint8))


def test_the_input_is_stretched_where_no_picture_is_given():
    shown = stretch(np.array([[[-2.0, 0.0]], [[-2.0, 2.0]], [[2.0, np.nan]]]))
    assert shown.shape == (1, 2, 3)
    assert shown[0, 0].tolist() == [0, 0, 255]
    assert stretch(np.full((1, 2, 2), 3.0)).tolist() == np.zeros((2, 2, 3)).tolist()
    assert stretch(np.ones((7, 2, 2))).shape == (2, 2, 3)


def text_of(*values):
    return made(torch.tensor([values]), inputs=torch.arange(len(values))[None])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_token_lies_on_its_color_in_ink_that_can_be_read(dark):
    found = text_of(1.0, -1.0, 0.0, torch.nan)
    ax = draw(found, tokens=["good", "##ness", "$x$", "[SEP]"], percentile=100, dark=dark)
    grounds = [p for p in ax.patches if isinstance(p, Rectangle)]
    inks = [p for p in ax.patches if isinstance(p, PathPatch)]
    wanted = colorize(Map.of(found, percentile=100).values, Scale(limit=1.0), dark=dark) / 255
    assert [p.get_facecolor()[:3] for p in grounds] == [tuple(color) for color in wanted]
    assert [p.get_width() for p in grounds] == [4, 4, 3, 5]
    assert grounds[1].get_x() == grounds[0].get_x() + 4, "pieces of a word are joined"
    for ground, letters in zip(grounds, inks, strict=True):
        lights = [luminance(np.array(p.get_facecolor()[:3]) * 255) for p in (ground, letters)]
        assert (max(lights) + 0.05) / (min(lights) + 0.05) >= 4.5
        assert letters.get_path().get_extents().width <= ground.get_width()
    assert "1 not finite" in words(ax.figure)


def test_every_color_has_an_ink_that_can_be_read():
    for dark in (False, True):
        for color in table(dark):
            ink = 1.0 if ink_on(color) == "#ffffff" else 0.0
            lights = [luminance(color), ink]
            assert (max(lights) + 0.05) / (min(lights) + 0.05) >= 4.5


def test_a_long_text_grows_downwards():
    short, long = (draw(text_of(*[0.5] * n)).figure.get_size_inches() for n in (5, 200))
    assert long[0] == short[0]
    assert long[1] > 3 * short[1]


def test_a_grid_of_texts():
    figure = grid([[text_of(1.0, 2.0)], [text_of(3.0)]], tokens=[["a", "b"], ["c"]])
    assert len(figure.axes) == 2
    with pytest.raises(InputError, match="`tokens` must have one entry for each of the 2 samples"):
        grid([[text_of(1.0)], [text_of(2.0)]], tokens=[["a"]])


@pytest.mark.parametrize(
    ("shape", "integer", "options", "kind"),
    [
        ((1, 3, 4, 4), False, {}, "image"),
        ((1, 2, 9), False, {}, "signal"),
        ((1, 9), False, {"rate": 2.0}, "signal"),
        ((1, 9), False, {}, "table"),
        ((1, 9), True, {}, "text"),
        ((1, 9), True, {"names": list("abcdefghi")}, "table"),
        ((1, 9), False, {"tokens": list("abcdefghi")}, "text"),
    ],
)
def test_the_kind_of_a_map_follows_from_its_input(shape, integer, options, kind):
    inputs = torch.ones(shape, dtype=torch.long if integer else torch.float32)
    assert Map.of(made(ramp(*shape), inputs=inputs), **options).kind == kind


def test_an_attention_mask_is_not_drawn():
    ids = torch.tensor([[5, 6]])
    found = text_of(1.0, 2.0)
    parts = {"attention_mask": torch.zeros(1, 2), "input_ids": found.values}
    fields = {"values": parts, "inputs": {"attention_mask": ids * 0 + 1, "input_ids": ids}}
    found = type(found)(**{**vars(found), **fields})
    assert Map.of(found).labels == ("5", "6")
    assert Map.of(found, part="attention_mask").labels == ("1", "1")


def test_a_signal_names_its_channels_and_seconds():
    signal = made(ramp(1, 2, 100), inputs=torch.rand(1, 2, 100))
    ax = draw(signal, names=["left", "right"], rate=25.0)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["left", "right"]
    words(ax.figure)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2", "3"]
    assert ax.get_xlabel() == "seconds"
    with pytest.raises(InputError, match=r"`names` .* must name all 2 channels; got 1"):
        draw(signal, names=["one"])
    with pytest.raises(InputError, match="`rate` must be a positive number .* got 0"):
        draw(signal, rate=0)


def test_a_signal_with_one_map_for_all_channels_keeps_their_lines():
    found = made(ramp(1, 1, 9), inputs=torch.rand(1, 3, 9))
    ax = draw(found, names=["a", "b", "c"])
    assert len(ax.get_lines()) == 6, "three lines, each with its halo"
    assert [label.get_text() for label in ax.get_yticklabels()] == [""]


def test_the_title_of_a_sample_without_a_picture_is_on_its_first_map():
    line = [made(ramp(1, 3), inputs=torch.ones(1, 3)), made(ramp(1, 3), inputs=torch.ones(1, 3))]
    figure = grid([line, line], titles=["row 3", "row 5"])
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert [title.partition("\n")[0] for title in titles] == [
        "row 3", "Saliency 2", "row 5", "Saliency 2"
    ]  # fmt: skip
