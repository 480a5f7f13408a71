"""What a survey has found, ready to be shown: tensors of pictures, and facts in words."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

    from pellucid.inspect.activations import Activations
    from pellucid.inspect.layer_table import LayerTable


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitView:
    """One channel of a layer: what excites it in data, and what would excite it.

    `amounts` (example,) are its strongest activations and `index` (example,) the samples that they
    are in. `patches` are what the strongest unit of the channel sees of each, and
    `reconstructions` what of it excites that unit: each of shape (channel, height, width).
    `dream` and `filter` have the same axes; a filter may have one channel.
    """

    number: int
    amounts: Tensor | None = field(default=None, repr=False)
    index: Tensor | None = None
    patches: Sequence[Tensor] = field(default=(), repr=False)
    reconstructions: Sequence[Tensor] = field(default=(), repr=False)
    dream: Tensor | None = field(default=None, repr=False)
    filter: Tensor | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerView:
    """One layer: facts about it as (term, words), and some of its channels."""

    layer: str
    channels: int
    facts: Sequence[tuple[str, str]]
    units: Sequence[UnitView]


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassView:
    """One class: the samples that stand for it, and where in them the model looks.

    `prototypes` and `criticisms` are numbers of samples. `heatmap` (height, width) is the mean of
    the `maps` of so many samples of the class, and `example` (height, width) that of the first
    prototype: none of a model that does not answer with scores of classes.
    """

    number: int
    name: str
    samples: int
    prototypes: Sequence[int]
    criticisms: Sequence[int] = ()
    heatmap: Tensor | None = field(default=None, repr=False)
    example: Tensor | None = field(default=None, repr=False)
    maps: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """All that was found of a model; `samples` is the number of those that it was shown.

    `by` says what tells the classes apart: labels, or predictions. `table` has all operations, of
    so many samples as were `looked` at, and `depth` the activations of a few.
    """

    layers: Sequence[LayerView]
    classes: Sequence[ClassView] = ()
    samples: int = 0
    by: str = ""
    table: "LayerTable | None" = field(default=None, repr=False)
    depth: "Activations | None" = field(default=None, repr=False)
    looked: int = 0
    notes: tuple[str, ...] = ()

    def to_frame(self) -> "pd.DataFrame":
        """One row for each channel and each of its examples."""
        import pandas as pd

        rows = [
            {"layer": layer.layer, "channel": unit.number, "rank": rank, "sample": int(at),
             "activation": float(amount)}
            for layer in self.layers
            for unit in layer.units
            if unit.index is not None and unit.amounts is not None
            for rank, (at, amount) in enumerate(zip(unit.index, unit.amounts, strict=True), start=1)
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["layer", "channel", "rank", "sample", "activation"])

    def __repr__(self) -> str:
        units = sum(len(each.units) for each in self.layers)
        seen = f", of {self.samples} samples" if self.samples else ", without samples"
        classes = f", {len(self.classes)} classes" if self.classes else ""
        return f"Survey of {units} channels of {len(self.layers)} layers{classes}{seen}"
