"""What a drawing of one sample needs, computed beforehand: the map, its scale, the picture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import InputError, UnknownNameError
from pellucid.explanation import Explanation, input_name
from pellucid.plot import owned
from pellucid.plot.color import DEFAULT_PERCENTILE, Bytes, Floats, Scale
from pellucid.plot.names import valued
from pellucid.plot.owned import Owned
from pellucid.pooling import POOLINGS, Pooling, channels_last
from pellucid.structure import Keys, leaves
from pellucid.words.pieces import Piece, pieces, visible

Kind: TypeAlias = Literal["image", "signal", "table", "text"]
ScaleLike: TypeAlias = "Scale | float | Literal['own']"
GridScale: TypeAlias = "Scale | float | Literal['own', 'shared']"

KINDS: dict[int, Kind] = {1: "table", 2: "signal", 3: "image"}
# What tokens are joined to, which a drawing says.
JOINED = ("word", "sentence")
# What one element of a map is called.
UNITS: dict[Kind, str] = {
    "image": "pixel", "signal": "position", "table": "feature", "text": "token",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Map:
    """The values of one sample as they are drawn.

    `values` has the axes (height, width) for an image, (channel, position) for a signal,
    (feature,) for a table and (token,) for a text. `picture` is what lies under an image, of shape
    (height, width, 3); `inputs` are the sample's inputs, with their channels first and without the
    batch. `labels` name tokens, features or channels, `words` are what the values of a text were
    summed for, if they were, and `unit` is what one element is called; `rate` is the number of
    positions of a signal in a second. `smooth` says that the map may be interpolated, `pool` how
    its channels were joined, `cut` which slice of a volume it is, and `at` of which layer.
    `errors` are the standard errors of the values of a table or text that was sampled, `regions`
    the player of each pixel, where one has several.
    """

    kind: Kind
    values: Floats
    inputs: NDArray[Any]
    scale: Scale
    smooth: bool = False
    pool: Pooling | None = None
    picture: Bytes | None = None
    errors: Floats | None = None
    regions: NDArray[np.integer[Any]] | None = None
    labels: tuple[str, ...] = ()
    words: tuple[Piece, ...] = ()
    unit: str = ""
    rate: float | None = None
    cut: str = ""
    at: str | None = None

    @classmethod
    def of(
        cls,
        explanation: Explanation,
        *,
        row: int = 0,
        part: int | str | None = None,
        pool: Pooling | None = None,
        scale: ScaleLike = "own",
        percentile: float = DEFAULT_PERCENTILE,
        picture: Any = None,
        tokens: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        rate: float | None = None,
    ) -> "Map":
        """Take one sample of an explanation; the options are those of `draw`."""
        sample = explanation.batch_first()[row]
        part = worth_drawing(explanation) if part is None else part
        path, values, inputs, kind, words, cut = _taken(sample, part, tokens, names, rate)
        array, how = _pooled(values, kind, pool, sample.at)
        own = _own(sample, path, kind, tokens, names) if not words else None
        if own is None:
            labels = _texts(words) or _called(sample, kind, array, inputs, tokens, names)
            own = Owned(array, _errors(sample, path, array), labels, words)
        regions = owned.regions(sample, path, own.values.shape)
        return cls(
            kind=kind,
            values=own.values,
            inputs=_array(inputs),
            scale=make_scale(scale, [own.values], percentile),
            smooth=explanation.method.smooth and regions is None,
            pool=how,
            picture=_picture(kind, picture, inputs),
            errors=own.errors,
            regions=regions,
            labels=own.labels,
            words=own.words,
            unit=_unit(sample, kind, own, regions is not None),
            rate=rate,
            cut=cut,
            at=sample.at,
        )

    def on(self, scale: Scale) -> "Map":
        """The same map on another scale."""
        return replace(self, scale=scale)

    @property
    def covers(self) -> bool:
        """Whether it is usual to lay it on the picture: parts say where, single pixels hide."""
        return self.smooth or self.regions is not None

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The tokens or words of a text as they are shown."""
        return self.words or tuple(pieces(self.labels))

    @property
    def along(self) -> str:
        """What runs along a signal; at a layer it may be another axis than that of positions."""
        if self.at is not None:
            return "axis 2"
        return "position" if self.rate is None else "seconds"

    @property
    def across(self) -> str:
        """What the lanes of a signal are."""
        return "channel" if self.at is None else "axis 1"

    def strongest(self, most: int) -> NDArray[np.intp]:
        """The places of the largest absolute values of a table or text, strongest first."""
        sizes = np.nan_to_num(np.abs(self.values), nan=np.inf)
        return np.argsort(-sizes, kind="stable")[:most]

    def caption(self) -> list[str]:
        """Say what the colors mean: the scale, how channels were joined, what is not finite."""
        bad = int((~np.isfinite(self.values)).sum())
        return [
            self.scale.source(),
            *([f"channels: {self.pool}"] if self.pool is not None else []),
            *([self.cut] if self.cut else []),
            *([f"one value a {self.unit}"] if self.unit in JOINED else []),
            *([f"{bad} not finite"] if bad else []),
        ]


