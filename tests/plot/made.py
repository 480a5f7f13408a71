"""Explanations made by hand, for tests of how they are shown."""

from typing import Any

import torch
from torch import Tensor

import pellucid as pl
from pellucid.explanation import Completeness, Explanation
from pellucid.features import Players


def made(values: Any, *, inputs: Any = None, method: Any = None, **fields: Any) -> Explanation:
    """An explanation with these values, of shape (batch, ...), and inputs that do not matter."""
    values = torch.as_tensor(values, dtype=torch.float32)
    rows = len(values)
    given = torch.linspace(0, 1, values.numel()).reshape(values.shape) if inputs is None else inputs
    fields.setdefault("output", torch.tensor([[2.0, 1.0, 0.0]]).expand(rows, 3))
    return Explanation(
        values=values,
        inputs=given,
        score=torch.full((rows,), 2.0),
        target=pl.Target.of(0),
        method=pl.Saliency() if method is None else method,
        **fields,
    )


def image(values: Any, **fields: Any) -> Explanation:
    """An explanation of one image of one channel, from its rows of pixels."""
    return made(torch.as_tensor(values, dtype=torch.float32)[None, None], **fields)


def of_players(
    values: Any,
    *,
    labels: Any = None,
    names: tuple[tuple[str, ...], ...] = (),
    inputs: Any = None,
    error: Any = None,
    expected: float | None = None,
    **fields: Any,
) -> Explanation:
    """An explanation of players (sample, player); without labels each is a column of a table.

    With `expected`, the method claims that the values of every sample sum to it.
    """
    players = torch.as_tensor(values, dtype=torch.float64)
    labels = torch.arange(players.shape[1])[None] if labels is None else torch.as_tensor(labels)
    found = Players(labels=(labels,), count=players.shape[1], names=names)
    (spread,) = found.spread(players)
    if inputs is None:
        inputs = torch.linspace(0, 1, spread.numel()).reshape(spread.shape)
    errors = None if error is None else torch.as_tensor(error, dtype=torch.float64)
    law = None
    if expected is not None:
        law = Completeness(players.sum(1), torch.full((len(players),), expected).double())
    return made(
        spread,
        inputs=inputs,
        features=found,
        players=players,
        error=None if errors is None else found.spread(errors)[0],
        player_error=errors,
        completeness=law,
        **fields,
    )


def completeness(explained: float, expected: float) -> Completeness:
    """A law for one sample."""
    return Completeness(torch.tensor([explained]), torch.tensor([expected]))


def ramp(*shape: int) -> Tensor:
    """Values from -1 to 1."""
    return torch.linspace(-1, 1, torch.Size(shape).numel()).reshape(shape)
