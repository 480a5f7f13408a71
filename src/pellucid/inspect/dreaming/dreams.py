"""What was dreamed, and how far it can be trusted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pellucid.explanation import Evaluations
from pellucid.inspect.dreaming.layout import Field, Layout
from pellucid.inspect.dreaming.objective import Objective

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Dreams:
    """Inputs that a model answers most to, one for each target.

    `inputs` (dream, ...) are what was dreamed, and `codes` what a generator made them of. `score`
    is that of each target at the end and `started` at the start, both of shape (dream,) and without
    what regularisers say; `path` (dream, step) is all that was climbed, at the start, at every step
    and at the end. `fields` have for the dream of a unit the part of it that the unit sees, else
    `None`; `patches` are the dreams cut to them.
    """

    targets: tuple[Objective, ...]
    inputs: Tensor
    codes: Tensor | None
    score: Tensor
    started: Tensor
    path: Tensor
    fields: tuple[Field | None, ...]
    layout: Layout
    seeds: tuple[int, ...]
    recipe: str
    evaluations: Evaluations
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def rose(self) -> Tensor:
        """Whether each dream has a higher score than its start, of shape (dream,)."""
        return self.score > self.started

    @cached_property
    def patches(self) -> tuple[Tensor, ...]:
        """Each dream, of shape (channel, ...), and of a unit the part at its receptive field."""
        return tuple(map(self._patch, range(len(self))))

    def _patch(self, row: int) -> Tensor:
        return self.layout.cut(self.inputs[row : row + 1], self.fields[row])[0]

    def to_frame(self, names: Sequence[str] | None = None) -> "pd.DataFrame":
        """One row a dream; `names` are those of the classes."""
        import pandas as pd

        return pd.DataFrame({
            "target": [each.words(names) for each in self.targets],
            "seed": self.seeds,
            "score": self.score.tolist(),
            "started": self.started.tolist(),
            "rose": self.rose.tolist(),
            "length": self.inputs.double().flatten(1).norm(dim=1).tolist(),
        })  # fmt: skip

    def plot(
        self,
        *,
        names: Sequence[str] | None = None,
        pictures: Callable[[Tensor], Any] | None = None,
        columns: int = 8,
        whole: bool = False,
        dark: bool = False,
    ) -> "Figure":
        """Draw all dreams side by side: see `pellucid.plot.dreams`."""
        from pellucid.plot.dreams import dreams

        return dreams(self, names=names, pictures=pictures, columns=columns, whole=whole, dark=dark)

    def plot_path(
        self,
        ax: "Axes | None" = None,
        *,
        names: Sequence[str] | None = None,
        dark: bool = False,
    ) -> "Axes":
        """Draw what each dream climbed, step by step."""
        from pellucid.plot.dreams import paths

        return paths(self, ax, names=names, dark=dark)

    def __repr__(self) -> str:
        shown = [
            f"{each!r} {score:.4g}" for each, score in zip(self.targets, self.score, strict=True)
        ]
        more = ", ..." if len(shown) > 4 else ""
        return f"{len(self)} dreams of {list(self.layout.shape)}: {', '.join(shown[:4])}{more}"
