"""Rules that users add for operations that have none."""

from dataclasses import dataclass, field
from typing import Any

from pellucid.errors import InputError
from pellucid.propagate.rules.sharing import Share
from pellucid.propagate.rules.signals import Elementwise
from pellucid.propagate.rules.weighted import Pass
from pellucid.propagate.samples import Layout
from pellucid.tape.adjoints import Signals
from pellucid.tape.operations import Operation


@dataclass(frozen=True)
class Registered:
    """A user's rule for one operation: `function(operation, signals) -> signals`."""

    name: str
    function: Any = field(compare=False)

    def __call__(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """Wrap what the function returns."""
        return Share(list(self.function(operation, signals)))


REGISTERED: dict[str, Registered] = {}


def register_rule(operation: str, rule: Any) -> None:
    """Say how relevance passes an operation that has no rule, by its name on the tape.

    `rule` is `Pass()` for an elementwise function, or `function(operation, signals)` that returns
    one signal for each of `operation.slots` (`None` for constants).

    >>> register_rule("erfinv", Pass())
    """
    if isinstance(rule, Pass):
        alike = lambda op, signals: Elementwise().share(op, signals, Layout()).signals  # noqa: E731
        REGISTERED[operation] = Registered("Pass", alike)
    elif callable(rule):
        REGISTERED[operation] = Registered(getattr(rule, "__name__", "custom"), rule)
    else:
        raise InputError(
            "A registered rule must be Pass() or a function of (operation, signals)", got=rule
        )
