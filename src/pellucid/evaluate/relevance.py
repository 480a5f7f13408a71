"""How much an explanation gives to each player, whatever players it was made for."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.batching import wide
from pellucid.errors import InputError
from pellucid.explanation import Explanation
from pellucid.features import Players
from pellucid.structure import leaves, outline


def relevance(
    explanation: Explanation, players: Players, step: Sequence[Tensor] | None = None
) -> Tensor:
    """The relevance of each player, of shape (sample, player), in double precision.

        R_p = sum of values over the elements of p      (of |values| where these are slopes)

    Shares of a score add up with their signs; a slope (a gradient, say) tells by its size how much
    its element matters. A map with one channel counts once where channels go together, and for
    each channel where they are apart. What was explained for players is shared out evenly to the
    elements of each, so that the same players get back their own values. With a `step` for each
    input, a slope stands for what it expects of that: the sum of values times step.
    """
    found = []
    slope = explanation.method.is_slope
    for place, (values, labels) in enumerate(
        zip(densities(explanation), players.labels, strict=True)
    ):
        size = values if not slope else values.abs() if step is None else values * step[place]
        found.append(_sums(size, labels.to(values.device), players.count))
    return torch.stack(found).sum(0)


def densities(explanation: Explanation) -> list[Tensor]:
    """The values of each element, in double precision, as shares of those of players."""
    own = explanation.features
    if own is not None and explanation.players is not None:
        given = explanation.players
        sizes = [_sums(torch.ones(t.shape), t, own.count) for t in own.labels]
        size = torch.stack([s.expand(len(given), -1) for s in sizes]).sum(0)
        return own.spread(given.to(wide(given)) / size.clamp_min(1).to(given.device))
    return [leaf.to(wide(leaf)) for _, leaf in leaves(explanation.values)]


def _sums(values: Tensor, labels: Tensor, count: int) -> Tensor:
    """The sum of values (sample, ...) over the elements of each label, (sample, count)."""
    if values.shape[1:] != labels.shape[1:]:
        values, labels = _fitted(values, labels)
    rows = max(len(values), len(labels))
    flat = labels.reshape(len(labels), -1).expand(rows, -1)
    places = torch.where(flat < 0, count, flat)
    sums = torch.zeros(rows, count + 1, dtype=wide(values), device=values.device)
    numbers = values.reshape(len(values), -1).expand(rows, -1).to(sums)
    return sums.scatter_add_(1, places, numbers)[:, :count]


def _fitted(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one shape: channels go together in the labels, or the values have only one."""
    try:
        shape = torch.broadcast_shapes(values.shape[1:], labels.shape[1:])
    except RuntimeError as error:
        raise InputError(
            f"Values must have the size of what they are judged on, {list(labels.shape[1:])}",
            found=outline(values),
            hint="Maps of layers must be upsampled: upsample=True.",
        ) from error
    return values.expand(-1, *shape), labels.expand(-1, *shape)
