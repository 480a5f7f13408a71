"""What makes a dream less wild: costs, motions that it must withstand, and what is undone.

A term is a frozen dataclass of one of these kinds, with its options as fields; by `TERMS.register`
it has a name.
"""

from abc import ABC, abstractmethod
from typing import Any, TypeAlias, cast

from torch import Generator, Tensor

from pellucid.inspect.dreaming.layout import Layout
from pellucid.registry import Kinds


class Cost(ABC):
    """What is taken off the objective."""

    def check(self, layout: Layout) -> None:
        """Raise, before any run of the model, unless it can act on dreams of this layout."""
        return

    @abstractmethod
    def cost(self, x: Tensor, layout: Layout) -> Tensor:
        """The cost of each dream, of shape (dream,)."""


class Motion(ABC):
    """What moves a dream before the model sees it, by other draws in every step.

    The model must see its pattern wherever it is, so that details that hang on one place go away.
    """

    def check(self, layout: Layout) -> None:
        """Raise, before any run of the model, unless it can act on dreams of this layout."""
        return

    @abstractmethod
    def moved(self, x: Tensor, layout: Layout, draw: Generator) -> Tensor:
        """Dreams that are all moved alike; autograd follows it."""


class Correction(ABC):
    """What is undone of a dream after a step."""

    def check(self, layout: Layout) -> None:
        """Raise, before any run of the model, unless it can act on dreams of this layout."""
        return

    @abstractmethod
    def corrected(self, x: Tensor, slope: Tensor, step: int, layout: Layout) -> Tensor:
        """Dreams after the step of this number, from 1; `slope` is the gradient before it."""


Term: TypeAlias = Cost | Motion | Correction
# A term of the user's own is a class of one of these kinds, and is passed as it is.
TERMS: Kinds[Term] = Kinds(
    what="term of dreams",
    kind=cast(Any, Term),
    hint='For example "total_variation", or TotalVariation(weight=0.1).',
    rooms=("inspect.dreaming.terms",),
)
