"""What dreams climb: scores, units, channels and layers of a model, their sums and differences."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from torch import Tensor

from pellucid.errors import InputError, TargetError
from pellucid.options import number
from pellucid.target import Target, TargetLike
from pellucid.target.unit import INSIDE, Channel, Unit, checked_layer

ObjectiveLike: TypeAlias = "Objective | TargetLike"
# How the score of a class is asked for.
ON = ("score", "probability", "log_probability")
# The kinds of target that ask for one class of the output, with which real data share it.
OF_CLASS = ("index", "probability", "log_odds", "margin", "contrast")


@dataclass(frozen=True, kw_only=True, repr=False)
class Piece:
    """One target and its weight in the sum, of a probability perhaps the logarithm.

    What has no words of its own, all of a layer, has a `name`.
    """

    target: Target
    weight: float = 1.0
    log: bool = False
    name: str = ""

    def on(self, how: str) -> "Piece":
        """Ask for the probability of a class in place of its score."""
        if how == "score":
            return self
        if self.target.kind != "index" or self.target.layer:
            raise TargetError(
                f"on={how!r} must be used with targets that are classes of the output",
                got=self.target,
                hint='Leave it at on="score", or name the class.',
            )
        kind: Any = "probability" if how == "probability" else "log_odds"
        return replace(self, target=replace(self.target, kind=kind), log=kind == "log_odds")

    def words(self, names: Sequence[str] | None = None) -> str:
        """What it is without its weight, in a few words."""
        if self.name:
            return self.name
        chance = {"probability": "probability of ", "log_odds": "log p of " if self.log else ""}
        before = chance.get(self.target.kind, "")
        target = replace(self.target, kind="index") if before else self.target
        return before + _said(target, names)

    def __repr__(self) -> str:
        return self.words() if self.name or self.log else repr(self.target)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A weighted sum of targets, which one dream climbs.

    Objectives are added, subtracted and multiplied by numbers. Everything that a `Target` can say
    is one, but it must name what it means: a class, a unit, a channel. Of `Target.unit(layer, 5)`
    it is the unit of channel 5 in the middle of the layer.

    >>> Objective.of(3) - 0.5 * Objective.of(Target.channel("features.3", 5))
    Target.index(3) - 0.5 Target.channel('features.3', 5)
    """

    pieces: tuple[Piece, ...]
    name: str = ""

    @classmethod
    def of(cls, given: ObjectiveLike) -> "Objective":
        """Take an objective, or anything that a target can be."""
        if isinstance(given, Objective):
            return given
        found = Target.of(given)
        _check_one(found)
        return cls(pieces=(Piece(target=found),))

    @classmethod
    def layer(cls, layer: str) -> "Objective":
        """All of a layer: the mean of the squares of what it returned.

        Source: Mordvintsev, Olah and Tyka (2015), Inceptionism: Going Deeper into Neural Networks.
        """
        found = Target.path(INSIDE, target=_energy)
        target = replace(found, layer=checked_layer(layer))
        return cls(pieces=(Piece(target=target, name=f"layer {layer}"),))

    def on(self, how: str) -> "Objective":
        """Ask for the probability of classes, or its logarithm, in place of their scores."""
        return replace(self, pieces=tuple(piece.on(how) for piece in self.pieces))

    @property
    def is_unit(self) -> bool:
        """Whether it is one unit of a layer, which sees a part of the input."""
        return len(self.pieces) == 1 and isinstance(self.pieces[0].target.place, Unit)

    @property
    def asked_class(self) -> int | None:
        """The class of the output that it asks for, if it is one."""
        first = self.pieces[0].target
        one = len(self.pieces) == 1 and first.kind in OF_CLASS and len(first.classes) == 1
        return first.classes[0] if one and not first.layer else None

    def named(self, name: str) -> "Objective":
        """The same under a name of its own, for pictures and tables."""
        return replace(self, name=name)

    def words(self, names: Sequence[str] | None = None) -> str:
        """What it is, in a few words; `names` are those of the classes.

        >>> Objective.of((1, 0)).words(["cat", "dog"])
        'dog - cat'
        """
        if self.name:
            return self.name
        return _sum([(piece.weight, piece.words(names)) for piece in self.pieces])

    def __add__(self, other: ObjectiveLike) -> "Objective":
        return Objective(pieces=(*self.pieces, *Objective.of(other).pieces))

    def __sub__(self, other: ObjectiveLike) -> "Objective":
        return self + (-1.0) * Objective.of(other)

    def __neg__(self) -> "Objective":
        return -1.0 * self

    def __mul__(self, weight: float) -> "Objective":
        times = number(weight, "weight", "a number, by which an objective is multiplied")
        pieces = tuple(replace(piece, weight=times * piece.weight) for piece in self.pieces)
        return Objective(pieces=pieces)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return self.name or _sum([(piece.weight, repr(piece)) for piece in self.pieces])


