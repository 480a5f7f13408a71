"""Ways to cut one input tensor into players as the user says: groups of columns, words, a mask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import InputError, UnknownNameError, show
from pellucid.features.cuts import Cut, Parts, Sample
from pellucid.features.players import NOBODY
from pellucid.pooling import channels_last

# A group of columns: its name, and its columns by number or name.
Group = tuple[str, tuple[int | str, ...]]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Columns(Cut):
    """The columns of a table, of which groups go together.

    `names` are those of all columns, `groups` pairs of a name and the columns of a group. A column
    of no group is a player of its own; players are in the order of their first columns.
    """

    names: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()

    @property
    def said(self) -> str:
        """The names of the groups."""
        return show([name for name, _ in self.groups]) if self.groups else ""

    def parts(self, sample: Sample) -> Parts:
        """The players of a table, which all samples share."""
        leaf = sample.leaf
        if leaf.ndim != 2:
            raise InputError(
                f"Columns must be those of a table: `{sample.name}` of shape (batch, feature)",
                got=leaf,
                hint="For other shapes name the player of each element by a tensor of integers.",
            )
        count, names = leaf.shape[1], self.names or sample.columns
        if names and len(names) != count:
            raise InputError(
                f"`names` must have one name for each of the {count} columns of `{sample.name}`",
                found=f"{len(names)}: {show(list(names))}",
            )
        home, called = list(range(count)), list(names or map(str, range(count)))
        for name, members in self.groups:
            places = sorted(_column(each, count, names) for each in members)
            for place in places:
                home[place] = places[0]
            called[places[0]] = name
        self._check_overlap(count, names)
        order = {first: player for player, first in enumerate(sorted(set(home)))}
        labels = torch.tensor([[order[first] for first in home]])
        named = (tuple(called[first] for first in order),) if self.names or self.groups else ()
        return Parts(labels, named)

    def _check_overlap(self, count: int, names: tuple[str, ...]) -> None:
        owner: dict[int, str] = {}
        for name, members in self.groups:
            for each in members:
                place = _column(each, count, names)
                if place in owner:
                    shown = names[place] if names else place
                    raise InputError(
                        "A column must be in one group at most",
                        found=f"{shown!r} in {owner[place]!r} and {name!r}",
                    )
                owner[place] = name


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Words(Cut):
    """The words of each text, made of tokens: `members` (sample or 1, token), `NOBODY` for none."""

    members: tuple[tuple[int, ...], ...]
    names: tuple[tuple[str, ...], ...]

    @property
    def said(self) -> str:
        """Of how many texts."""
        return f"{len(self.members)} texts"

    def parts(self, sample: Sample) -> Parts:
        """The words of each sample; `members` are of all samples, or of one for all."""
        leaf, rows = sample.leaf, sample.rows
        if len(self.members) not in (1, sample.total) or leaf.ndim < 2:
            raise _misfit(self, sample)
        chosen = [0] if len(self.members) == 1 else rows.tolist()
        if any(len(self.members[row]) != leaf.shape[1] for row in chosen):
            raise _misfit(self, sample)
        labels = torch.tensor([self.members[row] for row in chosen])
        names = tuple(self.names[row] for row in chosen)
        return Parts(labels.reshape(*labels.shape, *[1] * (leaf.ndim - 2)), names)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TextWords(Cut):
    """The words of texts that are given as strings: each place, or equal words `together`."""

    together: bool

    def parts(self, sample: Sample) -> Parts:
        """The words of each sample, in the order in which they come first."""
        if not sample.words:
            raise InputError(
                "Words without `tokens` must be those of texts, which are lists of strings",
                got=sample.leaf,
                hint="Of ids name the tokens: Features.words(tokens).",
            )
        rows = [range(len(row)) for row in sample.words]
        members = [
            [place if word else NOBODY for place, word in zip(places, row, strict=True)]
            for places, row in zip(rows, sample.words, strict=True)
        ]
        if not self.together:
            return Parts(torch.tensor(members), tuple(tuple(filter(None, r)) for r in sample.words))
        found = [merged(row, words) for row, words in zip(members, sample.words, strict=True)]
        return Parts(torch.tensor([row for row, _ in found]), tuple(names for _, names in found))


def merged(members: Sequence[int], names: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """Players of one name joined to one: who each element belongs to, and the names.

    >>> merged([0, 1, 2, -1], ["so", "very", "so"])
    ([0, 1, 0, -1], ('so', 'very'))
    """
    order = {name: i for i, name in enumerate(dict.fromkeys(filter(None, names)))}
    return [NOBODY if each < 0 else order[names[each]] for each in members], tuple(order)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Mask(Cut):
    """The player of each element, by any whole numbers; those below zero are nobody's.

    `names` are those of some of the numbers.
    """

    labels: Tensor
    names: tuple[tuple[int, str], ...] = ()

    @property
    def said(self) -> str:
        """The shape of the labels."""
        return str(list(self.labels.shape))

    def parts(self, sample: Sample) -> Parts:
        """The players of each sample, numbered without gaps; the numbers given are their names."""
        given = self._fitted(sample)
        found = [_compact(row) for row in given]
        labels = torch.stack([row for row, _ in found])
        known = dict(self.names)
        plain = all(numbers == list(range(len(numbers))) for _, numbers in found)
        if plain and not known:
            return Parts(labels)
        names = tuple(tuple(known.get(n, str(n)) for n in numbers) for _, numbers in found)
        return Parts(labels, names)

    def _fitted(self, sample: Sample) -> Tensor:
        """The labels with the samples first; one row if all samples share them."""
        leaf, labels = sample.leaf, self.labels
        if labels.ndim == leaf.ndim and 0 < sample.axis < labels.ndim:
            labels = labels.movedim(sample.axis, 0)
        last = leaf.is_floating_point() and channels_last(leaf.shape[1:])
        if labels.ndim == leaf.ndim - 2:
            labels = labels.unsqueeze(-1 if last else 0)  # without channels
        if labels.ndim == leaf.ndim - 1:
            labels = labels.unsqueeze(0)
        within = labels.ndim == leaf.ndim and all(
            a in (1, b) for a, b in zip(labels.shape[1:], leaf.shape[1:], strict=True)
        )
        if not within or len(labels) not in (1, sample.total):
            raise InputError(
                f"A mask must have the shape of one sample of `{sample.name}`, "
                f"{list(leaf.shape[1:])}, or of the batch, "
                f"{[sample.total, *leaf.shape[1:]]}; the axis of channels may have length one",
                got=self.labels,
            )
        return labels if len(labels) == 1 else labels[sample.rows.to(labels.device)]


def mask_of(labels: Any, names: Mapping[int, str] | Sequence[str] = ()) -> Mask:
    """A mask of what the user gave: a tensor or array of whole numbers."""
    if type(labels).__module__.partition(".")[0] == "numpy":
        labels = torch.as_tensor(labels)
    whole = isinstance(labels, Tensor) and not (labels.is_floating_point() or labels.is_complex())
    if not whole or labels.dtype is torch.bool:
        raise InputError(
            "A mask must name the player of each element by a whole number",
            got=labels,
            hint="Convert it with mask.long().",
        )
    if labels.numel() == 0 or labels.max() < 0:
        raise InputError("A mask must have at least one player, from 0 on", got=labels)
    pairs = names.items() if isinstance(names, Mapping) else enumerate(names)
    named = tuple((int(number), str(name)) for number, name in pairs)
    if named and not isinstance(names, Mapping) and len(named) <= int(labels.max()):
        raise InputError(
            f"`names` must have one name for each number of a mask, up to {int(labels.max())}",
            found=f"{len(named)} names",
        )
    return Mask(labels=labels.detach().cpu().long().clone(), names=named)


def columns_of(groups: Any, names: Sequence[Any] | None) -> Columns:
    """Columns of what the user gave."""
    if names is not None and (isinstance(names, str) or not isinstance(names, Sequence)):
        names = list(names) if hasattr(names, "tolist") else _no_names(names)
    if groups is not None and not isinstance(groups, Mapping):
        raise InputError(
            "`groups` must be a dict of names and the columns of each",
            got=groups,
            hint='For example {"address": ["street", "city"]}.',
        )
    made = tuple((str(name), _members(name, given)) for name, given in (groups or {}).items())
    return Columns(names=tuple(map(str, names or ())), groups=made)


def words_of(tokens: Any, *, special: bool, together: bool) -> Words:
    """Words of what the user gave: the tokens of each sample, or a grouping of them."""
    from pellucid.words import Grouping
    from pellucid.words.grouping import PADDING

    found = tokens if isinstance(tokens, Grouping) else Grouping.of(tokens)
    members, names = [], []
    for row, pieces in zip(found.members, found.pieces, strict=True):
        kept = [
            not PADDING.fullmatch(each.text) and (special or not each.special) for each in pieces
        ]
        if not any(kept):
            raise InputError(
                "A text must have at least one word",
                found=f"only {show([each.text for each in pieces])}",
                hint="Special tokens are players where special=True.",
            )
        number = {old: new for new, old in enumerate(i for i, own in enumerate(kept) if own)}
        members.append(tuple(number.get(group, NOBODY) for group in row))
        names.append(tuple(pieces[i].text for i in number))
    if together:
        joined = [merged(row, own) for row, own in zip(members, names, strict=True)]
        members, names = [tuple(row) for row, _ in joined], [own for _, own in joined]
    return Words(members=tuple(members), names=tuple(names))


def _no_names(names: object) -> Sequence[Any]:
    raise InputError("`names` must be a list of the names of columns", got=names)


def _members(name: object, given: Any) -> tuple[int | str, ...]:
    """The columns of one group: at least one, each a number or a name."""
    items = [given] if isinstance(given, int | str) else list(given)
    if not items:
        raise InputError("A group must have at least one column", found=f"none in {name!r}")
    found = [each.item() if hasattr(each, "item") else each for each in items]
    for each in found:
        if isinstance(each, bool) or not isinstance(each, int | str):
            raise InputError("Columns of a group must be numbers or names", got=each)
    return tuple(found)


def _column(given: int | str, count: int, names: Sequence[str]) -> int:
    """The place of a column that is given by number or name."""
    if isinstance(given, str):
        if not names:
            raise InputError(
                "Columns without names must be given by number",
                got=given,
                hint="Or name all of them: Features.columns(groups, names=[...]).",
            )
        if names.count(given) != 1:
            raise UnknownNameError("The column of a group", given, names)
        return names.index(given)
    if not 0 <= given < count:
        raise InputError(f"The column of a group must be from 0 to {count - 1}", got=given)
    return given


def _compact(labels: Tensor) -> tuple[Tensor, list[int]]:
    """Labels without gaps, and the numbers that they had, in order."""
    numbers, index = labels.unique(return_inverse=True)
    below = int((numbers < 0).sum())
    return torch.where(labels < 0, NOBODY, index - below), numbers[below:].tolist()


def _misfit(words: Words, sample: Sample) -> InputError:
    return InputError(
        f"Words must be made of every token of `{sample.name}`, "
        f"{list(sample.leaf.shape[1:2])} of {sample.total} samples",
        found=f"{sorted({len(row) for row in words.members})} tokens of "
        f"{len(words.members)} samples",
        hint="Keep the tokens of padding.",
    )
