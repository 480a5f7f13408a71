"""What tells the explanations of one sample apart: method, options, words or tokens."""

from collections.abc import Sequence
from dataclasses import fields
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from pellucid.errors import InputError
from pellucid.explanation import Explanation

if TYPE_CHECKING:
    from pellucid.evaluate.measurement import Measurement


def titles(explanations: Sequence[Explanation]) -> list[str]:
    """The names of the methods; of those used several times with what differs, else numbered.

    Of values for tokens, words and sentences it is said which, where there are several.

    >>> from types import SimpleNamespace as Found
    >>> import pellucid as pl
    >>> chosen = [pl.Saliency(), pl.Saliency(reduce="squared"), pl.GradientXInput()]
    >>> titles([Found(method=method, grouping=None) for method in chosen])
    ["Saliency, reduce='signed'", "Saliency, reduce='squared'", 'GradientXInput']
    """
    named = [_title(each, explanations) for each in explanations]
    seen = [named[:i].count(name) + 1 for i, name in enumerate(named)]
    return [f"{name} {n}" if n > 1 else name for name, n in zip(named, seen, strict=True)]


def names_of(measurements: "Sequence[Measurement]", given: Sequence[str] | None) -> list[str]:
    """The names of the methods that were measured: those that are given, or their titles."""
    if given is None:
        alike = [SimpleNamespace(method=each.method, grouping=None) for each in measurements]
        return titles(cast("list[Explanation]", alike))
    if isinstance(given, str) or len(given) != len(measurements):
        raise InputError(
            f"`titles` must have a name for each of the {len(measurements)} measurements", got=given
        )
    return list(given)


def titled(explanation: Explanation, row: int | None = None) -> str:
    """The method, and the class that it explains of a sample, if classes are known by name.

    Without a row, the class that is explained of all samples, if it is one.
    """
    method, what = type(explanation.method).__name__, _class(explanation, row)
    return f"{method}: {what}" if what else method


def _class(explanation: Explanation, row: int | None) -> str:
    """What is explained of one sample, or of all, by the names of classes."""
    aim, schema = explanation.target, explanation.schema
    names = () if schema is None else schema.names_of(explanation.output)
    chosen = {*(aim.classes if row is None or len(aim.classes) == 1 else [aim.classes[row]])}
    if not names or len(chosen) != 1:
        return ""
    called = [names[k] for k in (*chosen, *(() if aim.against is None else (aim.against,)))]
    return " less ".join(f"class {name}" if name.isdecimal() else name for name in called)


def _title(explanation: Explanation, explanations: Sequence[Explanation]) -> str:
    method = explanation.method
    alike = [each.method for each in explanations if type(each.method) is type(method)]
    differing = [
        f"{field.name}={getattr(method, field.name)!r}"
        for field in fields(method)
        if len({repr(getattr(each, field.name)) for each in alike}) > 1
    ]
    units = {each.grouping.unit if each.grouping else "token" for each in explanations}
    unit = explanation.grouping.unit if explanation.grouping else "token"
    by = [f"by {unit}"] if len(units) > 1 else []
    return ", ".join([type(method).__name__, *differing, *by])
