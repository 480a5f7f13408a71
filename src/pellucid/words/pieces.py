"""Tokens as a reader wants them: words put together again, special tokens set apart."""

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

# From which letter of a text to before which.
Span: TypeAlias = tuple[int, int]

# [CLS], [SEP], <s>, </s>, <pad>, <|endoftext|>; not <0xC3>
SPECIAL = re.compile(r"\[[A-Z_]+\d*\]|<(?!0x[0-9A-F]{2}>)[^\s<>]+>")
# What SentencePiece writes for one byte of a letter that its vocabulary lacks.
BYTE = re.compile(r"<0x([0-9A-F]{2})>")
APOSTROPHES = ("'", "\N{RIGHT SINGLE QUOTATION MARK}")
# What follows an apostrophe within a word of English, where a tokenizer sets it apart.
CONTRACTED = {"d", "ll", "m", "re", "s", "t", "ve"}
NEWLINE, BLANK = "\N{RETURN SYMBOL}", "\N{OPEN BOX}"


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One token or word as it is shown: its text, and whether a space stands before it.

    `special` tokens are marks of the tokenizer, not words of the text.
    """

    text: str
    spaced: bool
    special: bool = False


class Spelling(NamedTuple):
    """The text that tokens make up, and where in it each is; `None` for special tokens."""

    text: str
    spans: list[Span | None]


class _Token(NamedTuple):
    """A token without its mark; its text is `coded` in the letters that stand for bytes."""

    text: str
    spaced: bool
    special: bool = False
    coded: bool = False


def pieces(tokens: Sequence[str]) -> list[Piece]:
    """Read the marks by which tokenizers say where a word goes on.

    WordPiece marks what continues a word (`##ing`), SentencePiece and byte-level BPE what starts
    one (`▁the`, `Ġthe`), others what ends one (`ing</w>`) or does not (`th@@`). Tokens without any
    mark are words, but for English contractions, of which some tokenizers make three (`don ' t`).

    >>> "".join(" " * p.spaced + p.text for p in pieces(["it", "is", "un", "##seen", "[SEP]"]))
    ' it is unseen [SEP]'
    >>> "".join(" " * p.spaced + p.text for p in pieces(["un", "seen", "Ġthings"]))
    'unseen things'
    """
    return [
        Piece(
            text=each.text if each.special else visible(_decoded(each)),
            spaced=each.spaced,
            special=each.special,
        )
        for each in _unmarked(tokens)
    ]


def spell(tokens: Sequence[str]) -> Spelling:
    """Write the text that tokens make up, by the marks that `pieces` reads.

    A letter whose bytes several tokens share is in the span of each of them.

    >>> spell(["[CLS]", "un", "##seen", "things"])
    Spelling(text='  unseen things', spans=[None, (2, 4), (4, 8), (9, 15)])
    """
    written, ends = bytearray(), []
    for each in _unmarked(tokens):
        written += b" " * each.spaced
        start = len(written)
        written += b"" if each.special else _bytes(each)
        ends.append(None if each.special else (start, len(written)))
    text = written.decode("utf-8", "surrogateescape")
    # Which letter each byte is a part of.
    letters = [i for i, x in enumerate(text) for _ in x.encode("utf-8", "surrogateescape")]
    letters.append(len(text))
    spans = [
        None if end is None else (letters[end[0]], letters[end[1] - 1] + 1 if end[1] else 0)
        for end in ends
    ]
    return Spelling(re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text), spans)


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


def _unmarked(tokens: Sequence[str]) -> list[_Token]:
    """The tokens without the marks of the tokenizer that made them."""
    words = [token for token in tokens if not SPECIAL.fullmatch(token)]
    if any("Ġ" in word or "Ċ" in word for word in words):
        return [_after_space(token, "Ġ") for token in tokens]
    if any(word.startswith("▁") or BYTE.fullmatch(word) for word in words):
        return [_after_space(token, "▁") for token in tokens]
    if any(word.startswith("##") and len(word) > 2 for word in words):
        return _contracted([_continued(token) for token in tokens])
    if any(word.endswith("</w>") for word in words):
        return _ended(tokens, lambda token: token.endswith("</w>"), "</w>")
    if any(word.endswith("@@") and len(word) > 2 for word in words):
        return _ended(tokens, lambda token: not token.endswith("@@"), "@@")
    return _contracted([_continued(token) for token in tokens])


def _continued(token: str) -> _Token:
    if SPECIAL.fullmatch(token):
        return _Token(token, spaced=True, special=True)
    glued = token.startswith("##") and len(token) > 2
    return _Token(token[2:] if glued else token, spaced=not glued)


def _contracted(tokens: list[_Token]) -> list[_Token]:
    """Tokens with those of a contraction put together: not a letter in quotes (`' s '`)."""
    found = list(tokens)
    texts = ["" if each.special else each.text for each in tokens] + [""]
    for i in range(1, len(tokens) - 1):
        before, mark, after, then = texts[i - 1 : i + 3]
        inside = mark in APOSTROPHES and before.isalpha() and after.lower() in CONTRACTED
        if inside and then not in APOSTROPHES:
            found[i : i + 2] = [each._replace(spaced=False) for each in tokens[i : i + 2]]
    return found


def _after_space(token: str, mark: str) -> _Token:
    if SPECIAL.fullmatch(token):
        return _Token(token, spaced=True, special=True)
    spaced = token.startswith(mark)
    coded = mark == "Ġ" or bool(BYTE.fullmatch(token))
    return _Token(token[len(mark) :] if spaced else token, spaced=spaced, coded=coded)


def _ended(tokens: Sequence[str], ends: Callable[[str], bool], mark: str) -> list[_Token]:
    """Tokens of which each says whether it ends a word."""
    special = [bool(SPECIAL.fullmatch(token)) for token in tokens]
    texts = [
        token if alone or token == mark else token.removesuffix(mark)
        for token, alone in zip(tokens, special, strict=True)
    ]
    coded = _are_bytes([text for text, alone in zip(texts, special, strict=True) if not alone])
    found, ended = [], True
    for token, text, alone in zip(tokens, texts, special, strict=True):
        found.append(_Token(text, spaced=alone or ended, special=alone, coded=coded and not alone))
        ended = alone or ends(token)
    return found


def _are_bytes(texts: Sequence[str]) -> bool:
    """Whether letters stand for bytes: read so, all of them together are a text."""
    known = _bytes_of_letters()
    letters = "".join(texts)
    try:
        bytes(known[letter] for letter in letters).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return False
    return True


def _decoded(token: _Token) -> str:
    """Undo the letters that byte-level BPE writes for bytes; a part of a letter stays as it is."""
    try:
        return _bytes(token).decode("utf-8") if token.coded else token.text
    except UnicodeDecodeError:
        return token.text


def _bytes(token: _Token) -> bytes:
    known = _bytes_of_letters()
    byte = BYTE.fullmatch(token.text)
    if token.coded and byte:
        return bytes.fromhex(byte[1])
    if token.coded and all(letter in known for letter in token.text):
        return bytes(known[letter] for letter in token.text)
    return token.text.encode("utf-8", "replace")


@functools.cache
def _bytes_of_letters() -> dict[str, int]:
    """Bytes that print stand for themselves, all others for the letters from 256 on."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(b): b for b in printed} | {chr(256 + i): b for i, b in enumerate(others)}
