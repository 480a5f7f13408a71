"""Many samples at once: how large the values of each player are, and for which values of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from pellucid.errors import InputError
from pellucid.explanation import Explanation
from pellucid.plot.color import Floats
from pellucid.plot.names import categories, given, plain
from pellucid.plot.parts import check_explanation, check_most
from pellucid.structure import leaves


@dataclass(frozen=True, kw_only=True, eq=False)
class Summary:
    """The values of the same players in many samples.

    `values` and `given` have shape (sample, player): what a player is worth, and the number that it
    has in the sample, not a number where it has none. `names` has one for each player, and
    `categories` those of which its numbers are the codes, none where they are numbers.
    """

    names: tuple[str, ...]
    values: Floats
    given: Floats
    categories: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, explanation: Explanation, *, names: Sequence[str] | None = None) -> "Summary":
        """Take the players of all samples, or the columns of a table."""
        check_explanation(explanation)
        if explanation.players is None or explanation.features is None:
            return _columns(explanation, names)
        features = explanation.features
        called = {plain(explanation, row) for row in range(len(features.names))}
        if not features.shared or len(called) > 1:
            raise InputError(
                "Samples must have the same players to be summed up",
                got=explanation.method,
                hint="A table's samples have; those of texts and superpixels are drawn one by one.",
            )
        return cls(
            names=plain(explanation, 0, names),
            values=_array(explanation.players),
            given=given(explanation),
            categories=categories(explanation),
        )

    @property
    def order(self) -> list[int]:
        """The players with the largest mean size first."""
        return np.argsort(-self.sizes()[0], kind="stable").tolist()

    def sizes(self) -> tuple[Floats, Floats]:
        """The mean of |value| of each player over the samples, and the standard error of it.

        Values that are not finite are left out.
        """
        found = np.ma.masked_invalid(np.abs(self.values))
        counts = np.maximum(found.count(axis=0), 1)
        mean = found.mean(axis=0).filled(0.0)
        several = np.maximum(counts - 1, 1)
        spread = np.sqrt(((found - mean) ** 2).sum(axis=0).filled(0.0) / several)
        return mean, np.where(counts > 1, spread / np.sqrt(counts), np.nan)

    def strongest(self, most: int) -> "Summary":
        """Those with the largest mean size, and the sum of the others in each sample."""
        check_most(most)
        order = self.order
        kept, others = order[:most], order[most:]
        if len(others) <= 1:
            return self._of(order)
        rest = np.nansum(self.values[:, others], axis=1, keepdims=True)
        chosen = self._of(kept)
        return replace(
            chosen,
            names=(*chosen.names, f"{len(others)} others"),
            values=np.hstack([chosen.values, rest]),
            given=np.hstack([chosen.given, np.full_like(rest, np.nan)]),
            categories=(*chosen.categories, ()),
        )

    def _of(self, players: list[int]) -> "Summary":
        """Some of the players, in that order."""
        return replace(
            self,
            names=tuple(self.names[i] for i in players),
            values=self.values[:, players],
            given=self.given[:, players],
            categories=tuple(self.categories[i] for i in players),
        )


def _columns(explanation: Explanation, names: Sequence[str] | None) -> Summary:
    """The columns of a table without players."""
    first = explanation.batch_first()
    found = [leaf for _, leaf in leaves(first.values)]
    inputs = [leaf for _, leaf in leaves(first.inputs)]
    if len(found) != 1 or found[0].ndim != 2 or explanation.at is not None:
        raise InputError(
            "Values of many samples must be those of players, or of one table",
            got=explanation.values,
            hint="Ask a method with `features`, or draw one sample.",
        )
    if names is not None and len(names) != found[0].shape[1]:
        raise InputError(f"`names` must name all {found[0].shape[1]} features", got=len(names))
    count = found[0].shape[1]
    own = _array(inputs[0]) if inputs[0].is_floating_point() else np.full(found[0].shape, np.nan)
    return Summary(
        names=tuple(map(str, names or [f"feature {i}" for i in range(count)])),
        values=_array(found[0]),
        given=own,
        categories=((),) * count,
    )


def _array(values: Tensor) -> Floats:
    return values.detach().cpu().double().numpy()
