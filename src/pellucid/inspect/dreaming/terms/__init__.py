"""The regularisers of dreams, by name."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from pellucid.errors import InputError
from pellucid.inspect.dreaming.terms.blur import Blur
from pellucid.inspect.dreaming.terms.clip import ClipContribution, ClipNorm
from pellucid.inspect.dreaming.terms.decay import Decay
from pellucid.inspect.dreaming.terms.jitter import Jitter
from pellucid.inspect.dreaming.terms.l2 import L2
from pellucid.inspect.dreaming.terms.range import Range
from pellucid.inspect.dreaming.terms.term import TERMS, Correction, Cost, Motion, Term
from pellucid.inspect.dreaming.terms.total_variation import TotalVariation
from pellucid.inspect.dreaming.terms.warp import Rotate, Scale

__all__ = [
    "L2", "TERMS", "Blur", "ClipContribution", "ClipNorm", "Correction", "Cost", "Decay", "Jitter",
    "Motion", "Range", "Rotate", "Scale", "Term", "TermLike", "TotalVariation", "terms_of",
]  # fmt: skip

TermLike: TypeAlias = str | Cost | Motion | Correction


def terms_of(given: Any) -> tuple[Term, ...]:
    """Terms by name, with their defaults, or as they are made.

    >>> terms_of(["decay", Blur(width=0.5)])
    (Decay(rate=0.01), Blur(width=0.5, every=4))
    """
    listed: Sequence[Any] = [given] if isinstance(given, str | Term) else given
    if not isinstance(listed, list | tuple):
        raise InputError("`terms` must be a list of terms, or of their names", got=given)
    return tuple(map(TERMS.named, listed))
