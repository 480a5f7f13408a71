"""Maps as pixels of a page: PNG in colors for light and for dark pages, and the values themselves.

The pictures show without a script. The values are for the script, which draws them in the same
colors on another scale.
"""

import base64
import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from pellucid import __version__
from pellucid.plot.color import Bytes, Floats, indices, overlay, table
from pellucid.plot.map import Map

# Small maps are enlarged to about this many pixels a side where smoothness is wanted.
SMOOTH_SIDE = 224
# The longer side of the small pictures in an index, twice as fine as they are shown.
THUMB_SIDE = 144
# What the file of a drawing says of who made it.
MAKER = "pellucid"
# Dots per inch of drawings that are not plain images.
DPI = 130

NEAREST, BILINEAR = Image.Resampling.NEAREST, Image.Resampling.BILINEAR

# Values are sent as whole numbers of steps: so many up to the strongest color, which is four for
# each color of the table, and room for 64 times as much.
STEPS = 512
MOST_STEPS = 32767
NO_NUMBER = -32768


@dataclass(frozen=True, kw_only=True)
class Raster:
    """One map for light pages and one for dark pages, as data URIs, and its values.

    `values` are `shape` (height, width) numbers of steps, each `step` large, packed by `pack`; a
    smooth map is enlarged to `size`. `opacity` is that of the map on its picture, if it lies on it.
    """

    light: str
    dark: str
    alt: str
    crisp: bool
    opacity: float | None
    values: str
    step: float
    shape: tuple[int, ...]
    size: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure for light pages and one for dark pages, as data URIs, and its width on the page."""

    light: str
    dark: str
    alt: str
    width: int

    @classmethod
    def of(cls, draw: Callable[[bool], Figure], *, alt: str) -> "Drawing":
        """Draw a figure in both colors, twice as fine as it is shown."""
        light, dark = draw(False), draw(True)
        width = round(float(light.get_figwidth()) * DPI / 2)
        return cls(light=_data(png(light)), dark=_data(png(dark)), alt=alt, width=width)


def rasterize(shown: Map, *, alt: str, opacity: float | None = None) -> Raster:
    """Render an image map, on its picture with an opacity or alone, or the ground of a signal."""
    opacity = opacity if shown.picture is not None else None
    size = _drawn_size(shown)
    light, dark = (_uri(_render(shown, size, opacity, dark)) for dark in (False, True))
    values, step = pack(shown.values, shown.scale.span)
    return Raster(
        light=light,
        dark=dark,
        alt=alt,
        crisp=shown.kind == "signal" or not shown.smooth,
        opacity=opacity,
        values=values,
        step=step,
        shape=shown.values.shape,
        size=size,
    )


def pack(values: Floats, span: float) -> tuple[str, float]:
    """Values as text: 16-bit steps, all high bytes before all low ones, deflated, in base64.

    Also the size of a step. The span of the map's own scale is resolved to four times the number
    of its colors; the largest value is kept, for scales that are shared with stronger maps.
    """
    finite = np.isfinite(values)
    sizes = np.where(finite, values, 0).astype(np.float64)
    step = max(span / STEPS, float(np.abs(sizes).max(initial=0)) / MOST_STEPS)
    steps = np.where(finite, np.round(sizes / step), NO_NUMBER).astype("<i2")
    low, high = steps.reshape(-1, 1).view(np.uint8).T
    packed = zlib.compress(high.tobytes() + low.tobytes(), 9)
    return base64.b64encode(packed).decode("ascii"), step


def picture_uri(picture: Bytes) -> str:
    """A picture of shape (height, width, 3) as a data URI."""
    return _uri(Image.fromarray(picture))


def thumb_uri(picture: Bytes) -> str:
    """A small picture of it."""
    image = Image.fromarray(picture)
    image.thumbnail((THUMB_SIDE, THUMB_SIDE))
    return _uri(image)


def strip(dark: bool) -> str:
    """The colors of a scale from negative to positive, as a CSS gradient."""
    rows = table(dark)[:-1][:: (len(table(dark)) - 2) // 14]
    stops = ", ".join("#{:02x}{:02x}{:02x}".format(*rgb) for rgb in rows)
    return f"linear-gradient(to right, {stops})"


def colors(dark: bool) -> str:
    """The color table for the script: six hexadecimal digits a color."""
    return table(dark).tobytes().hex()


def png(figure: Figure) -> bytes:
    """A figure as the content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": f"{MAKER} {__version__}"})
    return buffer.getvalue()


def is_ours(path: Path) -> bool:
    """Whether a file is a picture that `png` made."""
    try:
        with Image.open(path) as opened:
            return str(opened.info.get("Software", "")).startswith(f"{MAKER} ")
    except Exception:  # PIL's plugins fail in many ways on files that are no pictures
        return False


def _drawn_size(shown: Map) -> tuple[int, ...]:
    """The pixels of a map as it is drawn: those of its picture, if it is smooth and smaller."""
    height, width = shown.values.shape
    if not shown.smooth or shown.kind == "signal":
        return height, width
    side = (SMOOTH_SIDE, SMOOTH_SIDE)
    wanted = side if shown.picture is None else shown.picture.shape[:2]
    return wanted if height < wanted[0] or width < wanted[1] else (height, width)


def _render(shown: Map, size: tuple[int, ...], opacity: float | None, dark: bool) -> Image.Image:
    """A map, pixel by pixel: no figure, so that no pixel is interpolated that should not."""
    values = _enlarge(shown.values, size)
    if opacity is not None and shown.picture is not None:
        height, width = np.maximum(values.shape, shown.picture.shape[:2])
        fine = Image.fromarray(values.astype(np.float32)).resize((width, height), NEAREST)
        values, below = np.asarray(fine), _fit(shown.picture, (height, width))
        return Image.fromarray(overlay(values, shown.scale, below, opacity=opacity, dark=dark))
    image = Image.fromarray(indices(values, shown.scale)).convert("P")
    image.putpalette(table(dark).tobytes())
    return image


def _enlarge(values: Floats, size: tuple[int, ...]) -> Floats:
    """Interpolate a small map bilinearly; values that are not finite stay where they are."""
    if values.shape == size:
        return values
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((size[1], size[0]), BILINEAR))


def _fit(picture: Bytes, shape: tuple[int, ...]) -> Bytes:
    height, width = shape
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), BILINEAR))


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return _data(buffer.getvalue())


def _data(content: bytes) -> str:
    """The content of a PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
