"""The order of players by their relevance, sample by sample, and inputs without the first ones."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.background import Background
from pellucid.baseline import Baseline, BaselineLike
from pellucid.errors import InputError, show
from pellucid.evaluate.relevance import relevance
from pellucid.evaluate.retrain.data import chunks_of, packed, placed
from pellucid.explanation import Explanation
from pellucid.features import Features, FeaturesLike, Players
from pellucid.method import Method
from pellucid.pooling import channels_last
from pellucid.seeding import seeded
from pellucid.structure import Inputs, leaves

# The rank of what a sample does not have, for it has fewer players than others.
NONE = torch.iinfo(torch.int32).max


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """The places of players: `ranks` (sample, player), 0 for the most relevant; `counts` (sample,).

    `constant` says of how many samples all players had the same relevance, which says nothing.
    """

    ranks: Tensor
    counts: Tensor
    constant: int = 0

    @classmethod
    def of(
        cls,
        method: Method,
        model: Any,
        inputs: Inputs,
        targets: list[int] | None,
        features: Features,
        seed: int,
        batch_size: Any = "auto",
    ) -> "Ranking":
        """Explain all samples, chunk by chunk, and keep but the order of the players."""
        found = []
        for rows in chunks_of(inputs):
            explanation = method(
                model,
                packed(placed(inputs.select(rows), model)),
                target=None if targets is None else [targets[row] for row in rows.tolist()],
                batch_size=batch_size,
                on_incomplete="ignore",
            )
            found.append(_of_chunk(explanation, features, rows, inputs.rows, seed))
        width = max(each.ranks.shape[1] for each in found)
        return cls(
            ranks=torch.cat([_wider(each.ranks, width) for each in found]),
            counts=torch.cat([each.counts for each in found]),
            constant=sum(each.constant for each in found),
        )

    def removed(self, fraction: float, *, keep: bool, rows: Tensor) -> Tensor:
        """Which players of some samples are to go, (sample, player): a fraction of each one's.

        The most relevant ones, or, to `keep` these, the least.
        """
        counts = self.counts[rows].unsqueeze(1)
        ranks = self.ranks[rows].long()
        number = (fraction * counts + 0.5).floor()
        return (ranks < counts) & (ranks >= counts - number if keep else ranks < number)


def features_of(given: FeaturesLike, inputs: Inputs) -> Features:
    """The players that are removed: if nothing is said, single pixels, positions, tokens, columns.

    >>> features_of(None, Inputs.of(torch.zeros(2, 3, 4, 4)))
    Features.patches(size=(1,))
    """
    if given is not None or len(inputs.leaves) != 1 or not inputs.leaves[0].is_floating_point():
        return Features.of(given)
    axes = inputs.leaves[0].ndim
    return Features.windows(1) if axes == 3 else Features.patches(1) if axes > 3 else Features()


def order(given: Tensor, alive: Tensor, generators: list[torch.Generator]) -> Tensor:
    """The rank of each player (sample, player) by its relevance; equal ones in random order.

    An order by place would remove the upper left corner of every map that is partly zero, which
    a retrained model could learn. Those that are not `alive` come last.
    """
    draws = torch.stack([torch.rand(given.shape[1], generator=each) for each in generators])
    shuffled = draws.argsort(dim=1)
    sizes = torch.where(alive, given, -torch.inf).gather(1, shuffled)
    sorted_ = shuffled.gather(1, sizes.argsort(dim=1, descending=True, stable=True))
    ranks = sorted_.argsort(dim=1)
    return torch.where(alive, ranks, NONE).to(torch.int32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Fill:
    """What takes the place of removed elements: a baseline, or the `means` of the training set.

    Means are those of each channel, over samples and positions; of a column of a table, over the
    samples, or what most have; words of texts are left out.
    """

    given: Baseline | None = None
    means: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, given: BaselineLike, inputs: Inputs, features: Features) -> "Fill":
        """Take a baseline; if there is none, find the means of the inputs to train on."""
        if given is not None:
            baseline = Baseline.of(given)
            if baseline.kind == "per_sample":
                raise InputError("`fill` must be one for all samples", got=baseline)
            baseline.check(inputs)
            Baseline.only([*baseline.background(inputs.select(slice(1)))])
            return cls(given=baseline)
        if inputs.schema is not None and inputs.schema.is_text:
            return cls()
        if inputs.schema is not None:
            return cls(means=(_of_columns(inputs),))
        return cls(means=tuple(_means(inputs, features)))

    def into(self, inputs: Inputs, masks: list[Tensor]) -> Inputs:
        """Inputs, with this where the masks (sample, ...) are false."""
        if self.given is not None:
            background = self.given.background(inputs)
            if isinstance(background, Background) and background.filling is not None:
                return inputs.replace(background.filling(list(inputs.leaves), masks))
            other = list(Baseline.only(background).leaves)
        elif inputs.schema is not None and inputs.schema.is_text:
            other = [inputs.schema.absence(leaf) for leaf in inputs.leaves]
        else:
            other = list(self.means)
        return inputs.replace([
            torch.where(mask.bool().to(leaf.device), leaf, new.to(leaf))
            for mask, leaf, new in zip(masks, inputs.leaves, other, strict=True)
        ])  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Removal:
    """What is removed and what takes its place.

    To `keep` what is most relevant, the least goes. `leak` has the means that stand for absence
    where models are to see only the pattern of it, if they are.
    """

    features: Features
    fill: Fill
    keep: bool
    leak: Fill | None = None

    @classmethod
    def of(
        cls, features: FeaturesLike, fill: BaselineLike, inputs: Inputs, *, keep: bool, leak: bool
    ) -> "Removal":
        """Check what a user says of it, for the inputs to train on."""
        chosen = features_of(features, inputs)
        chosen.check(inputs)
        return cls(
            features=chosen,
            fill=Fill.of(fill, inputs, chosen),
            keep=bool(keep),
            leak=leak_of(inputs, chosen) if leak else None,
        )


def without(
    inputs: Inputs,
    ranking: Ranking,
    features: Features,
    fill: Fill,
    fraction: float,
    *,
    keep: bool,
    shown: Inputs | None = None,
) -> Inputs:
    """Inputs without a fraction of the players of each sample.

    Where they are there, something else may be `shown`, of the same shapes.
    """
    parts = []
    for rows in chunks_of(inputs):
        chunk = inputs.select(rows)
        players = players_of(features, chunk, rows, inputs.rows)
        gone = ranking.removed(fraction, keep=keep, rows=rows)[:, : players.count]
        masks = players.present(~_fitting(gone, players.count), torch.arange(len(rows)))
        parts.append(fill.into(chunk if shown is None else shown.select(rows), masks).leaves)
    return inputs.replace([torch.cat(column) for column in zip(*parts, strict=True)])


def silhouette(inputs: Inputs, train: Inputs, fill: Fill) -> Inputs:
    """Inputs in which all samples are alike: one deviation of the training set above its means."""
    return inputs.replace([
        (mean + tensor[~tensor.isnan()].double().std().to(mean)).expand_as(leaf)
        for leaf, tensor, mean in zip(inputs.leaves, train.leaves, fill.means, strict=True)
    ])  # fmt: skip


def leak_of(inputs: Inputs, features: Features) -> Fill:
    """The means that stand for absence where only the pattern of what is absent is to be seen."""
    schema = inputs.schema
    coded = schema is not None and (schema.is_text or schema.has_categories)
    if coded or not all(leaf.is_floating_point() for leaf in inputs.leaves):
        raise InputError(
            "`leak` must be asked of inputs that are numbers",
            got=inputs.leaves if schema is None else schema,
            hint="Ids, categories and texts have nothing between there and absent.",
        )
    return Fill.of(None, inputs, features)


def players_of(features: Features, inputs: Inputs, rows: Tensor, total: int) -> Players:
    """The players of some samples of all."""
    found = features.players(inputs, rows, total)
    return found if inputs.schema is None else inputs.schema.named(found, inputs)


def _of_chunk(
    explanation: Explanation, features: Features, rows: Tensor, total: int, seed: int
) -> Ranking:
    """The order of the players in one chunk."""
    _check_finite(explanation)
    own = _inputs_of(explanation)
    players = players_of(features, own, rows, total)
    found = relevance(explanation, players).cpu()
    alive = players.alive.cpu().expand(len(found), -1)
    generators = [seeded(seed, row) for row in rows.tolist()]
    low = torch.where(alive, found, torch.inf).amin(1)
    high = torch.where(alive, found, -torch.inf).amax(1)
    return Ranking(
        ranks=order(found, alive, generators),
        counts=players.counts.cpu().expand(len(found)).contiguous(),
        constant=int((low >= high).sum()),
    )


def _inputs_of(explanation: Explanation) -> Inputs:
    """As the explanation has encoded them: its texts may be narrower than all texts are."""
    given = explanation.inputs
    if explanation.schema is None:
        return Inputs.of(given)
    return Inputs(leaves=(given,), tree=given, schema=explanation.schema)  # with what is missing


def _check_finite(explanation: Explanation) -> None:
    bad = sum(int((~leaf.isfinite()).sum()) for _, leaf in leaves(explanation.values))
    if bad:
        raise InputError(
            "Values must be finite to rank players by them",
            found=f"{bad} that are not, by {explanation.method.name}",
        )


def _wider(ranks: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(ranks, (0, width - ranks.shape[1]), value=NONE)


def _fitting(gone: Tensor, count: int) -> Tensor:
    """One column a player; what is beyond those that were ranked stays."""
    return torch.nn.functional.pad(gone, (0, count - gone.shape[1]), value=False)


def _means(inputs: Inputs, features: Features) -> list[Tensor]:
    """The mean of every channel, of a shape that broadcasts over the samples."""
    labels = features.players(inputs.select(slice(1))).labels
    found = []
    for name, leaf, label in zip(inputs.labels(), inputs.leaves, labels, strict=True):
        if leaf.is_floating_point():
            found.append(_mean(leaf))
        elif bool((label < 0).all()):  # always there, as masks of attention are
            found.append(leaf[:1])
        else:
            raise InputError(
                f"`fill` must say which whole number takes the place of removed ones of `{name}`",
                found=show(leaf),
                hint="For token ids fill=Baseline.token(id), of the padding or the mask token.",
            )
    return found


def _mean(leaf: Tensor) -> Tensor:
    channel = leaf.ndim - 1 if leaf.ndim < 3 or channels_last(leaf.shape[1:]) else 1
    axes = [axis for axis in range(leaf.ndim) if axis != channel]
    return leaf.double().mean(axes, keepdim=True).to(leaf)


def _of_columns(inputs: Inputs) -> Tensor:
    """What a column has on the mean, or mostly where it holds categories; (1, column, ...)."""
    (rows,), schema = inputs.leaves, inputs.schema
    found = rows.double().nanmean(0, keepdim=True)
    kinds = schema.kinds if schema is not None else ()
    for place, kind in enumerate(kinds):
        if kind == "categorical":
            found[:, place] = rows[:, place].mode().values
    return found
