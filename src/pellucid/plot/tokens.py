"""Tokens as a reader wants them: words put together again, special tokens set apart."""

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

# [CLS], [SEP], <s>, </s>, <pad>, <|endoftext|>
SPECIAL = re.compile(r"\[[A-Z_]+\d*\]|<[^\s<>]+>")
NEWLINE, BLANK = "\N{RETURN SYMBOL}", "\N{OPEN BOX}"


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One token as it is shown: its text, and whether a space stands before it.

    `special` tokens are marks of the tokenizer, not words of the text.
    """

    text: str
    spaced: bool
    special: bool = False


def pieces(tokens: Sequence[str]) -> list[Piece]:
    """Read the marks by which tokenizers say where a word goes on.

    WordPiece marks what continues a word (`##ing`), SentencePiece and byte-level BPE what starts
    one (`▁the`, `Ġthe`). Tokens without any mark are words.

    >>> "".join(" " * p.spaced + p.text for p in pieces(["it", "is", "un", "##seen", "[SEP]"]))
    ' it is unseen [SEP]'
    >>> "".join(" " * p.spaced + p.text for p in pieces(["un", "seen", "Ġthings"]))
    'unseen things'
    """
    words = [token for token in tokens if not SPECIAL.fullmatch(token)]
    if any("Ġ" in word or "Ċ" in word for word in words):
        return [_after_space(token, "Ġ") for token in tokens]
    if any(word.startswith("▁") for word in words):
        return [_after_space(token, "▁") for token in tokens]
    return [_continued(token) for token in tokens]


def _continued(token: str) -> Piece:
    if SPECIAL.fullmatch(token):
        return Piece(text=token, spaced=True, special=True)
    glued = token.startswith("##") and len(token) > 2
    return Piece(text=visible(token[2:] if glued else token), spaced=not glued)


def _after_space(token: str, mark: str) -> Piece:
    if SPECIAL.fullmatch(token):
        return Piece(text=token, spaced=True, special=True)
    spaced = token.startswith(mark)
    text = token[len(mark) :] if spaced else token
    return Piece(text=visible(_decoded(text) if mark == "Ġ" else text), spaced=spaced)


def isolated(text: str) -> str:
    """Keep what is written from right to left from turning the words around it."""
    if any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text):
        return f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"
    return text


def visible(text: str) -> str:
    """Give white space a form: a token that nobody sees cannot be pointed at.

    >>> visible("") == BLANK
    True
    """
    return re.sub(r"\s", BLANK, text.replace("\n", NEWLINE)) or BLANK


def _decoded(text: str) -> str:
    """Undo the letters that byte-level BPE writes for bytes; a part of a letter stays as it is."""
    known = _bytes_of_letters()
    try:
        return bytes(known[letter] for letter in text).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return text


@functools.cache
def _bytes_of_letters() -> dict[str, int]:
    """Bytes that print stand for themselves, all others for the letters from 256 on."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(b): b for b in printed} | {chr(256 + i): b for i, b in enumerate(others)}
