"""Ordered lists of rules: if ... then, else if ... then, else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid.inspect.surrogate.columns import Floats
from pellucid.inspect.surrogate.conditions import Bools, Condition, all_hold, merged
from pellucid.inspect.surrogate.search import best_rule


@dataclass(frozen=True, kw_only=True)
class Rule:
    """If all conditions hold and no earlier rule's do: the mean answer of such samples.

    `share` is what part of all samples it decides.
    """

    conditions: tuple[Condition, ...]
    answer: tuple[float, ...]
    share: float


@dataclass(frozen=True, kw_only=True)
class RuleList:
    """Rules, of which the first that holds decides; else `otherwise` does.

    `otherwise` is the mean answer of all samples if there is no rule at all.
    """

    rules: tuple[Rule, ...]
    otherwise: tuple[float, ...]

    @property
    def size(self) -> int:
        """The number of rules."""
        return len(self.rules)

    @property
    def features(self) -> tuple[int, ...]:
        """The features that are read."""
        read = [each.feature for rule in self.rules for each in rule.conditions]
        return tuple(dict.fromkeys(read))

    @property
    def share(self) -> float:
        """What part of all samples no rule decides."""
        return max(0.0, 1 - sum(rule.share for rule in self.rules))

    def place(self, features: Floats) -> NDArray[np.int64]:
        """The rule that decides each sample, of shape (sample,); beyond the last if none does."""
        found = np.full(len(features), len(self.rules))
        for i in reversed(range(len(self.rules))):
            found[all_hold(self.rules[i].conditions, features)] = i
        return found

    def answer(self, features: Floats) -> Floats:
        """What the list says, of shape (sample, output)."""
        said = [*(rule.answer for rule in self.rules), self.otherwise]
        return np.array(said)[self.place(features)]

    def reasons(self) -> dict[int, tuple[Condition, ...]]:
        """The conditions of each rule."""
        return {i: rule.conditions for i, rule in enumerate(self.rules)} | {self.size: ()}


def grow(features: Floats, answers: Floats, *, most: int, depth: int, least: int) -> list[RuleList]:
    """Lists of 0, 1, 2, ... rules, each with one rule more than the one before.

    Of the samples that one rule decides, or that none does, another rule of at most `depth`
    conditions sets some apart, as `search.best_rule` finds it; it comes right before the one that
    decided them. It is done where it takes most off the squared error.
    Source: Rivest (1987), Learning Decision Lists; Clark and Niblett (1989), The CN2 Induction
    Algorithm, for the search that keeps several candidates.
    """

    def block(rows: Bools, conditions: tuple[Condition, ...]) -> _Block:
        found = best_rule(features[rows], answers[rows], depth=depth - len(conditions), least=least)
        apart = rows & all_hold(found, features) if found else np.zeros_like(rows)
        cut = _error(answers[rows]) - _error(answers[apart]) - _error(answers[rows & ~apart])
        return _Block(conditions, rows, merged([*conditions, *found]), apart, cut if found else 0.0)

    blocks = [block(np.ones(len(features), dtype=bool), ())]
    lists = [_list(blocks, answers)]
    while len(lists) <= most:
        i = max(range(len(blocks)), key=lambda i: blocks[i].cut)
        old = blocks[i]
        if old.cut <= 0:
            break
        blocks[i : i + 1] = [
            block(old.apart, old.next),
            block(old.rows & ~old.apart, old.conditions),
        ]
        lists.append(_list(blocks, answers))
    return lists


class _Block(NamedTuple):
    """The samples that a rule decides, and the rule that would set some of them apart."""

    conditions: tuple[Condition, ...]
    rows: Bools
    next: tuple[Condition, ...]
    apart: Bools
    cut: float


def _list(blocks: Sequence[_Block], answers: Floats) -> RuleList:
    """The rules of all blocks but the last, which is what none of them decides."""
    said = [tuple(answers[each.rows].mean(axis=0).tolist()) for each in blocks]
    made = (
        Rule(conditions=each.conditions, answer=answer, share=float(each.rows.mean()))
        for each, answer in zip(blocks[:-1], said, strict=False)
    )
    return RuleList(rules=tuple(made), otherwise=said[-1])


def _error(answers: Floats) -> float:
    """The squared error of the mean."""
    return float(((answers - answers.mean(axis=0)) ** 2).sum()) if len(answers) else 0.0
