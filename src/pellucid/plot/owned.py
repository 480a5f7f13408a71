"""The players of one input of one sample, as a map shows them instead of their elements."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.explanation import Explanation
from pellucid.plot.color import Floats
from pellucid.plot.names import with_values
from pellucid.structure import Keys, leaves
from pellucid.words.pieces import Piece, pieces, visible


class Owned(NamedTuple):
    """What a map of players shows: their values, errors and names; for a text, their words."""

    values: Floats
    errors: Floats | None
    labels: tuple[str, ...]
    words: tuple[Piece, ...] = ()


def labels_at(sample: Explanation, path: Keys) -> Tensor | None:
    """The player of each element of one input of one sample, where it has players."""
    features = sample.features
    if features is None or sample.players is None or sample.at is not None:
        return None
    paths = [found for found, _ in leaves(sample.inputs)]
    return features.labels[paths.index(path)][0].cpu() if path in paths else None


def columns(sample: Explanation, path: Keys, names: Sequence[str] | None) -> Owned | None:
    """The players of a table."""
    labels = labels_at(sample, path)
    if labels is None or labels.ndim != 1:
        return None
    own = labels[labels >= 0].unique()
    called = with_values(sample, names=names)
    return Owned(*_of(sample, own), tuple(called[i] for i in own.tolist()))


def titles(
    sample: Explanation, count: int, tokens: Sequence[str] | None, names: Sequence[str] | None
) -> tuple[str, ...]:
    """What a schema calls the columns or words of a sample, where the user names none."""
    if sample.schema is None or names is not None or tokens is not None:
        return ()
    row = next(leaf for _, leaf in leaves(sample.inputs))[0]
    if row.ndim != 1:  # an array of images or signals, of which nothing has a name
        return ()
    found = sample.schema.titles(row)
    named = tuple(each if each.strip() else visible(each) for each in found)
    return named if len(found) == count else ()


def words(sample: Explanation, path: Keys, tokens: Sequence[str] | None) -> Owned | None:
    """The players of a text, where they have names or are of several tokens: its words."""
    labels, features = labels_at(sample, path), sample.features
    if labels is None or labels.ndim != 1 or features is None:
        return None
    parts = list(_runs(labels.tolist()))
    if not features.names and len(parts) == len(labels):
        return None  # every token is a player, and named as tokens are
    called = features.named(0)
    given = _written(sample) if tokens is None else pieces(tokens)
    end = 0 if given is None else len(given)  # behind it is padding
    kept = [run for run in parts if run[0] >= 0 or run[1] < end]
    found = []
    for player, start, stop in kept:
        piece = _joined(given, start, stop)
        if player >= 0 and features.names and given is None:
            piece = Piece(text=visible(called[player]), spaced=True)
        found.append(piece)
    places = torch.tensor([player for player, _, _ in kept], dtype=torch.long)
    texts = tuple(piece.text for piece in found)
    return Owned(*_of(sample, places), texts, tuple(found))


def _written(sample: Explanation) -> list[Piece] | None:
    """The words of a text with the signs around them, where its schema knows them."""
    schema = sample.schema
    if schema is None or not schema.is_text:
        return None
    (leaf,) = [leaf for _, leaf in leaves(sample.inputs)]
    known = [schema.pieces[code - 1] for code in leaf[0].tolist() if code > 0]
    found, prefix, spaced = [], "".join(before for before, _, _ in known[:1]).lstrip(), True
    for _, word, after in known:
        # Signs without a space between belong to the word before, or to the one behind.
        ends = after.split()
        apart = after[:1].isspace()
        own = "" if apart or not ends else ends[0]
        found.append(Piece(text=visible(prefix + word + own), spaced=spaced))
        spaced = apart or after[-1:].isspace() or len(ends) > 1
        rest = ends if apart else ends[1:]
        prefix = "" if after[-1:].isspace() else "".join(rest)
    return found


def regions(
    sample: Explanation, path: Keys, shape: tuple[int, ...]
) -> NDArray[np.integer[Any]] | None:
    """The player of each pixel (height, width), where players are of several pixels."""
    labels = labels_at(sample, path)
    if labels is None or labels.ndim != 3 or 1 not in (labels.shape[0], labels.shape[-1]):
        return None
    flat = labels[0] if labels.shape[0] == 1 else labels[..., 0]
    if flat.shape != shape or len(flat.unique()) == flat.numel():
        return None
    return flat.numpy()


def _of(sample: Explanation, players: Tensor) -> tuple[Floats, Floats | None]:
    """The values and errors of some players of one sample; those of nobody are zero."""
    errors = sample.player_error
    return _taken(sample.players, players), None if errors is None else _taken(errors, players)


def _taken(values: Tensor | None, players: Tensor) -> Floats:
    row = torch.zeros(0) if values is None else values[0].detach().cpu()
    padded = torch.cat([row.double(), torch.zeros(1, dtype=torch.float64)])
    return padded[torch.where(players < 0, len(row), players)].numpy()


def _runs(labels: list[int]) -> Iterator[tuple[int, int, int]]:
    """Each run of tokens of one player: the player, the first token, and that after the last."""
    for player, run in groupby(enumerate(labels), key=lambda each: each[1]):
        places = [place for place, _ in run]
        yield player, places[0], places[-1] + 1


def _joined(given: list[Piece] | None, start: int, stop: int) -> Piece:
    """The tokens of a player as one piece; by number, where nobody has said what they are."""
    if given is None:
        text = f"{start}" if stop - start == 1 else f"{start} to {stop - 1}"
        return Piece(text=text, spaced=True)
    own = given[start:stop]
    text = "".join(" " * (each.spaced and i > 0) + each.text for i, each in enumerate(own))
    return Piece(text=text, spaced=own[0].spaced, special=all(each.special for each in own))
