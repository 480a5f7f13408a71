"""Methods that learn from data before they explain: in the tests, from what they explain."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pellucid as pl
from pellucid.method import named


def ready(method: str | pl.Method, model: Callable[..., Any], inputs: Any) -> pl.Method:
    """The method, with patterns of the model if it takes any and has none."""
    made = named(method)
    if "patterns" not in {field.name for field in dataclasses.fields(made)} or (
        made.patterns is not None
    ):
        return made
    return dataclasses.replace(made, patterns=pl.fit_patterns(model, [inputs], quality=False))


@dataclasses.dataclass(frozen=True)
class Ready:
    """A method that is made ready for each model that it is called with."""

    name: str

    def __call__(self, model: Callable[..., Any], inputs: Any, **options: Any) -> pl.Explanation:
        return ready(self.name, model, inputs)(model, inputs, **options)
