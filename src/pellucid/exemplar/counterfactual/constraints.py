"""What must hold of a counterfactual, in the words of the user, and the columns that these name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.errors import InputError, UnknownNameError
from pellucid.options import number, one_of

# A column by its name, or by its number.
Column: TypeAlias = Any
# From where to where a number goes, or which categories there may be.
Range: TypeAlias = Iterable[Any]
Way: TypeAlias = Literal["increase", "decrease"]

WAYS = ("increase", "decrease")


@dataclass(frozen=True, kw_only=True, eq=False)
class Constraints:
    """What a counterfactual may change, and how; it never breaks any of this.

    | option | what it says |
    |---|---|
    | `immutable` | columns that stay as they are; also a mask of the shape of a sample |
    | `ranges` | `{"age": (18, 65)}`, with `None` for no bound; `{"job": ["fixed", "freelance"]}` \
for categories; one pair of numbers for all elements |
    | `one_hot` | `{"home": ["home_owner", "home_rent"]}`: columns of which one is 1, the others 0 |
    | `monotone` | `{"age": "increase"}`: which way a number, or an ordered category, may go |
    | `integers` | columns of whole numbers |
    | `steps` | `{"amount": 50}`: a number that is changed becomes a multiple of it |

    Columns are named, or counted from 0; a one-hot group is named by its name, too. A number that
    is missing stays missing. Columns of whole-number types are integers without being named, and so
    are those of a frame or an array with data in which there are whole numbers alone.

    >>> Constraints(immutable=["sex"], monotone={"age": "increase"})
    Constraints(immutable=['sex'], monotone={'age': 'increase'})
    """

    immutable: "Sequence[Column] | Tensor" = ()
    ranges: "Mapping[Column, Range] | tuple[float, float]" = field(default_factory=dict)
    one_hot: "Mapping[str, Sequence[Column]] | Sequence[Sequence[Column]]" = ()
    monotone: Mapping[Column, Way] = field(default_factory=dict)
    integers: Sequence[Column] = ()
    steps: Mapping[Column, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("immutable", "integers"):
            if isinstance(getattr(self, name), str):
                raise InputError(
                    f"`{name}` must be a list of columns",
                    got=getattr(self, name),
                    hint=f"For one: {name}=[{getattr(self, name)!r}].",
                )
        for column, way in self.monotone.items():
            one_of(way, f"The way that {column!r} may go", WAYS)
        for column, step in self.steps.items():
            number(step, f"steps[{column!r}]", "a positive number", above=0)

    @property
    def groups(self) -> dict[str, Sequence[Column]]:
        """The one-hot groups by name; those without one are named by their columns."""
        if isinstance(self.one_hot, Mapping):
            return dict(self.one_hot)
        return {" / ".join(map(str, columns)): columns for columns in self.one_hot}

    def __repr__(self) -> str:
        given = {k: v for k, v in vars(self).items() if isinstance(v, Tensor) or v}
        return f"Constraints({', '.join(f'{k}={v!r}' for k, v in given.items())})"


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
            name: tuple(map(plain.place, columns)) for name, columns in constraints.groups.items()
        }
        used = [place for places in groups.values() for place in places]
        twice = {plain.names[place] for place in used if used.count(place) > 1}
        if twice or any(len(places) < 2 for places in groups.values()):
            raise InputError(
                "A one-hot group must have at least two columns, each in no other group",
                found=f"{sorted(twice)!r} twice" if twice else f"{dict(constraints.groups)!r}",
            )
        for name in set(groups) & set(plain.names):
            raise InputError(
                "A one-hot group must have a name that no column has",
                got=name,
                hint="Else it could not be said which of both is meant.",
            )
        return cls(names=plain.names, groups=groups)

    def place(self, column: Column) -> int:
        """The number of a column that is named, or counted."""
        if str(column) in self.names:
            return self.names.index(str(column))
        counted = isinstance(column, Integral) and not isinstance(column, bool)
        if counted and -len(self.names) <= column < len(self.names):
            return int(column) % len(self.names)
        raise UnknownNameError("A column of constraints", column, [*self.names, *self.groups])

    def places(self, columns: Iterable[Column]) -> list[int]:
        """The numbers of columns, and of those of groups."""
        found: list[int] = []
        for column in columns:
            group = self.groups.get(column) if isinstance(column, str) else None
            found += group if group is not None else [self.place(column)]
        return found

    def mask(self, columns: Any, shape: tuple[int, ...]) -> Tensor:
        """The elements of some columns, or of a mask of the shape of a sample."""
        if str(getattr(columns, "dtype", "")).removeprefix("torch.") == "bool":
            if tuple(columns.shape) != shape:
                raise InputError(
                    f"A mask of what stays must have the shape of a sample, {list(shape)}",
                    got=columns,
                )
            return torch.as_tensor(columns).cpu().flatten()
        made = torch.zeros(shape, dtype=torch.bool).flatten()
        made[self.places(columns)] = True
        return made
