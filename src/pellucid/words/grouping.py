"""Which tokens make up which word or sentence, and the values of tokens summed for each."""

import bisect
import itertools
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.errors import InputError, UnknownNameError
from pellucid.explanation import Explanation
from pellucid.structure import Keys, Structure, leaves, transform_at
from pellucid.words import spans
from pellucid.words.joined import joined
from pellucid.words.pieces import Piece, Span, Spelling, pieces, spell, visible

if TYPE_CHECKING:
    import pandas as pd

Unit: TypeAlias = Literal["word", "sentence", "token"]

UNITS: tuple[Unit, ...] = ("word", "sentence", "token")
SPANS: dict[str, Callable[[str], list[Span]]] = {"word": spans.words, "sentence": spans.sentences}
PADDING = re.compile(r"\W*pad\W*", re.IGNORECASE)
# Marks of the end of a text, with which models that know no padding are padded.
END = re.compile(r"<\|?(?:/s|eos|end_?of_?text|eot_id|im_end)\|?>", re.IGNORECASE)

TOKENS_HINT = "For ids: [tokenizer.convert_ids_to_tokens(row) for row in ids.tolist()]."


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Which tokens of each text make up which of its words, or sentences.

    `members` has, for each sample, the number of the group that each token is in: from 0 on, in
    the order of the text. `pieces` has what each group is called, and `unit` what all of them are.
    `paths` lead to the values that `group` summed.
    """

    members: tuple[tuple[int, ...], ...]
    pieces: tuple[tuple[Piece, ...], ...]
    unit: str = "word"
    paths: tuple[Keys, ...] = ()

    @classmethod
    def of(
        cls,
        tokens: Sequence[str] | Sequence[Sequence[str]],
        by: Unit = "word",
        *,
        texts: str | Sequence[str] | None = None,
        offsets: Any = None,
    ) -> "Grouping":
        """Read the words, or the sentences, from the tokens of each sample, padding included.

        Words are told by the marks of the tokenizer (`##ing`, `▁the`, `Ġthe`); better still, from
        the `texts` themselves and the `offsets` of their tokens, pairs (first letter, end), where
        the tokenizer gives them. Each mark of punctuation is a word; each special token is one,
        and one sentence; neighboring padding is one, and so are marks of the end (`<|endoftext|>`)
        that are repeated at either end. A token that is part of two words joins them.

        >>> found = Grouping.of([["[CLS]", "un", "##seen", "things", ".", "[SEP]"]])
        >>> found.members
        ((0, 1, 1, 2, 3, 4),)
        >>> found.labels(0)
        ('[CLS]', 'unseen', 'things', '.', '[SEP]')
        """
        if by not in UNITS:
            raise UnknownNameError("`by`, what tokens are joined to,", by, UNITS)
        rows = _rows_of(tokens)
        spelled = _spelled(rows, texts, offsets)
        made = [_grouped(row, spelling, by) for row, spelling in zip(rows, spelled, strict=True)]
        return cls(
            members=tuple(members for members, _ in made),
            pieces=tuple(found for _, found in made),
            unit=by,
        )

    def labels(self, row: int) -> tuple[str, ...]:
        """The texts of the groups of one sample."""
        return tuple(piece.text for piece in self.pieces[row])

    def select(self, rows: Sequence[int]) -> "Grouping":
        """Keep some samples."""
        return replace(
            self,
            members=tuple(self.members[row] for row in rows),
            pieces=tuple(self.pieces[row] for row in rows),
        )

    def named(self, frame: "pd.DataFrame", path: Keys) -> "pd.DataFrame":
        """The table of the values at a path, with the text of each group that a sample has.

        A table of values that were not summed stays as it is.
        """
        if path not in self.paths:
            return frame
        wide = max(map(len, self.pieces))
        texts = [(*self.labels(row), *[None] * wide)[:wide] for row in range(len(self.pieces))]
        frame = frame.rename(columns={"feature": self.unit})
        found = [texts[i][j] for i, j in zip(frame["sample"], frame[self.unit], strict=True)]
        frame.insert(frame.columns.get_loc("value"), "text", found)
        return frame[[each is not None for each in found]].reset_index(drop=True)


def group(explanation: Explanation, grouping: Grouping) -> Explanation:
    """Sum the values of the tokens of each group: shape (sample, token) becomes (sample, group).

    Those of (sample, token, feature) are summed over features too. A sample of fewer groups than
    another has zeros at the end.
    """
    if explanation.grouping is not None:
        raise InputError(
            "What is grouped must be an explanation of tokens",
            found=f"one of {explanation.grouping.unit}s",
            hint="Group the explanation that this one was made of.",
        )
    axes = explanation.value_axes(explanation.values)
    found = {path: leaf for path, leaf in leaves(explanation.values) if axes[path] is not None}
    shapes = {path: leaf.movedim(axes[path] or 0, 0).shape for path, leaf in found.items()}
    named = (len(grouping.members), *{len(row) for row in grouping.members})
    fit = [path for path, shape in shapes.items() if len(shape) in (2, 3) and shape[:2] == named]
    if not fit:
        raise _misfit(named, list(shapes.values()))
    index = _padded(grouping.members)

    def summed(path: Any, values: Tensor) -> Tensor:
        return _sums(values, index, axes[path] or 0) if path in fit else values

    errors = explanation.error
    made = replace(
        explanation,
        values=transform_at(summed, explanation.values),
        error=None if errors is None else transform_at(summed, errors),
        notes=(*explanation.notes, *_notes(grouping.unit, errors is not None)),
        grouping=replace(grouping, paths=tuple(fit)),
    )
    return made if explanation.players is None else _of_players(explanation, made)


def _of_players(former: Explanation, found: Explanation) -> Explanation:
    """What was grouped, by the sums of players: each element has the value of all of its player."""
    grouping, features = found.grouping, former.features
    if grouping is None or features is None or former.players is None:
        return found
    paths = [path for path, _ in leaves(former.values)]
    texts = [grouping.labels(row) for row in range(len(grouping.pieces))]
    fit = [path in grouping.paths for path in paths]
    made = joined(features, grouping.members, texts, fit, grouping.unit)
    values = made.sums(former.players)
    error = None if former.player_error is None else made.sums(former.player_error)

    def spread(tree: Structure, table: Tensor | None) -> Structure:
        if table is None:
            return tree
        axes, new = found.value_axes(tree), made.players.spread(table)
        by_path = dict(zip(paths, new, strict=True))
        return transform_at(
            lambda path, old: (
                by_path[path].movedim(0, min(axes[path] or 0, 1)).to(old)
                if path in grouping.paths
                else old
            ),
            tree,
        )

    return replace(
        found,
        values=spread(found.values, values),
        error=spread(found.error, error),
        features=made.players,
        players=values,
        player_error=error,
    )


def _notes(unit: str, sampled: bool) -> Iterator[str]:
    if unit != "token":
        yield f"The values of tokens are summed to one a {unit}."
        if sampled:
            # Errors of the tokens of one run are correlated: their sum is a bound.
            yield f"The standard error of a {unit} is at most that given, the sum over its tokens."


def _sums(values: Tensor, index: Tensor, samples: int) -> Tensor:
    """Sum over the tokens of each group, and keep the axis of the samples where it is."""
    first = values.movedim(samples, 0)
    flat = first.flatten(2).sum(2) if first.ndim > 2 else first
    sums = flat.new_zeros(len(flat), int(index.max()) + 1)
    sums = sums.scatter_add(1, index.to(flat.device), flat)
    return sums.movedim(0, min(samples, 1))


def _padded(members: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor([list(row) for row in members])


def _misfit(named: tuple[int, ...], shapes: list[torch.Size]) -> InputError:
    """What to say where tokens do not fit the values."""
    samples, *counts = named
    counted = " or ".join(map(str, sorted(counts)))
    sizes = " and ".join(str(list(shape)) for shape in shapes)
    return InputError(
        "`tokens` must name every token of every sample, for values of shape (sample, token)",
        found=f"{counted} tokens of {samples} samples for values of shape {sizes}",
        hint=f"Keep the tokens of padding. {TOKENS_HINT}",
    )


def _rows_of(tokens: Any) -> list[list[str]]:
    """The tokens of each sample; a list of strings is that of one."""
    given = list(tokens) if isinstance(tokens, Sequence) and not isinstance(tokens, str) else []
    if given and all(isinstance(each, str) for each in given):
        given = [given]
    rows = [list(row) if isinstance(row, Sequence) else [] for row in given]
    strings = all(isinstance(each, str) for row in rows for each in row)
    if any(isinstance(row, str) for row in given) or not strings or not rows or not all(rows):
        raise InputError(
            "`tokens` must be a list of strings for each sample", got=tokens, hint=TOKENS_HINT
        )
    if len({len(row) for row in rows}) > 1:
        raise InputError(
            "`tokens` must have as many strings for each sample",
            found=f"{[len(row) for row in rows]}",
            hint="Keep the tokens of padding, so that there is one for each id.",
        )
    return rows


def _spelled(rows: list[list[str]], texts: Any, offsets: Any) -> list[Spelling]:
    """The text of each sample and where its tokens are: as given, else as the tokens say."""
    if texts is None and offsets is None:
        return [spell(row) for row in rows]
    if texts is None or offsets is None:
        raise InputError(
            "`texts` and `offsets` must be given together",
            found="only " + ("`texts`" if offsets is None else "`offsets`"),
        )
    given = [texts] if isinstance(texts, str) else list(texts)
    places = _places(offsets)
    if len(given) != len(rows) or [len(each) for each in places] != [len(row) for row in rows]:
        raise InputError(
            "`texts` must have one string for each sample, and `offsets` one pair for each token",
            found=f"{len(given)} texts, {[len(each) for each in places]} pairs and "
            f"{[len(row) for row in rows]} tokens",
        )
    return [_located(row, text, each) for row, text, each in zip(rows, given, places, strict=True)]


def _places(offsets: Any) -> list[list[Span]]:
    """Offsets of shape (sample, token, 2) or, for one sample, (token, 2), as pairs."""
    if hasattr(offsets, "tolist"):
        offsets = offsets.tolist()
    try:
        given = (
            [offsets] if len(offsets[0]) == 2 and not hasattr(offsets[0][0], "__len__") else offsets
        )
        return [[(int(start), int(stop)) for start, stop in row] for row in given]
    except (IndexError, TypeError, ValueError) as error:
        raise InputError(
            "`offsets` must have a pair (first letter, end) for each token of each sample",
            got=offsets,
            hint='Take "offset_mapping" of a fast tokenizer of Hugging Face, or encoding.offsets.',
        ) from error


def _located(row: list[str], text: str, places: list[Span]) -> Spelling:
    """A text and where its tokens are; what a tokenizer adds has the offset (0, 0)."""
    for start, stop in places:
        if not 0 <= start <= stop <= len(text):
            raise InputError(
                f"Offsets must be from 0 to {len(text)}, the length of the text, in order",
                got=(start, stop),
            )
    own = [piece.special for piece in pieces(row)]
    return Spelling(
        text,
        [
            None if special or (place == (0, 0) and token.strip("▁Ġ ")) else place
            for token, place, special in zip(row, places, own, strict=True)
        ],
    )


def _grouped(
    row: list[str], spelling: Spelling, by: Unit
) -> tuple[tuple[int, ...], tuple[Piece, ...]]:
    """The group of each token, and what each group is called."""
    shown = pieces(row)
    if by == "token":
        return tuple(range(len(row))), tuple(shown)
    places = _joined(SPANS[by](spelling.text), spelling.spans)
    keys = _keys(row, spelling, places)
    members, found = [], []
    for i, key in enumerate(keys):
        if i == 0 or key != keys[i - 1]:
            found.append(_piece(key, shown[i], spelling.text))
        members.append(len(found) - 1)
    return tuple(members), tuple(found)


def _joined(found: list[Span], tokens: Sequence[Span | None]) -> list[Span]:
    """Words as spans, those that a token is part of at once joined to one."""
    starts, stops = [start for start, _ in found], [stop for _, stop in found]
    glued: set[int] = set()
    for start, stop in filter(None, tokens):
        first, last = bisect.bisect_right(stops, start), bisect.bisect_left(starts, stop) - 1
        glued.update(range(first + 1, last + 1))
    joined: list[Span] = []
    for i, span in enumerate(found):
        if i in glued:
            joined[-1] = (joined[-1][0], span[1])
        else:
            joined.append(span)
    return joined


def _keys(row: list[str], spelling: Spelling, places: list[Span]) -> list[Hashable]:
    """What tokens of one group have in common: their word, else being padding, else nothing."""
    stops = [stop for _, stop in places]
    keys: list[Hashable] = []
    ends = _ends(row)
    for i, (token, span) in enumerate(zip(row, spelling.spans, strict=True)):
        if span is None:
            keys.append("padding" if PADDING.fullmatch(token) else token if i in ends else i)
            continue
        at = bisect.bisect_right(stops, span[0])
        inside = at < len(places) and places[at][0] < span[1]
        keys.append(places[at] if inside else i)
    # The mark of a word alone, a space, belongs to the word that it starts.
    for i in range(len(row) - 2, -1, -1):
        span, following = spelling.spans[i], spelling.spans[i + 1]
        if span and following and keys[i] == i and span[1] == following[0]:
            keys[i] = keys[i + 1] if not spelling.text[slice(*span)].strip(" ") else i
    return keys


def _ends(row: list[str]) -> set[int]:
    """Where the marks of the end of a text are with which a row starts, or ends."""
    runs = [list(run) for _, run in itertools.groupby(range(len(row)), key=row.__getitem__)]
    return {i for run in (runs[0], runs[-1]) if END.fullmatch(row[run[0]]) for i in run}


def _piece(key: Hashable, token: Piece, text: str) -> Piece:
    """What a group is called: the text of its word, or its only token."""
    if not isinstance(key, tuple):
        return token
    start, stop = key
    spaced = start == 0 or text[start - 1].isspace()
    return Piece(text=visible_line(text[start:stop]), spaced=spaced)


def visible_line(text: str) -> str:
    """A word or sentence on one line: spaces within it are kept, other white space has a form."""
    return " ".join(visible(part) for part in re.sub(r" +", " ", text).split(" "))
