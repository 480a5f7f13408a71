"""Boxes lie on the map at the pixels they hold."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import pellucid as pl


def explained():
    x = torch.zeros(2, 1, 6, 8)
    x[0, :, 2:5, 1:3] = 1
    x[1] = -1
    return pl.explain(lambda x: x.sum((1, 2, 3))[:, None], x, "gradient_x_input")


def drawn(row=0, **options):
    found = explained()
    ax = found.plot(Figure(figsize=(2, 2)).add_subplot(), row=row)
    return pl.plot.boxes(found.boxes(), ax=ax, row=row, **options)


def spans(ax):
    return [tuple(each.get_bbox().extents) for each in ax.patches]


def test_a_box_holds_its_pixels():
    assert set(spans(drawn())) == {(0.5, 1.5, 2.5, 4.5)}


def test_true_boxes_are_dashed():
    given = [[[0, 0, 3, 3], [4, 4, 6, 6]], [[0, 0, 1, 1], [float("nan")] * 4]]
    ax = drawn(given=given)
    dashed = [each for each in ax.patches if each.get_linestyle() == "--"]
    assert [tuple(each.get_bbox().extents) for each in dashed] == [
        (-0.5, -0.5, 2.5, 2.5),
        (3.5, 3.5, 5.5, 5.5),
    ]
    assert len(drawn(row=1, given=given).patches) == 2


def test_a_map_without_a_box_is_left_as_it_is():
    assert not drawn(row=1).patches


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_a_box_can_be_seen():
    found = explained()
    pictures = []
    for with_box in (False, True):
        figure = Figure(figsize=(2, 2))
        ax = found.plot(figure.add_subplot())
        if with_box:
            pl.plot.boxes(found.boxes(), ax=ax)
        pictures.append(pixels(figure))
    assert (pictures[0] != pictures[1]).any()


def test_boxes_that_cannot_be_drawn():
    with pytest.raises(pl.errors.InputError, match="`row` must be from 0 to 1; got 2."):
        pl.plot.boxes(explained().boxes(), ax=Figure().add_subplot(), row=2)
    with pytest.raises(pl.errors.InputError, match=r"`given` must be boxes of shape \[2, 4\]"):
        drawn(given=[[0, 0, 1]] * 2)
    line = pl.explain(lambda x: x.sum(1, keepdim=True), torch.ones(2, 5), "gradient_x_input")
    with pytest.raises(pl.errors.InputError, match="Boxes must be those of images to be drawn"):
        pl.plot.boxes(line.boxes(), ax=Figure().add_subplot())
