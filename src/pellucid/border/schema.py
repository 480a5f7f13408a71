"""What the columns of a table are, or the words of texts: the way back from a tensor.

Inside, a table is one tensor (sample, column) with categories as codes, and a text is a row of
codes (sample, word) with 0 where there is nothing. A schema is made of numbers and strings alone,
so that it is stored with an explanation.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pellucid.baseline import Baseline
from pellucid.errors import InputError, show
from pellucid.features import NOBODY, Players
from pellucid.structure import Inputs

if TYPE_CHECKING:
    import pandas as pd

Kind: TypeAlias = Literal["numeric", "categorical"]
# What stands before a word, the word, and what stands between it and the next one.
Piece: TypeAlias = tuple[str, str, str]

CLASSES_NOTE = (
    "A target that is a number is a column of the output: {}. A string is the label of a class."
)
# So many classes are named in a note, and the last.
MOST_NAMED = 4

# Between the name of a column and what a sample has there.
EQUALS = " = "


@dataclass(frozen=True, kw_only=True)
class Schema:
    """How the rows of a tensor are written as what a model is called with.

    | `layout` | the model gets | the tensor |
    |---|---|---|
    | `"frame"` | a data frame | (sample, column), float64 |
    | `"array"` | an array of NumPy's | its shape, in float64 (float32 stays) |
    | `"texts"` | a list of strings | (sample, word), whole numbers, 0 = nothing |

    `names`, `kinds` ("numeric" or "categorical"), `categories` and `dtypes` have one entry for
    each column of a table. A category is coded by its place in `categories`, where `None` stands
    for a missing one; a missing number is NaN. `pieces` are those of texts, of which code i stands
    for the one at i - 1. There is a piece without a word for every piece, which is what remains
    where the word is absent. `classes` are the labels of a classifier, in the order of its scores.

    >>> schema = Schema(layout="texts", pieces=(("", "Not", " "), ("", "bad", "!"), ("", "", " ")))
    >>> schema.decode(torch.tensor([[1, 2], [3, 2], [2, 0]]))
    ['Not bad!', ' bad!', 'bad!']
    """

    layout: Literal["frame", "array", "texts"]
    names: tuple[Any, ...] = ()
    kinds: tuple[Kind, ...] = ()
    categories: tuple[tuple[Any, ...], ...] = ()
    dtypes: tuple[str, ...] = ()
    ordered: tuple[bool, ...] = ()
    pieces: tuple[Piece, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether rows are texts, and columns the places of their words."""
        return self.layout == "texts"

    @property
    def has_categories(self) -> bool:
        """Whether some columns hold codes, between which there is nothing."""
        return "categorical" in self.kinds

    def decode(self, rows: Tensor) -> Any:
        """Write rows as what the model is called with: a frame, an array or a list of strings."""
        return self.writer(rows.numpy(force=True))

    @cached_property
    def writer(self) -> "Callable[[np.ndarray], Any]":
        """What writes rows of numbers; what it needs is prepared once."""
        from pellucid.border import write

        makers: dict[str, Callable[[Schema], Callable[[np.ndarray], Any]]] = {
            "frame": write.frames,
            "array": write.arrays,
            "texts": write.texts,
        }
        return makers[self.layout](self)

    def words(self, row: Tensor) -> tuple[str, ...]:
        """The words of one text, for codes of shape (word,)."""
        return tuple(self.pieces[code - 1][1] for code in row.tolist() if code > 0)

    def given(self, row: Tensor) -> tuple[str, ...]:
        """What one sample has in each column of a table, in words.

        >>> Schema(layout="frame", names=("sex",), kinds=("categorical",), dtypes=("str",),
        ...        categories=(("female", "male"),)).given(torch.tensor([1.0]))
        ('male',)
        """
        return tuple(
            _in_words(value, categories)
            for value, categories in zip(row.tolist(), self.categories, strict=True)
        )

    def titles(self, row: Tensor) -> tuple[str, ...]:
        """The name of each column of a table and what a sample has there; of a text its words."""
        if self.is_text:
            return tuple(self.pieces[code - 1][1] if code > 0 else "" for code in row.tolist())
        pairs = zip(self.names, self.given(row), strict=True)
        return tuple(f"{name}{EQUALS}{has}" for name, has in pairs)

    def names_of(self, output: Any) -> tuple[str, ...]:
        """The labels of the classes that an output (sample, class) has scores of, if known."""
        shape = tuple(getattr(output, "shape", ()))
        return self.classes if shape[1:] == (len(self.classes),) else ()

    def notes(self) -> list[str]:
        """Which column is which class, where labels are numbers that are not those of columns."""
        pairs = list(enumerate(self.classes))
        if not all(map(_is_whole, self.classes)) or all(str(i) == name for i, name in pairs):
            return []
        said = [f"{i} is class {name}" for i, name in pairs]
        said[MOST_NAMED:-1] = ["..."] if len(said) > MOST_NAMED + 1 else said[MOST_NAMED:-1]
        return [CLASSES_NOTE.format(", ".join(said))]

    def absence(self, codes: Tensor) -> Tensor:
        """The codes of texts without their words: what stands between these stays."""
        return self._gaps.to(codes.device)[codes]

    @cached_property
    def _gaps(self) -> Tensor:
        known = {piece: code for code, piece in enumerate(self.pieces, 1)}
        gaps = [known.get((before, "", after), 0) for before, _, after in self.pieces]
        return torch.tensor([0, *gaps])

    def baseline(self, baseline: Baseline, inputs: Inputs) -> Baseline:
        """The baseline of these inputs: of a text, a number stands for the absence of words."""
        if baseline.kind in ("tensor", "per_sample"):
            return baseline
        if self.is_text and baseline.kind == "value":
            return Baseline.per_sample(inputs.pack([self.absence(t) for t in inputs.leaves]))
        if self.has_categories and baseline.kind in ("value", "mean", "blur", "noise"):
            column = self.names[self.kinds.index("categorical")]
            raise InputError(
                "A baseline of a table with categories must be rows of data",
                found=f"{baseline!r} for column {column!r}",
                hint="Pass a data frame of the same columns: baseline=background.",
            )
        return baseline

    def named(self, players: Players, inputs: Inputs) -> Players:
        """Players with the names that they have here; what stands for nothing is nobody's."""
        (labels,), (leaf,) = players.labels, inputs.leaves
        if self.is_text:
            labels = torch.where(leaf == 0, NOBODY, labels)
            alone = _one_a_column(labels)
            names = tuple(self.words(row) for row in leaf) if alone else players.names
            count = max(1, int(labels.max()) + 1)
            return replace(players, labels=(labels,), names=names, count=min(players.count, count))
        if players.names not in ((), (tuple(map(str, self.names)),)) or not self._is_each(labels):
            return players
        return replace(players, names=self._column_names(leaf))

    def _is_each(self, labels: Tensor) -> bool:
        """Whether every column of a table is a player."""
        return bool(self.names) and _one_a_column(labels) and bool((labels >= 0).all())

    def _column_names(self, rows: Tensor) -> tuple[tuple[str, ...], ...]:
        """Column names; with what each sample has there, where there are categories."""
        if not self.has_categories:
            return (tuple(map(str, self.names)),)
        return tuple(map(self.titles, rows))

    def entitle(self, frame: "pd.DataFrame", inputs: Tensor) -> "pd.DataFrame":
        """A table of values (sample, feature) with the names of columns, and what is in each."""
        if not self.is_text and not self.names:
            return frame
        place = frame["feature"].to_numpy()
        rows = [self.words(row) if self.is_text else self.given(row) for row in inputs]
        pairs = zip(frame["sample"], place, strict=True)
        own = [rows[i][j] if j < len(rows[i]) else "" for i, j in pairs]
        if self.is_text:
            frame = frame.rename(columns={"feature": "word"})
            frame["given"] = own
            return frame[frame["given"] != ""].reset_index(drop=True)
        frame["feature"] = [str(self.names[i]) for i in place]
        frame.insert(frame.columns.get_loc("feature") + 1, "given", own)
        return frame

    def __repr__(self) -> str:
        if self.is_text:
            return f"Schema({len(self.pieces)} pieces of text)"
        return f"Schema({self.layout} of {len(self.names)} columns: {show(list(self.names))})"


def _is_whole(label: str) -> bool:
    return label.removeprefix("-").isdecimal()


def _one_a_column(labels: Tensor) -> bool:
    """Whether every column, of those that are somebody's, is the player of its number."""
    own = torch.arange(labels.shape[-1], device=labels.device)
    return labels.ndim == 2 and bool(((labels == own) | (labels < 0)).all())


def _in_words(value: float, categories: tuple[Any, ...]) -> str:
    """A number as the user wrote it, or a category."""
    if categories:
        found = categories[int(value)]
        return "missing" if found is None else str(found)
    return "missing" if np.isnan(value) else f"{value:.6g}"
