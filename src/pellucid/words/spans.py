"""Where the words and the sentences of a text are."""

import re
import unicodedata
from collections.abc import Iterator

from pellucid.words.pieces import Span

# A word, in the kinds of its letters: `a` letters and digits, `d` digits, `m` what is written on
# another letter, `h` Chinese characters, `j` what joins two letters, `t` what joins two digits.
WORD = re.compile(r"[ad][adm]*(?:(?:j(?=[ad])|(?<=d)t(?=d))[ad][adm]*)*|[hjtp]m*|m+")
SENTENCE_END = re.compile(
    r"[.!?…](?:\s*[.!?…])*[\"'”’»)\]]*(?=\s|$)"  # noqa: RUF001  # quotes of print
    r"|[。！？]+[”’」』）]*"  # noqa: RUF001  # marks of Chinese and Japanese
    r"|\n+"
)
# A full stop in one of these ends no sentence; a tokenizer may have set it apart.
ABBREVIATION = re.compile(r"\b(?:mr|mrs|ms|dr|prof|st|vs|cf|e *\. *g|i *\. *e) *\.", re.IGNORECASE)
# One that a tokenizer took apart.
NUMBER = re.compile(r"\d \. \d")
KINDS = {"L": "a", "N": "a", "M": "m", "Z": "s", "P": "p", "S": "p", "C": "p"}


def words(text: str) -> list[Span]:
    """The words of a text, and each of its marks of punctuation, in order.

    Apostrophes and hyphens within a word, and points within a number, belong to it; a Chinese
    character is a word, since nothing says where words end.

    >>> text = "It's 3.5 stars."
    >>> [text[start:stop] for start, stop in words(text)]
    ["It's", '3.5', 'stars', '.']
    """
    return [found.span() for found in WORD.finditer("".join(map(_kind, text)))]


def sentences(text: str) -> list[Span]:
    """The sentences of a text, in order: all of it but the white space between them.

    A sentence ends with a line, or at one of . ! ? … before a space: not in an abbreviation as
    common as Mr and e.g., nor between digits, where there is a space before it too (`3 . 5`).

    >>> text = "Dr. Low paid 3.5 dollars! Really?"
    >>> [text[start:stop] for start, stop in sentences(text)]
    ['Dr. Low paid 3.5 dollars!', 'Really?']
    """
    ends = [*_ends(text), len(text)]
    found = [_trimmed(text, *span) for span in zip([0, *ends], ends, strict=False)]
    return [(start, stop) for start, stop in found if start < stop]


def _ends(text: str) -> Iterator[int]:
    inside = {i for found in ABBREVIATION.finditer(text) for i in range(*found.span())}
    for found in SENTENCE_END.finditer(text):
        within = found.start() in inside or NUMBER.match(text, max(0, found.start() - 2))
        if not (found.group() == "." and within):
            yield found.end()


def _trimmed(text: str, start: int, stop: int) -> Span:
    inner = text[start:stop]
    return start + len(inner) - len(inner.lstrip()), stop - len(inner) + len(inner.rstrip())


def _kind(letter: str) -> str:
    """One letter for what a letter is, as `WORD` reads them."""
    if letter in "'\N{RIGHT SINGLE QUOTATION MARK}-\N{HYPHEN}":
        return "j"
    if letter in ".,":
        return "t"
    if letter.isspace():
        return "s"
    category = unicodedata.category(letter)
    if category == "Nd":
        return "d"
    if category == "Cf":
        return "m"
    return "h" if _is_chinese(letter) else "a" if letter == "_" else KINDS[category[0]]


def _is_chinese(letter: str) -> bool:
    return (
        "\u3400" <= letter <= "\u9fff" or "\uf900" <= letter <= "\ufaff" or letter >= "\U00020000"
    )
