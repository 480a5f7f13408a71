"""What must hold of a counterfactual, in the words of the user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from torch import Tensor

from pellucid.errors import InputError
from pellucid.options import number, one_of

# A column by its name, or by its number.
Column: TypeAlias = Any
# From where to where a number goes, or which categories there may be.
Range: TypeAlias = Sequence[Any]
Way: TypeAlias = Literal["increase", "decrease"]

WAYS = ("increase", "decrease")


@dataclass(frozen=True, kw_only=True, eq=False)
class Constraints:
    """What a counterfactual may change, and how; it never breaks any of this.

    | option | what it says |
    |---|---|
    | `immutable` | columns that stay as they are; of tensors also a mask of the shape of a sample |
    | `ranges` | `{"age": (18, 65)}`, with `None` for no bound; `{"job": ["fixed", "freelance"]}` \
for categories; one pair of numbers for all elements |
    | `one_hot` | `{"home": ["home_owner", "home_rent"]}`: columns of which one is 1, the others 0 |
    | `monotone` | `{"age": "increase"}`: which way a number, or an ordered category, may go |
    | `integers` | columns of whole numbers |
    | `steps` | `{"amount": 50}`: a number that is changed becomes a multiple of it |

    Columns are named, or counted from 0; a one-hot group is named by its name, too. A number that
    is missing stays missing. Columns of whole-number types are integers without being named.

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
