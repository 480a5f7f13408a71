"""Which number of a model's output is explained."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from torch import Tensor

from pellucid.errors import TargetError
from pellucid.structure import outline
from pellucid.target.choice import Choice, Kind, call
from pellucid.target.examples import examples
from pellucid.target.place import (
    Box,
    Place,
    Token,
    chosen,
    follow,
    is_detections,
    joined,
    positions,
)
from pellucid.target.region import region
from pellucid.target.unit import INSIDE, OUTPUT, Channel, Unit, check_returned, checked_layer

TargetLike: TypeAlias = (
    "Target | int | Sequence[int] | Tensor | tuple | Callable[[Any], Tensor] | None"
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """One scalar for each sample of a model's output.

    | given | explained |
    |---|---|
    | `None` | the score of the class that the model predicts for each sample |
    | `3` | the score of class 3 |
    | `[3, 1, 4]` | one class a sample |
    | `(3, 1)` | the contrast: score of class 3 less that of class 1 |
    | `("logits", 3)` | class 3 of the entry `logits` of a dict, tuple or dataclass |
    | `Target.margin(3)` | the score of class 3 less that of the best other class |
    | `Target.probability(3)` | the softmax probability of class 3 |
    | `Target.log_odds(3)` | log p / (1 - p) of class 3 |
    | `Target.token(3, position=-1)` | class 3 at the last of (sample, token, class) |
    | `Target.region(3, mask)` | the mean of class 3 over a part of (sample, class, height, width) |
    | `Target.region(3, (8, slice(4)))` | the same: row 8, the first four columns |
    | `Target.box(0, 3)` | class 3 of box 0 of (sample, box, class); of lists of detections, the \
