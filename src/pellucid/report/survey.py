"""The page of a survey: what excites the channels of each layer, and what stands for each class.

The page is bounded: it holds so many pictures at most, and each is shrunk before it is embedded.
"""

import io
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import max_pool2d

from pellucid import __version__
from pellucid.errors import InputError
from pellucid.file import check_writable, write_bytes
from pellucid.plot.color import Bytes, Scale, colorize, number, overlay
from pellucid.report.image import Drawing, picture_uri
from pellucid.report.panel import environment
from pellucid.report.wording import significant
from pellucid.survey.views import ClassView, LayerView, Survey, UnitView

# The longest side of a picture alone, and of one among several: twice as fine as they are shown.
ALONE, AMONG = 256, 128
# Signed pictures of more pixels a side are made of the strongest of some: a mean would be gray.
FINE = 64
# Pictures of no more pixels a side are kept as they are; others are packed with a little loss.
SMALL = 16
QUALITY = 82
# Of 2 to 6 kB each, so that a page has some 20 MB at the most.
MOST_PICTURES = 4000
# Those of a class beside its samples: two maps, each in the colors of light and of dark pages.
MAPS = 4

# What the picture of an input is made with: (channel, height, width) to (height, width, 3).
Inverse = Callable[[Tensor], Bytes]


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A picture of the page, for light and for dark pages, with what it shows in words."""

    light: str
    dark: str
    alt: str
    crisp: bool = False


def write_survey(
    path: str | Path,
    found: Survey,
    *,
    inverse: Inverse,
    picture: Callable[[int], Bytes] | None = None,
    names: Sequence[str] = (),
    title: str = "What the model has learned",
    about: str = "",
    credits: str = "",
) -> Path:
    """Write a survey as one HTML file that needs nothing else, and return its path.

    `inverse` makes a picture (height, width, 3) of 8 bits of an input (channel, height, width), as
    `entry.inverse` of the zoo does; `picture` gives that of a sample by its number, and `names`
    has one for each sample. The page holds at most 4,000 pictures of 2 to 6 kB.

    >>> import tempfile, torch
    >>> from pellucid.survey import survey
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(),
    ...                             torch.nn.Linear(144, 2))
    >>> def gray(x): return (255 * x.clamp(0, 1)).byte().permute(1, 2, 0).expand(-1, -1, 3).numpy()
    >>> found = survey(model, torch.rand(6, 1, 8, 8), units=2, steps=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_survey(f"{folder}/page.html", found, inverse=gray).name
    'page.html'
    """
    if not isinstance(found, Survey):
        raise InputError("`found` must be what pellucid.survey.survey returns", got=found)
    target = check_writable(path)
    check_size(_pictures(found))
    html = (
        environment()
        .get_template("survey.html.j2")
        .render(
            title=title,
            about=about,
            credits=credits,
            samples=found.samples,
            looked=found.looked,
            by=found.by,
            table=_table(found),
            depth=_depth(found),
            with_maps=_has_maps(found),
            layers=[_layer(each, inverse, names) for each in found.layers],
            classes=[_class(each, picture, names) for each in found.classes],
            notes=found.notes,
            version=__version__,
        )
    )
    return write_bytes(target, html.encode("utf-8"))


def _depth(found: Survey) -> Drawing | None:
    """How activations change from the input to the output."""
    seen = found.depth
    if seen is None:
        return None
    return Drawing.of(
        lambda dark: _figure(seen.plot_depth(dark=dark)),
        alt="By depth: what units have of edges and of the picture, and how sparse they are.",
    )


def _has_maps(found: Survey) -> bool:
    """Whether some activations have places, where edges and the picture are looked for."""
    return found.depth is not None and any(each.values.ndim == 4 for each in found.depth.found)


def _figure(axes: Any) -> Figure:
    figure: Figure = axes.get_figure(root=True)
    return figure


def _table(found: Survey) -> list[tuple[str, ...]]:
    """All operations in words: where there are samples, also how their answers are spread."""
    if found.table is None:
        return []
    made: list[tuple[str, ...]] = [
        ("Operation", "Kind", "Parameters", "Output", "Mean", "Deviation", "Zeros", "Dead units")
    ]
    for row in found.table.rows:
        spread = (number(row.mean), number(row.deviation), f"{row.zeros:.0%}")
        shape = " x ".join(map(str, row.shape))
        made.append((row.name, row.kind or row.operation, f"{row.parameters:,}", shape, *spread,
                     f"{row.dead} of {row.units}"))  # fmt: skip
    return made if found.samples else [row[:4] for row in made]


def check_size(pictures: int) -> None:
    """Raise if a page would hold more pictures than fit."""
    if pictures > MOST_PICTURES:
        raise InputError(
            f"A page must hold at most {MOST_PICTURES} pictures",
            got=pictures,
            hint="Ask for fewer units, layers, examples or classes.",
        )


def _pictures(found: Survey) -> int:
    units = [unit for layer in found.layers for unit in layer.units]
    shown = sum(2 + len(each.patches) + len(each.reconstructions) for each in units)
    standing = sum(len(each.prototypes) + len(each.criticisms) for each in found.classes)
    return shown + standing + MAPS * len(found.classes)


def _layer(layer: LayerView, inverse: Inverse, names: Sequence[str]) -> dict[str, Any]:
    return {
        "name": layer.layer,
        "facts": layer.facts,
        "channels": layer.channels,
        "units": [_unit(each, layer.layer, inverse, names) for each in layer.units],
    }


def _unit(unit: UnitView, layer: str, inverse: Inverse, names: Sequence[str]) -> dict[str, Any]:
    said = list(_examples(unit, names))
    what = f"channel {unit.number} of {layer}"
    return {
        "number": unit.number,
        "notes": unit.notes,
        "samples": said,
        "strongest": "" if unit.amounts is None else significant(float(unit.amounts[0])),
        "weakest": "" if unit.amounts is None else significant(float(unit.amounts[-1])),
        "dream": None
        if unit.dream is None
        else _shot(inverse(unit.dream), f"The dream of {what}", ALONE),
        "filter": None
        if unit.filter is None
        else _shot(around_gray(unit.filter), f"The filter of {what}", AMONG),
        "patches": [
            _shot(inverse(patch), f"Patch: {words}", AMONG)
            for patch, words in zip(unit.patches, said, strict=False)
        ],
        "reconstructions": [
            _shot(around_gray(each), f"What excites it in: {words}", AMONG)
            for each, words in zip(unit.reconstructions, said, strict=False)
        ],
    }


def _examples(unit: UnitView, names: Sequence[str]) -> Iterator[str]:
    """Each example of a unit in words."""
    if unit.index is None or unit.amounts is None:
        return
    for at, amount in zip(unit.index.tolist(), unit.amounts.tolist(), strict=True):
        yield f"{_named(at, names)}, activation {significant(amount)}"


def _named(sample: int, names: Sequence[str]) -> str:
    return names[sample] if sample < len(names) else f"sample {sample}"


def _class(
    each: ClassView, picture: Callable[[int], Bytes] | None, names: Sequence[str]
) -> dict[str, Any]:
    def shots(samples: Sequence[int], what: str) -> list[Shot]:
        if picture is None:
            return []
        return [_shot(picture(at), f"{what}: {_named(at, names)}", AMONG) for at in samples]

    first = None if picture is None else picture(each.prototypes[0])
    return {
        "name": f"Class {each.number}" if each.name == str(each.number) else each.name,
        "samples": each.samples,
        "maps": each.maps,
        "prototypes": shots(each.prototypes, "Prototype"),
        "criticisms": shots(each.criticisms, "Criticism"),
        "names": [(what, [_named(at, names) for at in own]) for what, own in
                  (("Prototypes", each.prototypes), ("Criticisms", each.criticisms)) if own],
        "heatmap": _heat(each.heatmap, None, f"The mean map of class {each.name}"),
        "example": _heat(
            each.example, first, f"The map of the first prototype of class {each.name}"
        ),
    }  # fmt: skip


def _heat(values: Tensor | None, below: Bytes | None, alt: str) -> Shot | None:
    """A map in the colors of maps, on a picture or alone."""
    if values is None:
        return None
    height, width = values.shape if below is None else below.shape[:2]
    fine = np.asarray(
        Image.fromarray(values.float().numpy()).resize((width, height), Image.Resampling.BILINEAR)
    )
    scale = Scale.of([fine])
    light, dark = (
        colorize(fine, scale, dark=dark)
        if below is None
        else overlay(fine, scale, below, dark=dark)
        for dark in (False, True)
    )
    return Shot(light=_uri(light, ALONE), dark=_uri(dark, ALONE), alt=alt)


def around_gray(values: Tensor) -> Bytes:
    """Signed values (channel, height, width) as a picture: zero is gray, the strongest full.

    Of many values, a hundredth may be stronger than what is drawn as full. Of a large picture, the
    strongest pixel of each square is drawn: the mean of opposite ones would be gray.

    >>> import torch
    >>> around_gray(torch.tensor([[[-1.0, 0.0, 0.5]]]))[0, :, 0].tolist()
    [0, 128, 191]
    """
    pixels = values.detach().cpu().double()
    if pixels.shape[0] != 3:
        pixels = pixels.mean(0, keepdim=True).expand(3, -1, -1)
    pixels = _strongest(pixels, -(-max(pixels.shape[1:]) // FINE))
    sizes = pixels.abs().flatten()
    largest = torch.quantile(sizes, 0.99, interpolation="higher")
    largest = largest if float(largest) else sizes.amax().clamp(min=1e-30)
    shown = (127.5 + 127.5 * (pixels / largest).clamp(-1, 1)).round()
    made: NDArray[np.uint8] = shown.permute(1, 2, 0).numpy().astype(np.uint8)
    return made


def _strongest(pixels: Tensor, side: int) -> Tensor:
    """The strongest pixel of each square of so many a side, of (channel, height, width)."""
    if side == 1:
        return pixels
    size = pixels.abs().sum(0, keepdim=True)
    _, at = max_pool2d(size, side, ceil_mode=True, return_indices=True)
    return pixels.flatten(1)[:, at[0].flatten()].unflatten(1, at.shape[1:])


def _shot(pixels: Bytes, alt: str, side: int) -> Shot:
    uri = _uri(pixels, side)
    return Shot(light=uri, dark=uri, alt=alt, crisp=max(pixels.shape[:2]) <= SMALL)


def _uri(pixels: Bytes, side: int) -> str:
    """A picture as a data URI: a small one as it is, others shrunk and packed."""
    if max(pixels.shape[:2]) <= SMALL:
        return picture_uri(np.ascontiguousarray(pixels))
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=QUALITY)
    return "data:image/webp;base64," + b64encode(buffer.getvalue()).decode("ascii")
