"""The names that constraints use, found among the columns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import InputError, UnknownNameError
from pellucid.exemplar.counterfactual.constraints import Column, Constraints


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """The columns by name, and the one-hot groups, each with the places of its columns."""

    names: tuple[str, ...]
    groups: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, names: Sequence[Any], constraints: Constraints) -> "Columns":
        """Find the groups; a column must not be in two of them."""
        plain = cls(names=tuple(map(str, names)), groups={})
        groups = {
            name: tuple(plain.place(each, f"one_hot[{name!r}]") for each in columns)
            for name, columns in constraints.groups.items()
        }
        used = [place for places in groups.values() for place in places]
        twice = {plain.names[place] for place in used if used.count(place) > 1}
        if twice or any(len(places) < 2 for places in groups.values()):
            raise InputError(
                "A one-hot group must have at least two columns, each in no other group",
                found=f"{sorted(twice)!r} twice" if twice else f"{dict(constraints.groups)!r}",
            )
        return cls(names=plain.names, groups=groups)

    def place(self, column: Column, what: str) -> int:
        """The number of a column that is named, or counted."""
        if str(column) in self.names:
            return self.names.index(str(column))
        counted = isinstance(column, int) and not isinstance(column, bool)
        if counted and -len(self.names) <= column < len(self.names):
            return int(column) % len(self.names)
        known = [*self.names, *self.groups]
        raise UnknownNameError(f"A column that `{what}` names", column, known)

    def places(self, columns: Iterable[Column], what: str) -> list[int]:
        """The numbers of columns, and of those of groups."""
        found: list[int] = []
        for column in columns:
            group = self.groups.get(column) if isinstance(column, str) else None
            found += group if group is not None else [self.place(column, what)]
        return found

    def mask(self, columns: Any, shape: tuple[int, ...], what: str) -> Tensor:
        """The elements of some columns, or of a mask of the shape of a sample."""
        if isinstance(columns, Tensor) and columns.dtype is torch.bool:
            if columns.shape != shape:
                raise InputError(
                    f"A mask of `{what}` must have the shape of a sample, {list(shape)}",
                    got=columns,
                )
            return columns.flatten()
        made = torch.zeros(shape, dtype=torch.bool).flatten()
        made[self.places(columns, what)] = True
        return made