def make_scale(scale: ScaleLike, maps: Sequence[Floats], percentile: float) -> Scale:
    """Take "own" (from the values), or a number as the value of the strongest color."""
    if isinstance(scale, Scale):
        return scale
    if scale == "own":
        return Scale.of(maps, percentile=percentile)
    if isinstance(scale, int | float) and not isinstance(scale, bool) and 0 < scale < float("inf"):
        return Scale(limit=float(scale))
    raise InputError(
        '`scale` must be "own" or a positive number, or, for several maps, "shared"', got=scale
    )


def as_picture(picture: Any) -> Bytes:
    """Take an array or PIL image as 8-bit RGB, of shape (height, width, 3).

    Floating-point values run from 0 to 1. A gray picture may come without its channel axis.
    """
    array = np.asarray(picture)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or array.dtype.kind not in "uifb":
        raise InputError(
            "`picture` must be an image of shape (height, width, 3)",
            got=array,
            hint="A tensor of shape (3, height, width) needs tensor.permute(1, 2, 0).",
        )
    if array.dtype.kind == "f":
        array = np.nan_to_num(array).clip(0, 1) * 255
    array = array[..., :3] if array.shape[-1] >= 3 else np.repeat(array, 3, axis=-1)
    return np.round(array).astype(np.uint8)


def stretch(inputs: Floats) -> Bytes:
    """Show a normalized image of shape (channel, height, width) by stretching it to its range.

    Other than one or three channels are shown by their mean.
    """
    finite = np.nan_to_num(inputs.astype(np.float64))
    shown = finite if finite.shape[0] in (1, 3) else finite.mean(0, keepdims=True)
    low, high = shown.min(), shown.max()
    return as_picture((shown - low).transpose(1, 2, 0) / (high - low if high > low else 1.0))


def worth_drawing(explanation: Explanation) -> int | str:
    """The first input that any value lies on: an attention mask carries none."""
    found = leaves(explanation.batch_first().values)
    parts = [(input_name(path) if path else 0, leaf) for path, leaf in found]
    return next((name for name, leaf in parts if bool((leaf != 0).any())), parts[0][0])


