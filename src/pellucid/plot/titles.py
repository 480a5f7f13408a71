"""What tells the explanations of one sample apart: the method, and the options that differ."""

from collections.abc import Sequence
from dataclasses import fields

from pellucid.explanation import Explanation


def titles(explanations: Sequence[Explanation]) -> list[str]:
    """The names of the methods; of those used several times with what differs, else numbered.

    >>> from types import SimpleNamespace as Found
    >>> import pellucid as pl
    >>> chosen = [pl.Saliency(), pl.Saliency(reduce="squared"), pl.GradientXInput()]
    >>> titles([Found(method=method) for method in chosen])
    ["Saliency, reduce='signed'", "Saliency, reduce='squared'", 'GradientXInput']
    """
    named = [_title(each, explanations) for each in explanations]
    seen = [named[:i].count(name) + 1 for i, name in enumerate(named)]
    return [f"{name} {n}" if n > 1 else name for name, n in zip(named, seen, strict=True)]


def _title(explanation: Explanation, explanations: Sequence[Explanation]) -> str:
    method = explanation.method
    alike = [each.method for each in explanations if type(each.method) is type(method)]
    differing = [
        f"{field.name}={getattr(method, field.name)!r}"
        for field in fields(method)
        if len({repr(getattr(each, field.name)) for each in alike}) > 1
    ]
    return ", ".join([type(method).__name__, *differing])
