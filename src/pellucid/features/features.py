"""How an input is cut into players: the option `features` of every method that removes parts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.background import numbers
from pellucid.errors import InputError
from pellucid.features.cuts import (
    USUAL_COUNT,
    Auto,
    Channels,
    Cut,
    Elements,
    Grid,
    Nobody,
    Parts,
    Patches,
    Sample,
    Superpixels,
    Tokens,
    Windows,
)
from pellucid.features.groups import TextWords, columns_of, mask_of, words_of
from pellucid.features.players import NOBODY, Players
from pellucid.features.tree import Tree, correlated
from pellucid.options import number, one_of, whole
from pellucid.structure import Inputs, Keys, Structure, children, label

FeaturesLike: TypeAlias = "Features | Tensor | Structure | None"


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """What counts as one player.

    | made by | players |
    |---|---|
    | `None` | by the shape of the input: see below |
    | `Features.elements()` | every element |
    | `Features.patches(size)` | rectangles over all spatial axes; channels go together |
    | `Features.grid(count)` | so many parts on each spatial axis |
    | `Features.superpixels(count)` | connected regions whose pixels look alike, of each image |
    | `Features.tokens()` | every place of a text |
    | `Features.words(tokens)` | the tokens of a word |
    | `Features.words(together=True)` | every word of a text, wherever it stands |
    | `Features.windows(length)` | stretches of a signal |
    | `Features.channels()` | every channel |
    | `Features.columns(groups)` | columns of a table, those of a group together |
    | `Features.of_pipeline(fitted)` | the columns that a transformer made of one raw column |
    | `Features.nobody()` | none: the input is always there |
    | a tensor of whole numbers | the elements of one number; those below zero are always there |
    | these in the structure of the inputs | one of these for each input |

    Nothing said, each column of a table is a player, each token of a text, a sixteenth of a
    signal; an image of at least 64 x 64 pixels has 49 superpixels, a smaller one a grid of at most
    7 x 7 patches, a volume of 4 x 4 x 4. Masks of booleans and inputs whose name ends in `mask`,
    `type_ids` or `position_ids` are always there.

    >>> Features.of(torch.tensor([0, 0, 7])).players(Inputs.of(torch.zeros(2, 3))).names
    (('0', '7'),)
    """

    cuts: tuple[Cut, ...] = (Auto(),)
    paths: tuple[Keys, ...] = ((),)

    @classmethod
    def of(cls, given: FeaturesLike) -> "Features":
        """Take any of the forms in the table above."""
        if isinstance(given, Features):
            return given
        if given is None:
            return cls()
        if isinstance(given, Tensor) or hasattr(given, "__array__"):
            return cls.mask(given)
        if not children(given):
            raise InputError(
                "`features` must be a Features or a tensor of whole numbers, or these in the "
                "structure of the inputs",
                got=given,
                hint="For example Features.patches(16).",
            )
        found = list(_each(given))
        return cls(cuts=tuple(cut for _, cut in found), paths=tuple(path for path, _ in found))

    @classmethod
    def elements(cls) -> "Features":
        """Every element is a player."""
        return cls(cuts=(Elements(),))

    @classmethod
    def nobody(cls) -> "Features":
        """There are no players: the input is always there."""
        return cls(cuts=(Nobody(),))

    @classmethod
    def patches(cls, size: int | Sequence[int]) -> "Features":
        """Rectangles of `size` elements on every spatial axis; the last ones may be smaller."""
        return cls(cuts=(Patches(size=_sizes(size, "size")),))

    @classmethod
    def grid(cls, count: int | Sequence[int]) -> "Features":
        """So many parts on every spatial axis, as equal as may be: 7 make 49 of an image."""
        return cls(cuts=(Grid(count=_sizes(count, "count")),))

    @classmethod
    def superpixels(
        cls,
        count: int = USUAL_COUNT,
        *,
        compactness: float = 0.3,
        method: Literal["own", "skimage"] = "own",
    ) -> "Features":
        """About `count` connected regions whose pixels look alike, of each image by itself.

        `compactness` weighs the distance of pixels, in units of the usual region's side, against
        that of their colors, as fractions of the image's range: the larger, the squarer. With
        `method="skimage"` scikit-image's `slic` finds them, in the same scale.
        """
        must = "a number above 0"
        chosen = one_of(method, "`method` of superpixels", ("own", "skimage"))
        made = Superpixels(
            count=whole(count, "count", least=2),
            compactness=number(compactness, "compactness", must, above=0),
            method="skimage" if chosen == "skimage" else "own",
        )
        return cls(cuts=(made,))

    @classmethod
    def tokens(cls) -> "Features":
        """Every token is a player: (batch, token), or (batch, token, feature) with its features."""
        return cls(cuts=(Tokens(),))

    @classmethod
    def words(
        cls, tokens: Any = None, *, special: bool = False, together: bool = False
    ) -> "Features":
        """The tokens of a word are a player, by its text; padding is always there.

        `tokens` are the strings of each sample's tokens, or a `pellucid.words.Grouping`, which may
        also be one of sentences; texts that are given as strings need none. Special tokens
        (`[CLS]`) are always there too, unless `special`. Each word is a player where it stands, or
        equal words are one, `together` (a bag of words).

        >>> tokens = [["so", "very", "so"]]
        >>> ids = Inputs.of(torch.tensor([[4, 5, 4]]))
        >>> Features.words(tokens, together=True).players(ids).labels[0]
        tensor([[0, 1, 0]])
        """
        if tokens is None:
            return cls(cuts=(TextWords(together=together),))
        return cls(cuts=(words_of(tokens, special=special, together=together),))

    @classmethod
    def windows(
        cls, length: int, *, channels: Literal["together", "apart"] = "together"
    ) -> "Features":
        """Stretches of `length` positions of a signal, of all channels together or each apart."""
        one_of(channels, "`channels` of windows", ("together", "apart"))
        made = Windows(length=whole(length, "length"), apart=channels == "apart")
        return cls(cuts=(made,))

    @classmethod
    def channels(cls) -> "Features":
        """Every channel of a signal or image is a player."""
        return cls(cuts=(Channels(),))

    @classmethod
    def columns(
        cls,
        groups: Mapping[str, Any] | None = None,
        *,
        names: Sequence[Any] | None = None,
    ) -> "Features":
        """The columns of a table are players, those of a group one player.

        `groups` is a dict: the name of a group, and its columns by number or name. `names` are
        those of all columns, which a data frame has by itself.
        """
        return cls(cuts=(columns_of(groups, names),))

    @classmethod
    def of_pipeline(cls, fitted: Any) -> "Features":
        """The columns that a fitted transformer makes of one raw column are one player.

        `fitted` is a `ColumnTransformer`, an `OneHotEncoder`, any other transformer of
        scikit-learn, or a `Pipeline` of these; a model at its end is passed over. A column that is
        made of several (by PCA, say) joins them. It is for models that get what was transformed;
        one that gets raw columns needs no groups.
        """
        from pellucid.features.pipeline import groups_of

        return cls.columns(groups_of(fitted))

    @classmethod
    def mask(cls, labels: Any, *, names: Mapping[int, str] | Sequence[str] = ()) -> "Features":
        """The player of each element, by whole numbers; of one sample's shape, or the batch's.

        Numbers below zero are always there. There may be gaps, in which case players are named by
        their numbers, or as `names` says.
        """
        return cls(cuts=(mask_of(labels, names),))

    def players(
        self, inputs: Inputs, rows: Tensor | None = None, total: int | None = None
    ) -> Players:
        """The players of a batch of inputs: of those `rows` of all `total` samples."""
        found = [cut.parts(sample) for cut, sample in self._pairs(inputs, rows, total)]
        made = _joined(found, inputs)
        if made.count:
            return made
        if inputs.rows == (inputs.rows if total is None else total) or self == Features.nobody():
            raise InputError(
                "Inputs must have at least one player", got=self, hint="See Features for the kinds."
            )
        return replace(made, count=1)  # other batches have some, as they would in this one

    def tree(self, data: Any) -> Tree:
        """Groups of players that go together in data, for the `tree` of `partition_shapley`.

        `data` has rows of one input, (row, feature) or (row, ...), as a tensor, an array or a frame
        of numbers. Those with the largest correlation are joined first: see `correlated`.

        >>> x = torch.tensor([[1.0, 5.0, 2.0], [2.0, 1.0, 4.0], [3.0, 4.0, 6.1]])
        >>> Features.columns().tree(x)
        (1, (0, 2))
        """
        inputs = Inputs.of(numbers(data))
        return correlated(self.players(inputs), inputs, inputs.leaves)[0]

    def check(self, inputs: Inputs) -> None:
        """Raise, before any run of the model, unless these inputs can be cut like this."""
        for cut, sample in self._pairs(inputs, None, None):
            cut.check(sample)

    def _pairs(
        self, inputs: Inputs, rows: Tensor | None, total: int | None
    ) -> Iterator[tuple[Cut, Sample]]:
        """Each input with the way to cut it."""
        rows = torch.arange(inputs.rows) if rows is None else rows
        schema = getattr(inputs, "schema", None)
        columns = tuple(map(str, schema.names)) if schema is not None else ()
        texts = inputs.leaves[0] if schema is not None and schema.is_text else ()
        words = tuple(schema.titles(row) for row in texts) if schema is not None else ()
        for place, leaf in enumerate(inputs.leaves):
            yield (
                self._cuts(inputs)[place],
                Sample(
                    leaf=leaf,
                    name=label(inputs.paths[place]),
                    rows=rows,
                    total=inputs.rows if total is None else total,
                    axis=inputs.axes[place],
                    columns=columns,
                    words=words,
                ),
            )

    def _cuts(self, inputs: Inputs) -> tuple[Cut, ...]:
        """One way to cut for each input."""
        if self.paths == ((),):
            return self.cuts * len(inputs.leaves)
        given = dict(zip(self.paths, self.cuts, strict=True))
        if set(given) != set(inputs.paths):
            raise InputError(
                "`features` must have the structure of the inputs, with one for each of "
                + ", ".join(f"`{each}`" for each in inputs.labels()),
                found=", ".join(f"`{label(path)}`: {cut!r}" for path, cut in given.items()),
                hint="What is always there is Features.nobody().",
            )
        return tuple(given[path] for path in inputs.paths)

    def __repr__(self) -> str:
        if self.paths == ((),):
            return f"Features.{self.cuts[0]!r}"
        pairs = zip(self.paths, self.cuts, strict=True)
        return f"Features.of({', '.join(f'`{label(path)}`: {cut!r}' for path, cut in pairs)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Features):
            return NotImplemented
        return self.paths == other.paths and self.cuts == other.cuts

    def __hash__(self) -> int:
        return hash((self.paths, self.cuts))


def _each(given: Any, path: Keys = ()) -> Iterator[tuple[Keys, Cut]]:
    """Every way to cut of a structure, with the path to it."""
    inner = [] if isinstance(given, Features) else children(given)
    if inner:
        for key, item in inner:
            yield from _each(item, (*path, key))
        return
    made = Features.of(given)
    if made.paths != ((),):
        raise InputError("`features` of one input must be one Features", got=given)
    yield path, made.cuts[0]


def _joined(found: list[Parts], inputs: Inputs) -> Players:
    """The players of all inputs, counted through, each sample by itself."""
    device = inputs.leaves[0].device
    before, labels = torch.zeros(1, dtype=torch.long), []
    for part in found:
        flat = part.labels.reshape(len(part.labels), -1)
        shift = before.reshape(-1, *[1] * (part.labels.ndim - 1))
        labels.append(torch.where(part.labels < 0, NOBODY, part.labels + shift).to(device))
        before = before + flat.amax(1) + 1
    return Players(labels=tuple(labels), count=int(before.max()), names=_names(found, inputs))


def _names(found: list[Parts], inputs: Inputs) -> tuple[tuple[str, ...], ...]:
    """The names of all players, if some have any: by input where there are several."""
    if not any(part.names for part in found):
        return ()
    rows = max(max(len(part.names), len(part.labels)) for part in found)
    several = sum(bool((part.labels >= 0).any()) for part in found) > 1
    labels = inputs.labels() if several else ("",) * len(found)
    return tuple(
        tuple(
            f"{of}: {name}" if of else name
            for part, of in zip(found, labels, strict=True)
            for name in _of_row(part, row)
        )
        for row in range(rows)
    )


def _of_row(part: Parts, row: int) -> tuple[str, ...]:
    if part.names:
        return part.names[row if len(part.names) > 1 else 0]
    labels = part.labels[row if len(part.labels) > 1 else 0]
    return tuple(map(str, range(int(labels.max()) + 1)))


def _sizes(given: int | Sequence[int], name: str) -> tuple[int, ...]:
    items = given if isinstance(given, Sequence) else (given,)
    found = tuple(whole(each, name) for each in items)
    if not found:
        raise InputError(f"`{name}` must be one number, or one for each spatial axis", got=given)
    return found