def _drawable(values: Tensor, *, at: str | None) -> tuple[Tensor, str]:
    """One sample with its channels first and at most three axes, and what was cut out of it.

    Of more axes than those of an image the middle slice is shown; a single number is a table.
    """
    if at is None and channels_last(values.shape):
        return values.movedim(-1, 0), ""
    if values.ndim == 0:
        return values[None], ""
    if values.ndim <= max(KINDS):
        return values, ""
    between = values.shape[1:-2]
    places = " and ".join(f"slice {size // 2 + 1} of {size}" for size in between)
    for size in between:
        values = values[:, size // 2]
    return values, f"the middle: {places}"


def _words(sample: Explanation, path: Keys) -> tuple[Piece, ...]:
    """The words that the values at a path were summed for, if they were."""
    grouping = sample.grouping
    return () if grouping is None or path not in grouping.paths else grouping.pieces[0]


def _taken(
    sample: Explanation,
    part: int | str,
    tokens: Sequence[str] | None,
    names: Sequence[str] | None,
    rate: float | None,
) -> tuple[Keys, Tensor, Tensor, Kind, tuple[Piece, ...], str]:
    """One input of one sample: its path, its values, itself, its kind, its words and the cut."""
    path, values, inputs = _part(sample, part)
    words = _words(sample, path)
    values, cut = _drawable(values[: len(words)] if words else values, at=sample.at)
    inputs, _ = _drawable(inputs, at=None)
    kind = "text" if words else _kind(values, inputs, tokens, names, rate)
    if kind == "signal" and values.ndim == 1:
        values, inputs = values[None], inputs[None]
    return path, values, inputs, kind, words, cut


def _unit(sample: Explanation, kind: Kind, own: Owned, has_regions: bool) -> str:
    """What one element is called, or what has been made of elements."""
    if own.words:
        return "word" if sample.grouping is None else sample.grouping.unit
    return "region" if has_regions else UNITS[kind]


def _own(
    sample: Explanation,
    path: Keys,
    kind: Kind,
    tokens: Sequence[str] | None,
    names: Sequence[str] | None,
) -> Owned | None:
    """The players of a table or text, which are shown instead of its elements."""
    if kind == "table":
        return owned.columns(sample, path, names)
    return owned.words(sample, path, tokens) if kind == "text" else None


def _errors(sample: Explanation, path: Keys, values: Floats) -> Floats | None:
    """The standard errors of the elements of a table or text."""
    found = dict(leaves(sample.error)).get(path) if sample.error is not None else None
    fits = found is not None and found.shape[1:] == values.shape and values.ndim == 1
    return _array(found[0]) if found is not None and fits else None


def _texts(words: Sequence[Piece]) -> tuple[str, ...]:
    return tuple(word.text for word in words)


def _kind(
    values: Tensor,
    inputs: Tensor,
    tokens: Sequence[str] | None,
    names: Sequence[str] | None,
    rate: float | None,
) -> Kind:
    """What the axes of one sample are, after what is said about them."""
    if rate is not None and not 0 < rate < float("inf"):
        raise InputError("`rate` must be a positive number of positions a second", got=rate)
    if values.ndim == 1 and rate is not None:
        return "signal"
    counted = not inputs.is_floating_point() and inputs.shape == values.shape
    if values.ndim == 1 and (tokens is not None or (counted and names is None)):
        return "text"
    return KINDS[values.ndim]


def _called(
    sample: Explanation,
    kind: Kind,
    values: Floats,
    inputs: Tensor,
    tokens: Sequence[str] | None,
    names: Sequence[str] | None,
) -> tuple[str, ...]:
    """What elements are called: by a schema, where the user names none."""
    found = owned.titles(sample, len(values), tokens, names)
    return found or _labels(kind, values, inputs, tokens, names)


def _labels(
    kind: Kind,
    values: Floats,
    inputs: Tensor,
    tokens: Sequence[str] | None,
    names: Sequence[str] | None,
) -> tuple[str, ...]:
    """Name the tokens, features or channels: as the user does, else by number."""
    option, given = ("`tokens`", tokens)
    if kind != "text":
        option, given = "`names` (in a report: `features`)", names
    joined = kind == "signal" and len(values) == 1 and inputs.shape[:1] != (1,)
    if kind == "image" or joined:
        return ()
    if given is None:
        if kind == "text":
            return tuple(map(str, inputs.tolist()))
        given = [f"feature {i}" if kind == "table" else str(i) for i in range(len(values))]
    thing = {"text": "tokens", "table": "features", "signal": "channels"}[kind]
    if len(given) != len(values):
        raise InputError(f"{option} must name all {len(values)} {thing}", got=len(given))
    found = [visible(str(each)) if not str(each).strip() else str(each) for each in given]
    if kind == "table" and inputs.is_floating_point() and inputs.shape == values.shape:
        return tuple(map(valued, found, inputs.tolist()))
    return tuple(found)


def _part(sample: Explanation, part: int | str) -> tuple[Keys, Tensor, Tensor]:
    """The path, values and inputs of one input tensor of one sample, without the batch axis.

    Values at a layer have no input of their own: maps are shown with the first, others with none.
    """
    inputs = dict(leaves(sample.inputs))
    first = next(iter(inputs.values()))
    if isinstance(sample.values, Tensor) and sample.at is not None and sample.values.ndim < 4:
        inputs, first = {}, sample.values.new_empty(1, 0)
    values = {
        input_name(path) if path else 0: (path, leaf, inputs.get(path, first))
        for path, leaf in leaves(sample.values)
    }
    if isinstance(part, int) and 0 <= part < len(values):
        path, value, given = list(values.values())[part]
    elif part in values:
        path, value, given = values[part]
    else:
        raise UnknownNameError("`part`, the input to draw,", part, map(str, values))
    return path, value[0], given[0]


def _pooled(
    values: Tensor, kind: Kind, pool: Pooling | None, at: str | None
) -> tuple[Floats, Pooling | None]:
    """Join the channels of an image, by default by their sum; those of a signal on request."""
    if pool is not None and pool not in POOLINGS:
        raise UnknownNameError("`pool`", pool, POOLINGS)
    if kind in ("table", "text") or (kind == "signal" and pool is None):
        return _array(values), None
    if kind == "signal" and at is not None:
        raise InputError(
            "`pool` cannot know which of three axes at a layer are the channels",
            got=pool,
            hint="Pool first: explanation.pool(how, axis=1).plot().",
        )
    how: Pooling = pool or "sum"
    joined = _array(POOLINGS[how](values[None])[0])
    return (joined[0] if kind == "image" else joined), (how if values.shape[0] > 1 else None)


def _picture(kind: Kind, picture: Any, inputs: Tensor) -> Bytes | None:
    if kind != "image":
        return None
    if picture is not None:
        return as_picture(picture)
    return stretch(_array(inputs)) if inputs.ndim == 3 else None


def _array(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