def objectives_of(targets: Any) -> tuple[Objective, ...]:
    """One objective for each dream: of one target, or of each of a list.

    >>> len(objectives_of(range(10))), len(objectives_of((3, 1))), len(objectives_of([(3, 1), 0]))
    (10, 1, 2)
    """
    if hasattr(targets, "tolist"):
        targets = targets.tolist()
    if isinstance(targets, Target) and len(targets.classes) > 1:
        return tuple(Objective.of(replace(targets, classes=(k,))) for k in targets.classes)
    if not isinstance(targets, list | range):  # a tuple is a contrast
        return (Objective.of(targets),)
    if not targets:
        raise TargetError("`targets` must name at least one thing to dream of", got=targets)
    return tuple(Objective.of(each) for each in targets)


def _check_one(target: Target) -> None:
    """Raise unless a target says what a dream is of, before there is an input to ask."""
    vague = target.kind == "predicted"
    if isinstance(target.place, Unit):
        vague = not target.place.indices and target.place.among is None
    if vague or len(target.classes) > 1:
        raise TargetError(
            "Each of `targets` must name one thing to dream of: a class, a unit, a channel",
            found=repr(target),
            hint="For example 3, (3, 1) or Target.channel('features.3', 5); in a list, one for "
            "each dream. All of a layer is Objective.layer('features.3').",
        )


def _energy(found: Any) -> Tensor:
    if not isinstance(found, Tensor) or found.ndim < 2:
        raise TargetError("A layer that is dreamed of must return (sample, ...)", got=found)
    return found.square().flatten(1).mean(1)


def class_name(k: int, names: Sequence[str] | None) -> str:
    """What a class is called, by its number if there are no names.

    >>> class_name(1, ["cat", "dog"])
    'dog'
    """
    if names is None:
        return str(k)
    if not -len(names) <= k < len(names):
        raise InputError(
            f"`names` must have a name for every class, class {k} too", found=f"{len(names)} names"
        )
    return str(names[k])


def _said(target: Target, names: Sequence[str] | None) -> str:
    """A target in a few words."""
    if isinstance(target.place, Unit):
        at = target.place.indices or target.place.among
        return f"{target.layer} unit {str(at).replace(' ', '')}"
    if target.kind != "index" and target.against is None:
        return repr(target)
    classes = [*target.classes, *(() if target.against is None else (target.against,))]
    if isinstance(target.place, Channel):
        return f"{target.layer} channel {' - '.join(map(str, classes))}"
    plain = repr(replace(target, place=type(target)().place)) == repr(target)
    if not plain or target.where:
        return repr(target)
    known = [class_name(k, names) for k in classes]
    return " - ".join(known) if names is not None else "class " + " - ".join(known)


def _sum(parts: list[tuple[float, str]]) -> str:
    """A weighted sum as it is written.

    >>> _sum([(1, "a"), (-0.5, "b")])
    'a - 0.5 b'
    """
    written = []
    for place, (weight, name) in enumerate(parts):
        sign = "-" if weight < 0 else "+" if place else ""
        size = "" if abs(weight) == 1 else f"{abs(weight):g} "
        written += [sign, size + name] if sign and place else [sign + size + name]
    return " ".join(written)