score of the first box that is a 3 |
    | `Target.path(0, target=3, batch_axis=1)` | class 3 of entry 0, whose samples are on axis 1 |
    | `Target.unit("features.3", 5)` | what that layer returned: the strongest unit of channel 5 |
    | `Target.channel("features.3", 5)` | the sum of channel 5 of what that layer returned |
    | `function` | `function(output)`, of shape (sample,) |

    The class of a token, region or box may be any of the forms above them: `None` is the class
    predicted there. Scores are those before a softmax over the classes at the end of the model,
    except for a callable, which gets the output (or the entry at its path) as the model returns it.
    A sigmoid is not undone.

    >>> Target.of((3, 1))
    Target.contrast(3, 1)
    >>> Target.token((3, 1), position=5)
    Target.token(Target.contrast(3, 1), position=5)
    """

    kind: Kind = "predicted"
    classes: tuple[int, ...] = ()
    against: int | None = None
    where: tuple[str | int, ...] = ()
    batch_axis: int = 0
    place: Place = Place()  # noqa: RUF009  # immutable
    function: Callable[[Any], Tensor] | None = dataclasses.field(default=None, compare=False)
    name: str = ""
    layer: str = ""

    @classmethod
    def of(cls, given: TargetLike) -> "Target":
        """Take any of the forms in the table above."""
        if isinstance(given, Target):
            return given
        if given is None:
            return cls()
        if hasattr(given, "tolist"):  # a tensor, an array or a number of NumPy's
            given = given.tolist()
        if _is_int(given):
            return cls(kind="index", classes=(int(given),))  # type: ignore[arg-type]  # is an int
        if isinstance(given, tuple) and given and isinstance(given[0], str):
            return cls._at_path(given)
        if isinstance(given, tuple) and len(given) == 2 and all(map(_is_int, given)):
            return cls.contrast(*given)
        if isinstance(given, list | tuple) and given and all(_is_int(_number(k)) for k in given):
            return cls(kind="index", classes=tuple(int(k) for k in given))
        if callable(given):
            name = getattr(given, "__qualname__", type(given).__name__)
            return cls(kind="callable", function=given, name=name.rpartition("<locals>.")[2])
        raise TargetError(
            "`target` must be a class index, a list of one index a sample, a contrast (a, b), "
            "a path that starts with a string, a callable or None",
            got=given,
        )

    @classmethod
    def _at_path(cls, given: tuple) -> "Target":
        """Read ("logits", 3): the last part is a target of its own if it is not a string."""
        if len(given) > 1 and not isinstance(given[-1], str):
            return cls.path(*given[:-1], target=given[-1])
        return cls.path(*given)

    @classmethod
    def contrast(cls, a: int, b: int) -> "Target":
        """Explain the score of class a less the score of class b."""
        return cls(kind="contrast", classes=(int(a),), against=int(b))

    @classmethod
    def margin(cls, k: int) -> "Target":
        """Explain the score of class k less the largest of the others."""
        return cls(kind="margin", classes=(int(k),))

    @classmethod
    def probability(cls, k: int) -> "Target":
        """Explain the softmax probability of class k."""
        return cls(kind="probability", classes=(int(k),))

    @classmethod
    def log_odds(cls, k: int) -> "Target":
        """Explain log p / (1 - p) of class k, where p is its softmax probability."""
        return cls(kind="log_odds", classes=(int(k),))

    @classmethod
    def token(cls, target: TargetLike = None, *, position: "int | Sequence[int]" = -1) -> "Target":
        """Explain a class, or the predicted one, at one token of (sample, token, class)."""
        found = positions(position, "The position of a token")
        return cls._placed(target, Token(position=found))

    @classmethod
    def region(
        cls,
        target: TargetLike = None,
        where: Any = None,
        *,
        reduce: Literal["mean", "sum"] = "mean",
    ) -> "Target":
        """Explain the mean or sum of a class over part of a map of shape (sample, class, ...).

        `where` is a boolean mask (height, width) or (sample, height, width), or a position or a
        slice for each axis after the class: `(8, 5)` is one pixel. Without it, all of the map.
        """
        return cls._placed(target, region(where, reduce))

    @classmethod
    def box(cls, index: "int | Sequence[int]" = 0, target: TargetLike = None) -> "Target":
        """Explain the score of one box, of (sample, box, class), (sample, box) or detections.

        Detections are a list of one dict a sample with `scores` of shape (box,) and `labels`: of
        them it is box `index` among those of the class, or among all if no class is given.
        """
        found = positions(index, "The number of a box")
        if min(found) < 0:
            raise TargetError("The number of a box must not be negative", got=index)
        return cls._placed(target, Box(position=found))

    @classmethod
    def unit(
        cls, layer: str, unit: "int | tuple[int, ...] | None" = None, *, axis: int | None = None
    ) -> "Target":
        """Explain one unit of what a layer returned: by default each sample's strongest.

        `unit` is a channel, of which it is the strongest unit, or the indices of one unit on all
        axes after the samples. `axis` says where channels are, if not on axis 1.
        """
        return cls(where=(INSIDE,), layer=checked_layer(layer), place=Unit.of(unit, axis))

    @classmethod
    def channel(
        cls, layer: str, channel: TargetLike = None, *, axis: int | None = None
    ) -> "Target":
        """Explain the sum of a channel of what a layer returned: by default the largest sum.

        `channel` may be a list of one a sample, or a contrast (a, b). Axis as for `unit`.
        """
        target = cls._placed(channel, Channel(axis=axis))
        return dataclasses.replace(target, where=(INSIDE,), layer=checked_layer(layer))

    @classmethod
    def _placed(cls, given: TargetLike, place: Place) -> "Target":
        target = cls.of(given)
        if target.kind == "callable" or target.place != Place():
            raise TargetError(
                "A token, region or box must be of a class, a contrast, a probability, log-odds or "
                "None",
                got=target,
            )
        return dataclasses.replace(target, place=place)

    @classmethod
    def path(cls, *where: str | int, target: TargetLike = None, batch_axis: int = 0) -> "Target":
        """Explain a target inside one entry of a nested output: `Target.path(0, "logits")`.

        `batch_axis` says where the samples are, as in the output (time, sample, feature) of an
        LSTM: `Target.path(0, target=Target.token(3), batch_axis=1)`.
        """
        if not _is_int(batch_axis):
            raise TargetError("`batch_axis` must be a whole number", got=batch_axis)
        inner = cls.of(target)
        axis = batch_axis or inner.batch_axis
        return dataclasses.replace(inner, where=(*where, *inner.where), batch_axis=axis)

    def before_softmax(self, raw: Any, scores: Any) -> Any:
        """The output without its softmax, if that was over the classes that this target reads.

        `scores` is the output `raw` in which every softmax was left out.
        """
        if self.kind == "callable" or self.layer or scores is raw:
            return raw
        before, after = follow(raw, self.where), follow(scores, self.where)
        if before is after or not isinstance(before, Tensor) or before.ndim < 2:
            return raw
        found = self._entry(raw).detach()
        axis = min(self.place.class_axis, found.ndim - 1)
        return scores if _all_one(found.sum(axis)) or _all_one(found.exp().sum(axis)) else raw

    def resolve(self, output: Any, rows: int) -> "Target":
        """Fix the predicted class, and check the target against an output, before any work.

        The result names one class a sample and gives the same scores for the same rows.
        """
        if self.kind == "callable":
            return self
        entry = self._checked(output, rows)
        if isinstance(self.place, Box) and not isinstance(entry, Tensor):
            return self._find(self.place, entry)
        place = self.place.settle(entry)
        found = dataclasses.replace(self, place=place)
        if self.kind != "predicted":
            place.read(entry, self._choice.check)
            return found
        classes = place.read(entry, lambda table: table).argmax(1).tolist()
        return dataclasses.replace(found, kind="index", classes=tuple(classes))

    def _find(self, box: Box, entry: Any) -> "Target":
        """Fix which detected box is meant, of which class."""
        if self.kind not in ("predicted", "index", "contrast"):
            raise TargetError(
                "A detected box has a score of its own, and no probabilities of other classes",
                got=self,
                hint="Its score is Target.box(0, 3).",
            )
        if self.against is not None:
            box.find(entry, (self.against,))
        place, classes = box.find(entry, self.classes)
        kind = "index" if self.kind == "predicted" else self.kind
        return dataclasses.replace(self, kind=kind, classes=classes, place=place)

    def check_rows(self, rows: int) -> "Target":
        """Check, before any run of the model, that what is given a sample fits the batch."""
        if len(self.classes) not in (0, 1, rows):
            raise TargetError(
                f"A list of targets must name one class for each of the {rows} samples",
                got=list(self.classes),
            )
        return dataclasses.replace(self, place=self.place.for_rows(rows))

    def join(self, parts: "list[Target]", rows: list[int]) -> "Target":
        """Put what this target was resolved to for consecutive batches together again."""
        place = self.place.join([part.place for part in parts], rows)
        classes = parts[0].classes
        if len(parts) > 1 and (self.kind == "predicted" or len(self.classes) > 1):
            classes = joined([part.classes for part in parts], rows)
        return dataclasses.replace(parts[0], classes=classes, place=place)

    def reads_softmax(self, raw: Any, scores: Any) -> bool:
        """Whether the entry that this target reads is a softmax that was left out."""
        return (
            self.kind != "callable"
            and raw is not scores
            and follow(raw, self.where) is not follow(scores, self.where)
        )

    def select(self, rows: Tensor) -> "Target":
        """Keep the targets of some samples."""
        classes, place = chosen(self.classes, rows), self.place.select(rows)
        return dataclasses.replace(self, classes=classes, place=place)

    def table(self, output: Any) -> Tensor | None:
        """The scores of all classes where this target reads them, of shape (sample, class).

        `None` for a callable, and where there are no classes, as among detections.
        """
        if self.layer:
            return Target().table(output)
        entry = None if self.kind == "callable" else self._entry(output)
        if not isinstance(entry, Tensor) or not self.place.fits(entry, len(entry)):
            return None
        return self.place.read(entry, lambda table: table)

    def score(self, output: Any, raw: Any) -> Tensor:
        """Read the explained score, of shape (sample,), from an output before its softmax.

        `raw` is the output as the model returns it: a callable gets that, or its entry at a path.
        """
        if self.kind == "callable":
            return call(self.function, self.name, self._entry(raw))
        entry = self._entry(output)
        if isinstance(self.place, Box) and not isinstance(entry, Tensor):
            score = self.place.detected(entry, self.classes)
            if self.against is None:
                return score
            return score - self.place.detected(entry, (self.against,))
        return self.place.read(entry, self._choice.read)

    @property
    def _choice(self) -> Choice:
        return Choice(self.kind, self.classes, self.against, self.place.choices)

    def _entry(self, output: Any) -> Any:
        """The entry of the output that is read, with the batch as its first axis."""
        found = follow(output, self.where)
        if self.batch_axis and isinstance(found, Tensor):
            if not -found.ndim <= self.batch_axis < found.ndim:
                raise TargetError(
                    f"The output must have the `batch_axis` of the target, {self.batch_axis}",
                    found=outline(output),
                )
            return found.movedim(self.batch_axis, 0)
        return found

    def _checked(self, output: Any, rows: int) -> Any:
        """The entry, if its type and shape are what the target reads."""
        found = self._entry(output)
        if self.layer:
            return check_returned(found, self.layer, rows)
        if isinstance(self.place, Box) and is_detections(found) and len(found) == rows:
            return found
        if not isinstance(found, Tensor) or not found.is_floating_point():
            raise TargetError(
                "The target must lead to a tensor of floating-point scores",
                found=outline(output),
                hint=examples(output, rows),
            )
        if not self.place.fits(found, rows):
            raise TargetError(
                f"The explained output must have shape {self.place.shape.format(rows=rows)}",
                found=outline(output),
                hint=examples(output, rows),
            )
        return found

    def said(self, output: Any) -> Any:
        """What the model itself returned, of what its run for this target returned."""
        return output[OUTPUT] if self.layer else output

    def words(self) -> str:
        """Say in a sentence which unit or channel of a layer is explained; empty for an output."""
        if not isinstance(self.place, Unit | Channel):
            return ""
        return self.place.taken(self.kind, self.classes, self.against, self.layer)

    def note(self) -> str:
        """Name what is explained of a layer, which may be what was strongest there."""
        return f"The score is {self.words()}." if self.layer else ""

    def __repr__(self) -> str:
        if isinstance(self.place, Unit | Channel):
            return self.place.describe_at(self.layer, self.kind, self.classes, self.against)
        if self.kind == "predicted":
            inner = "None"
        elif self.kind == "callable":
            inner = self.name
        else:
            inner = ", ".join(map(str, self.classes))
            inner += "" if self.against is None else f", {self.against}"
        where = "".join(f"[{part!r}]" for part in self.where)
        where += f" with batch_axis={self.batch_axis}" if self.batch_axis else ""
        return self.place.describe(f"Target.{self.kind}({inner})") + where


@dataclass(frozen=True)
class Outcome:
    """What the model said: its output, the explained score (sample,), and the target resolved."""

    output: Any
    score: Tensor
    target: Target


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> Any:
    """A number of NumPy's, or a tensor of one element, as a plain one."""
    return value.item() if hasattr(value, "item") else value


def _all_one(sums: Tensor) -> bool:
    """Whether classes share one, to the precision of a half; what is not a number is passed by."""
    return bool(((sums - 1).abs().nan_to_num(0) < 0.02).all())
