"""Texts as codes of their pieces, of shape (sample, word)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pellucid.border.schema import Piece, Schema
from pellucid.errors import InputError

# A word, with apostrophes inside of it; or signs that stand by themselves.
WORD = re.compile(r"\w+(?:['\N{RIGHT SINGLE QUOTATION MARK}]\w+)*|(?<!\S)[^\w\s]+(?!\S)")


def pieces(text: str) -> Iterator[Piece]:
    """The words of a text, each with what stands before the first, and after each.

    >>> list(pieces("It's not bad!"))
    [('', "It's", ' '), ('', 'not', ' '), ('', 'bad', '!')]
    """
    found = list(WORD.finditer(text))
    ends = [*(each.start() for each in found[1:]), len(text)][: len(found)]
    for number, (each, end) in enumerate(zip(found, ends, strict=True)):
        before = "" if number else text[: each.start()]
        yield before, each.group(), text[each.end() : end]


@dataclass(frozen=True)
class Vocabulary:
    """The pieces that are known so far, with their codes, which count from 1."""

    codes: dict[Piece, int] = field(default_factory=dict)

    def encode(self, texts: Sequence[str], width: int = 0) -> Tensor:
        """Codes of shape (sample, word), at least `width` words wide, 0 where there is nothing."""
        rows = [[self._code(piece) for piece in pieces(text)] for text in texts]
        made = torch.zeros(len(rows), max([width, *map(len, rows)]), dtype=torch.long)
        for row, codes in enumerate(rows):
            made[row, : len(codes)] = torch.tensor(codes)
        return made

    def masked(self, codes: Tensor, mask: str) -> Tensor:
        """The codes of texts with another word, a mask, in the place of each of theirs."""
        known = [("", "", ""), *self.codes]
        found = {
            code: self._code((known[code][0], mask, known[code][2]))
            for code in codes.unique().tolist()
            if code > 0
        }
        table = torch.tensor([found.get(code, 0) for code in range(len(known))])
        return table[codes]

    def schema(self) -> Schema:
        """What decodes these codes."""
        return Schema(layout="texts", pieces=tuple(self.codes))

    def _code(self, piece: Piece) -> int:
        before, _, after = piece
        for each in (piece, (before, "", after)):  # and what remains where its word is absent
            self.codes.setdefault(each, len(self.codes) + 1)
        return self.codes[piece]


def encode(texts: Sequence[str]) -> tuple[Vocabulary, Tensor]:
    """The codes of texts, of shape (sample, word), and the vocabulary that they are of."""
    vocabulary = Vocabulary()
    codes = vocabulary.encode(texts)
    if codes.numel() == 0:
        raise InputError("Texts must have at least one word", found=f"{list(texts)[:3]!r}")
    return vocabulary, codes


def encode_baseline(vocabulary: Vocabulary, codes: Tensor, given: Sequence[str]) -> Tensor:
    """One reference for each text: texts word for word, or one word, a mask, for all of them."""
    if len(given) == 1 and len(given[0].split()) == 1:
        return vocabulary.masked(codes, given[0].strip())
    found = vocabulary.encode(given, codes.shape[1])
    if len(found) == 1 and len(codes) > 1:
        found = found.expand(len(codes), -1)
    if found.shape != codes.shape or not torch.equal(found > 0, codes > 0):
        raise InputError(
            "A baseline of texts must have as many words as the texts, for it replaces them word "
            "for word",
            found=f"{(found > 0).sum(1).tolist()} words for {(codes > 0).sum(1).tolist()}",
            hint='Without a baseline words are removed; baseline=["[MASK]"] puts that word '
            "in their place.",
        )
    return found
