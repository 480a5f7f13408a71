"""What is said of samples, in sentences that can be put together from those of batches.

A sentence with a number in it would differ with the batch size. So a method hands over the numbers:
how many samples something holds for, or from where to where a number ranges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many of the samples something holds for; nothing is said where it is none.

    `text` has a place for "3 of 150 samples"; `what` names what is counted.

    >>> one = Share(text="{} do not add up.", some=1, of=2)
    >>> str(one.plus(Share(text=one.text, some=0, of=3)))
    '1 of 5 samples do not add up.'
    """

    text: str
    some: int
    of: int
    what: str = "samples"

    @property
    def key(self) -> tuple[str, str]:
        """What two remarks must share to be one."""
        return self.text, self.what

    def plus(self, other: Remark) -> Remark:
        """The same of more samples."""
        if not isinstance(other, Share):
            return self
        return replace(self, some=self.some + other.some, of=self.of + other.of)

    def __bool__(self) -> bool:
        return self.some > 0

    def __str__(self) -> str:
        return self.text.format(f"{self.some} of {self.of} {self.what}")


@dataclass(frozen=True, kw_only=True)
class Span:
    """From where to where a whole number of each sample ranges; `text` has a place for it.

    >>> str(Span(text="It took {} steps.", low=27, high=27).plus(
    ...     Span(text="It took {} steps.", low=81, high=81)))
    'It took 27 to 81 steps.'
    """

    text: str
    low: int
    high: int

    @property
    def key(self) -> tuple[str, str]:
        """What two remarks must share to be one."""
        return self.text, ""

    def plus(self, other: Remark) -> Remark:
        """The same of more samples."""
        if not isinstance(other, Span):
            return self
        return replace(self, low=min(self.low, other.low), high=max(self.high, other.high))

    def __str__(self) -> str:
        span = str(self.low) if self.low == self.high else f"{self.low} to {self.high}"
        return self.text.format(span)


Remark: TypeAlias = str | Share | Span


def joined(remarks: Iterable[Remark]) -> tuple[Remark, ...]:
    """Remarks on several batches as those on all of their samples, each once, in order.

    >>> joined(["Once.", "Once."])
    ('Once.',)
    """
    found: dict[object, Remark] = {}
    for remark in remarks:
        if isinstance(remark, str):
            found[remark] = remark
        else:
            held = found.get(remark.key)
            found[remark.key] = (
                remark if held is None or isinstance(held, str) else held.plus(remark)
            )
    return tuple(found.values())


def sentences(remarks: Iterable[Remark]) -> list[str]:
    """What there is to say, joined and in words."""
    return [str(remark) for remark in joined(remarks) if remark]
