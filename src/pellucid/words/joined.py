"""Players of texts joined to those of words or sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.features import NOBODY, Players


@dataclass(frozen=True, kw_only=True, eq=False)
class Joined:
    """Players that stand for groups of others.

    `to` (sample, player) is the new number of each former player; `players` are the new ones.
    """

    players: Players
    to: Tensor

    def sums(self, values: Tensor) -> Tensor:
        """The values (sample, player) of the former players, summed for each of the new."""
        found = values.new_zeros(len(values), self.players.count + 1)
        to = torch.where(self.to < 0, self.players.count, self.to).to(values.device)
        return found.scatter_add_(1, to, values)[:, :-1]


def joined(
    players: Players,
    members: Sequence[Sequence[int]],
    texts: Sequence[Sequence[str]],
    fit: Sequence[bool],
    unit: str,
) -> Joined:
    """Players that have all elements of a group of tokens, in those inputs that `fit` says.

    `members` has the group of each token of each sample, `texts` what each group is called. Players
    of other inputs stay what they are; a group without players is nobody's.

    >>> tokens = Players(labels=(torch.tensor([[0, 1, 2]]),), count=3)
    >>> found = joined(tokens, [[0, 0, 1]], [["unseen", "things"]], [True], "word")
    >>> found.sums(torch.tensor([[1.0, 2.0, 4.0]])).tolist(), found.players.names
    ([[3.0, 4.0]], (('unseen', 'things'),))
    """
    rows = [
        _Row.of(players.select(torch.tensor([i])), own, texts[i], fit, unit)
        for i, own in enumerate(members)
    ]
    wide = max(map(len, texts))
    labels = [
        torch.tensor([[*row.labels[place], *[NOBODY] * wide][:wide] for row in rows])
        if fits
        else torch.cat([row.others[place] for row in rows])
        for place, fits in enumerate(fit)
    ]
    made = Players(
        labels=tuple(each.to(old.device) for each, old in zip(labels, players.labels, strict=True)),
        count=max(len(row.names) for row in rows),
        names=tuple(row.names for row in rows),
    )
    return Joined(players=made, to=torch.stack([row.to for row in rows]))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Row:
    """One sample: the new number of each player, what the new are called, and where they are.

    `labels` has, for an input that was grouped, the new player of each group; `others` the labels
    of each other input.
    """

    to: Tensor
    names: tuple[str, ...]
    labels: dict[int, list[int]]
    others: dict[int, Tensor]

    @classmethod
    def of(
        cls,
        players: Players,
        groups: Sequence[int],
        texts: Sequence[str],
        fit: Sequence[bool],
        unit: str,
    ) -> "_Row":
        to = torch.full((players.count,), NOBODY)
        names: list[str] = []
        labels, others = {}, {}
        for place, own in enumerate(players.labels):
            if not fit[place]:
                for player in own[own >= 0].unique().tolist():
                    if to[player] < 0:
                        to[player] = len(names)
                        names.append(players.named(0)[player])
                others[place] = torch.where(own < 0, NOBODY, to.to(own.device)[own])
                continue
            found = _members(own, groups, len(texts))
            labels[place] = [NOBODY] * len(texts)
            for group, inside in enumerate(found):
                if not inside:
                    continue
                _check_whole(to, inside, players, texts[group], unit)
                labels[place][group] = len(names)
                to[inside] = len(names)
                names.append(texts[group])
        return cls(to=to, names=tuple(names), labels=labels, others=others)


def _members(labels: Tensor, groups: Sequence[int], count: int) -> list[list[int]]:
    """The players in each group of tokens; `labels` have shape (1, token, ...)."""
    tokens = labels.reshape(1, labels.shape[1], -1)[0].cpu().expand(len(groups), -1)
    found: list[set[int]] = [set() for _ in range(count)]
    for group, row in zip(groups, tokens.tolist(), strict=True):
        found[group].update(player for player in row if player >= 0)
    return [sorted(each) for each in found]


def _check_whole(to: Tensor, inside: list[int], players: Players, text: str, unit: str) -> None:
    """Raise for a player that is already in another group."""
    torn = [player for player in inside if to[player] >= 0]
    if torn:
        raise InputError(
            f"Players must each be part of one {unit} to be summed to {unit}s",
            found=f"the player {players.named(0)[torn[0]]!r}, of which a part is in {text!r}",
            hint=f"Ask for {unit}s as players: features=Features.words(...).",
        )
