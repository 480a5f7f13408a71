"""The two kinds of rules: for operations with weights, and for all others."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pellucid.propagate.linear import Linear
from pellucid.propagate.rules.sharing import Share
from pellucid.propagate.samples import Layout
from pellucid.tape.adjoints import Signals
from pellucid.tape.operations import Operation


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """A rule for operations with weights."""

    @property
    def name(self) -> str:
        """What tables and ledgers call it."""
        return type(self).__name__

    @abstractmethod
    def share(self, linear: Linear, signal: Tensor) -> Share:
        """Share the relevance at the output of a linear map; one signal, for its input."""


@dataclass(frozen=True, kw_only=True)
class SignalRule(ABC):
    """A rule for operations without weights: sums, activations, products of signals, norms.

    `families` are those of `pellucid.propagate.rules.families` that it can be given to.
    """

    families: ClassVar[frozenset[str]] = frozenset()
    label: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """What tables and ledgers call it."""
        return self.label or type(self).__name__

    @abstractmethod
    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """Share the relevance at the outputs; one signal for each slot, `None` for constants."""
