"""Images inside a page: PNG as data URIs, each map in colors for light and for dark pages."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from pellucid.plot.color import Bytes, Floats, indices, overlay, table
from pellucid.plot.draw import canvas, draw_map
from pellucid.plot.map import Map

# Small maps are enlarged to about this many pixels a side where smoothness is wanted.
SMOOTH_SIDE = 224
# Dots per inch of drawings that are not plain images.
DPI = 130


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One image for light pages and one for dark pages, as data URIs, with what it shows."""

    light: str
    dark: str
    alt: str
    crisp: bool = False


def picture_uri(picture: Bytes) -> str:
    """A picture of shape (height, width, 3) as a data URI."""
    return _uri(Image.fromarray(picture))


def show_map(shown: Map, *, alt: str, opacity: float | None) -> Shown:
    """Render a map: on its picture with an opacity, or alone."""
    if shown.kind == "image":
        uris = [_uri(_render(shown, opacity, dark)) for dark in (False, True)]
    else:
        uris = [_uri(_drawn(shown, dark)) for dark in (False, True)]
    return Shown(
        light=uris[0], dark=uris[1], alt=alt, crisp=shown.kind == "image" and not shown.smooth
    )


def strip(dark: bool) -> str:
    """The colors of a scale from negative to positive, as a CSS gradient."""
    rows = table(dark)[:-1][:: (len(table(dark)) - 2) // 14]
    stops = ", ".join("#{:02x}{:02x}{:02x}".format(*rgb) for rgb in rows)
    return f"linear-gradient(to right, {stops})"


def _render(shown: Map, opacity: float | None, dark: bool) -> Image.Image:
    """An image map, pixel by pixel: no figure, so that no pixel is interpolated that should not."""
    values = shown.values
    if shown.smooth:
        side = (SMOOTH_SIDE, SMOOTH_SIDE)
        values = _enlarge(values, side if shown.picture is None else shown.picture.shape[:2])
    if opacity is not None and shown.picture is not None:
        below = _fit(shown.picture, values.shape)
        return Image.fromarray(overlay(values, shown.scale, below, opacity=opacity, dark=dark))
    image = Image.fromarray(indices(values, shown.scale)).convert("P")
    image.putpalette(table(dark).tobytes())
    return image


def _drawn(shown: Map, dark: bool) -> Image.Image:
    """A signal or a table, with its axes."""
    figure = canvas(shown, 1, 1, dark)
    draw_map(shown, figure.add_subplot(), dark=dark)
    return Image.open(io.BytesIO(png(figure)))


def png(figure: Figure) -> bytes:
    """A figure as the content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _enlarge(values: Floats, size: tuple[int, ...]) -> Floats:
    """Interpolate a small map bilinearly; values that are not finite stay where they are."""
    height, width = size
    if values.shape[0] >= height and values.shape[1] >= width:
        return values
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def _fit(picture: Bytes, shape: tuple[int, ...]) -> Bytes:
    height, width = shape
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
