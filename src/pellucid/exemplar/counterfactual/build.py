"""A space made of constraints, the inputs and data."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.border.schema import Schema
from pellucid.errors import InputError, UnknownNameError, show
from pellucid.exemplar.counterfactual.constraints import Columns, Constraints
from pellucid.exemplar.counterfactual.grid import Grid, inward, whole_step
from pellucid.exemplar.counterfactual.space import Choice, Space

# Types in which a number cannot be as exact as a search is.
COARSE = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """The rows of inputs (sample, element) and of data in float64, and what the elements are.

    `dtypes` name the type of each element, or one for all. `names` are those of columns; there are
    none of images.
    """

    rows: Tensor
    shape: tuple[int, ...]
    data: Tensor | None = None
    names: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("float64",)
    schema: Schema | None = None


def space_of(table: Table, constraints: Constraints) -> Space:
    """Where each of the inputs may go; what no row can hold to becomes its problem."""
    columns = Columns.of(table.names, constraints)
    if not table.names and isinstance(constraints.ranges, Mapping) and constraints.ranges:
        raise InputError(
            "`ranges` must be one pair of numbers where elements have no names",
            got=constraints.ranges,
            hint="For pixels: Constraints(ranges=(0, 1)).",
        )
    return _Builder(table=table, constraints=constraints, columns=columns).space()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Builder:
    """What is put together to a space."""

    table: Table
    constraints: Constraints
    columns: Columns

    def space(self) -> Space:
        rows = self.table.rows
        count = rows.shape[1]
        low, high = self._bounds(self.table.data)
        grid, immutable = Grid.of(self._steps()), self._immutable()
        missing = rows.isnan()
        stay = ((rows >= low) & (rows <= high)) | missing
        precision = tuple(self._precision())
        low, high = grid.inward(low, high, precision)
        for dtype, elements in precision:
            low = torch.where(elements, inward(low, dtype, up=True), low)
            high = torch.where(elements, inward(high, dtype, up=False), high)
        choices, variable = self._choices(immutable)
        chosen = torch.zeros(count, dtype=torch.bool)
        fixed = immutable | missing
        for each in choices:
            chosen[each.columns] = True
            gone = self._is_missing(each)
            stay[:, each.columns] = (each.keeps | gone)[:, None]
            fixed[:, each.columns] |= gone[:, None]
        # Where nothing on the grid is within the bounds, a number that may stay does.
        empty = (low > high) & stay & ~chosen
        return Space(
            names=self.table.names,
            shape=self.table.shape,
            origin=rows,
            low=low,
            high=high,
            grid=grid,
            fixed=fixed | empty,
            stay=stay,
            precision=precision,
            choices=tuple(choices),
            variable=variable,
            problems=self._problems(low, high, stay, immutable, fixed, choices, chosen),
        )

    def _bounds(self, data: Tensor | None) -> tuple[Tensor, Tensor]:
        """From where to where each number goes, of shape (sample, element)."""
        rows, given = self.table.rows, self.constraints.ranges
        low, high = torch.full_like(rows, -torch.inf), torch.full_like(rows, torch.inf)
        if data is not None:
            least, most = _extremes(data if self.table.names else data.reshape(-1, 1))
            low = torch.minimum(least, rows.nan_to_num(torch.inf))
            high = torch.maximum(most, rows.nan_to_num(-torch.inf))
        low, high = low.clone(), high.clone()
        if not isinstance(given, Mapping):
            _narrow(low, high, slice(None), _pair(given, "The range of all elements"))
        else:
            for column, each in given.items():
                if not self._names_options(column):
                    pair = _pair(each, f"The range of {column!r}")
                    _narrow(low, high, self.columns.place(column), pair)
        for ends, elements in self._whole():
            low[:, elements] = low[:, elements].clamp(min=ends[0])
            high[:, elements] = high[:, elements].clamp(max=ends[1])
        for place, way in self._ways():
            if way == "increase":
                low[:, place] = torch.maximum(low[:, place], rows[:, place])
            else:
                high[:, place] = torch.minimum(high[:, place], rows[:, place])
        return low, high

    def _steps(self) -> Tensor:
        """The grid of each element, zero where there is none."""
        steps = torch.zeros(self.table.rows.shape[1], dtype=torch.float64)
        if self.table.schema is not None and self.table.data is not None:
            both = torch.cat([self.table.rows, self.table.data])
            steps[((both == both.round()) | both.isnan()).all(0)] = 1.0
        whole = torch.zeros(len(steps), dtype=torch.bool)
        whole[self.columns.places(self.constraints.integers)] = True
        for _, elements in self._whole():
            whole |= elements
        steps[whole] = 1.0
        for column, step in self.constraints.steps.items():
            place = self.columns.place(column)
            steps[place] = whole_step(step) if whole[place] else float(step)
        return steps

    def _immutable(self) -> Tensor:
        """What stays, of shape (sample, element)."""
        found = self.columns.mask(self.constraints.immutable, self.table.shape)
        return found.expand(self.table.rows.shape).clone()

    def _whole(self) -> list[tuple[tuple[float, float], Tensor]]:
        """The least and the largest number of each type of whole numbers, and its elements."""
        found = []
        for name in dict.fromkeys(self.table.dtypes):
            plain = name.removeprefix("torch.").lower()
            if plain.startswith(("int", "uint")):
                bounds = np.iinfo(np.dtype(plain))
                found.append(((float(bounds.min), float(bounds.max)), self._of_type(name)))
            if plain == "bool":
                found.append(((0.0, 1.0), self._of_type(name)))
        return found

    def _precision(self) -> list[tuple[torch.dtype, Tensor]]:
        """The elements of each type that is coarser than float64."""
        names = dict.fromkeys(self.table.dtypes)
        plain = {name: COARSE.get(name.removeprefix("torch.").lower()) for name in names}
        return [(dtype, self._of_type(name)) for name, dtype in plain.items() if dtype is not None]

    def _of_type(self, name: str) -> Tensor:
        given = self.table.dtypes
        same = [each == name for each in given]
        return torch.tensor(same).expand(self.table.rows.shape[1])

    def _ways(self) -> list[tuple[int, str]]:
        """The columns of numbers that go one way."""
        pairs = self.constraints.monotone.items()
        return [
            (self.columns.place(column), way)
            for column, way in pairs
            if not self._names_options(column)
        ]

    def _names_options(self, column: Any) -> bool:
        """Whether a column is one of categories, or a group."""
        if isinstance(column, str) and column in self.columns.groups:
            return True
        schema, place = self.table.schema, self.columns.place(column)
        if schema is None or any(place in group for group in self.columns.groups.values()):
            return False
        return schema.kinds[place] == "categorical"

    def _choices(self, immutable: Tensor) -> tuple[list[Choice], Tensor]:
        """The choices, and the number of the variable that each element is of."""
        made = [self._group(name, places) for name, places in self.columns.groups.items()]
        grouped = {place for places in self.columns.groups.values() for place in places}
        kinds = self.table.schema.kinds if self.table.schema is not None else ()
        codes = [i for i, kind in enumerate(kinds) if kind == "categorical" and i not in grouped]
        made += [self._codes(place) for place in codes]
        variable = torch.arange(self.table.rows.shape[1])
        for choice in made:
            variable[choice.columns] = variable[choice.columns[0]].clone()
        _, variable = variable.unique(return_inverse=True)
        return [each.within(self._fitting(each, immutable)) for each in made], variable

    def _fitting(self, choice: Choice, immutable: Tensor) -> Tensor:
        """The options (sample, option) whose columns are what these may be, one by one."""
        own, options = self.table.rows[:, None, choice.columns], choice.options
        fits = (options == own) | ~immutable[:, None, choice.columns]
        if len(choice.columns) > 1:  # numbers, unlike codes of categories
            low, high = (each[:, None, choice.columns] for each in self._bounds(None))
            fits = fits & (options >= low) & (options <= high)
        return fits.all(2)

    def _group(self, name: str, places: tuple[int, ...]) -> Choice:
        columns = torch.tensor(places)
        options, given = torch.eye(len(places), dtype=torch.float64), self.table.rows[:, columns]
        labels = _short([self.table.names[place] for place in places])
        data = given if self.table.data is None else torch.cat([given, self.table.data[:, columns]])
        if (data == 0).all(1).any():  # the one that has no column of its own
            options = torch.cat([options, torch.zeros(1, len(places), dtype=torch.float64)])
            labels = (*labels, "none of them")
        match = (given[:, None] == options).all(2)
        if not match.any(1).all():
            row = int((~match.any(1)).nonzero()[0])
            raise InputError(
                f"The columns of the one-hot group {name!r} must hold one 1, and 0 else",
                found=f"{given[row].tolist()} in row {row}",
                hint="If they are standardised, pass the table as it was before, and "
                "scaling=scaler.",
            )
        return self._choice(name, columns, options, labels, match.byte().argmax(1), [])

    def _codes(self, place: int) -> Choice:
        schema = self.table.schema
        categories = schema.categories[place] if schema is not None else ()
        options = torch.arange(len(categories), dtype=torch.float64)[:, None]
        missing = [i for i, each in enumerate(categories) if each is None]
        own = self.table.rows[:, place].long()
        labels = tuple("missing" if each is None else str(each) for each in categories)
        name = self.table.names[place]
        return self._choice(name, torch.tensor([place]), options, labels, own, missing)

    def _choice(
        self,
        name: str,
        columns: Tensor,
        options: Tensor,
        labels: tuple[str, ...],
        own: Tensor,
        missing: list[int],
    ) -> Choice:
        allowed = torch.ones(len(own), len(options), dtype=torch.bool)
        allowed[:, missing] = False
        ranges = self.constraints.ranges
        for column, given in ranges.items() if isinstance(ranges, Mapping) else ():
            if self._is_it(column, name):
                known = {i: each for i, each in enumerate(labels) if i not in missing}
                named = _among(given, known, name, hint=self._hint())
                allowed[:, [i for i in known if i not in named]] = False
        for column, way in self.constraints.monotone.items():
            if self._is_it(column, name):
                self._check_ordered(name)
                place = torch.arange(len(options))
                allowed &= place >= own[:, None] if way == "increase" else place <= own[:, None]
        allowed[torch.isin(own, torch.tensor(missing, dtype=torch.long))] = False
        return Choice(
            name=name, columns=columns, options=options, labels=labels, allowed=allowed, own=own
        )

    def _is_missing(self, choice: Choice) -> Tensor:
        """The inputs that have no category there, of shape (sample,)."""
        schema, place = self.table.schema, int(choice.columns[0])
        known = schema.categories[place] if schema is not None else ()
        gaps = [i for i, each in enumerate(known) if each is None]
        return torch.isin(choice.own, torch.tensor(gaps, dtype=torch.long))

    def _is_it(self, column: Any, name: str) -> bool:
        """Whether a name, or a number, is that of a choice."""
        if column == name:
            return True
        if isinstance(column, str) and column in self.columns.groups:
            return False
        return self.table.names[self.columns.place(column)] == name

    def _hint(self) -> str:
        """Where other categories come from."""
        if self.table.data is not None:
            return ""
        return "Others are known from rows that have them: data=table."

    def _check_ordered(self, name: str) -> None:
        schema = self.table.schema
        if name in self.columns.groups or schema is None:
            ordered = False
        else:
            place = self.table.names.index(name)
            ordered = schema.ordered[place] or schema.dtypes[place] in ("bool", "boolean")
        if not ordered:
            raise InputError(
                "`monotone` must name columns of numbers, or of ordered categories",
                found=f"{name!r}, whose categories have no order",
                hint=f"Say what it may become, as the range of {name!r}: [...].",
            )

    def _problems(
        self,
        low: Tensor,
        high: Tensor,
        stay: Tensor,
        immutable: Tensor,
        fixed: Tensor,
        choices: Sequence[Choice],
        chosen: Tensor,
    ) -> tuple[str, ...]:
        """What no row can hold to, one sentence for each input; empty where there is none."""
        stuck = ~stay & (immutable | (low > high)) & ~chosen
        said = ["" for _ in range(len(stuck))]
        for row, element in stuck.nonzero().tolist():
            name = self.table.names[element] if self.table.names else f"element {element}"
            value = float(self.table.rows[row, element])
            why = "is immutable" if immutable[row, element] else "can go to no value that is both"
            said[row] = said[row] or f"{name} is {value:.6g}, out of its range, and {why}"
        for choice in choices:
            none = ~choice.allowed.any(1) & ~self._is_missing(choice)
            for row in none.nonzero().flatten().tolist():
                label = choice.labels[int(choice.own[row])]
                said[row] = said[row] or f"{choice.name} is {label}, and no category is allowed"
        moves = (low < high) | ((low == high) & (self.table.rows != low))
        free = (~fixed & moves & ~chosen).any(1)
        for choice in choices:
            free |= choice.allowed.sum(1) > choice.keeps
        start = "its columns" if self.table.names else "its elements"
        return tuple(
            each or ("" if moves else f"none of {start} may change")
            for each, moves in zip(said, free.tolist(), strict=True)
        )


def _pair(given: Any, what: str) -> list[float | None]:
    """A lower and an upper bound, either of which there may be none of."""
    try:
        pair = [None if each is None else float(each) for each in given]
    except (TypeError, ValueError):
        pair = []
    low, high = pair if len(pair) == 2 else (math.nan, math.nan)
    ends = (-math.inf if low is None else low, math.inf if high is None else high)
    if isinstance(given, str) or not ends[0] <= ends[1]:
        raise InputError(
            f"{what} must be a lower and an upper bound",
            got=given,
            hint="With None where there is no bound: (0, None).",
        )
    return pair


def _narrow(low: Tensor, high: Tensor, place: int | slice, pair: list[float | None]) -> None:
    """Put bounds (sample, element) where they are given."""
    for bounds, end in zip((low, high), pair, strict=True):
        if end is not None:
            bounds[:, place] = end


def _among(given: Any, known: Mapping[int, str], name: str, *, hint: str) -> list[int]:
    """Which of the known categories are named."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(f"The range of {name!r} must be a list of categories", found=show(given))
    wanted = list(map(str, given))
    for each in wanted:
        if each not in known.values():
            what = f"A category in the range of {name!r}"
            raise UnknownNameError(what, each, known.values(), hint=hint)
    return [i for i, label in known.items() if label in wanted]


def _short(names: list[str]) -> tuple[str, ...]:
    """Names without what they all begin with, up to a sign that ends it."""
    ends = [i + 1 for i, sign in enumerate(names[0]) if sign in "_=:.- "]
    cut = max([i for i in ends if all(name[:i] == names[0][:i] for name in names)], default=0)
    return tuple(name[cut:] or name for name in names)


def _extremes(data: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest number of each column that are not missing."""
    return data.nan_to_num(torch.inf).amin(0), data.nan_to_num(-torch.inf).amax(0)
