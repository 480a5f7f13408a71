"""Where in an output the scores of the classes stand: a table, a token, a box.

A place reads one entry of an output as scores of shape (sample, class), or (sample, class, cell),
lets a target choose among the classes, and joins the cells to one number a sample. What a user
gives is checked when the place is made; what only the output can tell, when it is read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from pellucid.errors import TargetError, UnknownNameError
from pellucid.structure import children

# Makes one number a sample, or a cell, of scores of shape (sample, class) or (sample, class, cell).
Choose: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A table of shape (sample, class), or one score a sample."""

    shape: ClassVar[str] = "({rows},) or ({rows}, class)"
    ranks: ClassVar[tuple[int, ...]] = (1, 2)
    class_axis: ClassVar[int] = 1
    choices: ClassVar[str] = "a class of the output"

    def fits(self, entry: Any, rows: int) -> bool:
        """Whether an entry has the shape this place reads."""
        return isinstance(entry, Tensor) and entry.ndim in self.ranks and entry.shape[0] == rows

    def read(self, entry: Tensor, choose: Choose) -> Tensor:
        """What `choose` makes of the scores of shape (sample, class), or of (.., cell), joined."""
        return choose(entry.reshape(entry.shape[0], -1))

    def for_rows(self, rows: int) -> "Place":
        """Raise, before any run of the model, if something is given for other samples."""
        return self

    def settle(self, entry: Any) -> "Place":
        """Find out what only an output can tell, and check it."""
        return self

    def select(self, rows: Tensor) -> "Place":
        """The place of some samples."""
        return self

    def join(self, parts: "list[Place]", rows: list[int]) -> "Place":
        """What this place became for consecutive batches, as one."""
        return self

    def describe(self, inner: str) -> str:
        """Write a target at this place as a user would."""
        return inner

    def words(self) -> str:
        """Say in a sentence where the first sample is read."""
        return ""


@dataclass(frozen=True, kw_only=True)
class Token(Place):
    """One token, or one each sample, of (sample, token, class)."""

    shape: ClassVar[str] = "({rows}, token, class)"
    ranks: ClassVar[tuple[int, ...]] = (3,)
    class_axis: ClassVar[int] = 2

    position: tuple[int, ...] = (-1,)

    def read(self, entry: Tensor, choose: Choose) -> Tensor:
        """What is chosen of the scores at the token."""
        return choose(_at(entry, self.position, "token"))

    def for_rows(self, rows: int) -> "Token":
        """One position for all samples, or one for each."""
        _check_rows(self.position, rows, "token")
        return self

    def select(self, rows: Tensor) -> "Token":
        """Keep the positions of some samples."""
        return replace(self, position=chosen(self.position, rows))

    def describe(self, inner: str) -> str:
        """Target.token(3, position=-1)."""
        return f"Target.token({inner}, position={_listed(self.position)})"

    def words(self) -> str:
        """At token 3."""
        last = self.position[0] == -1
        return " at the last token" if last else f" at token {self.position[0]}"


@dataclass(frozen=True, kw_only=True)
class Box(Place):
    """One box of (sample, box, class) or (sample, box), or of a list of detections a sample.

    In such a list a box is the i-th of its class, so that it is the same one also where another
    run finds other boxes of other classes. `found` says that it is there in the explained run;
    in a run in which it is not, its score is zero.
    """

    shape: ClassVar[str] = (
        "({rows}, box), ({rows}, box, class), or be a list of {rows} dicts with `scores`"
    )
    ranks: ClassVar[tuple[int, ...]] = (2, 3)
    class_axis: ClassVar[int] = 2

    position: tuple[int, ...] = (0,)
    found: bool = False

    def read(self, entry: Tensor, choose: Choose) -> Tensor:
        """What is chosen of the scores of the box, which are one column for (sample, box)."""
        table = entry.unsqueeze(2) if entry.ndim == 2 else entry
        return choose(_at(table, self.position, "box"))

    def for_rows(self, rows: int) -> "Box":
        """One box for all samples, or one for each."""
        _check_rows(self.position, rows, "box")
        return self

    def select(self, rows: Tensor) -> "Box":
        """Keep the boxes of some samples."""
        return replace(self, position=chosen(self.position, rows))

    def join(self, parts: list[Place], rows: list[int]) -> "Place":
        """Box numbers become ranks among the boxes of a class: put those of all batches together.

        Where nothing was found out, this place is as good as its parts.
        """
        boxes = [part for part in parts if isinstance(part, Box)]
        if not all(box.found for box in boxes):
            return self
        return replace(self, found=True, position=joined([b.position for b in boxes], rows))

    def find(self, entry: Sequence[Any], classes: tuple[int, ...]) -> tuple["Box", tuple[int, ...]]:
        """Fix which box of which class is meant in each sample; raise where there is none."""
        if self.found:
            return self, classes
        ranks, labels = [], []
        for row, sample in enumerate(entry):
            names, index = _labels(sample), self.position[row % len(self.position)]
            label = classes[row % len(classes)] if classes else None
            among = [name for name in names if label is None or name == label]
            if index >= len(among):
                which = "" if label is None else f" of class {label}"
                raise TargetError(
                    f"Every sample must have a box {index}{which}",
                    found=f"{len(among)} such boxes in sample {row}, of these classes: {names}",
                    hint="Lower the detector's score threshold, or explain samples with the box.",
                )
            labels.append(among[index])
            ranks.append(index if label is not None else names[:index].count(among[index]))
        return replace(self, position=tuple(ranks), found=True), classes or tuple(labels)

    def detected(self, entry: Sequence[Any], classes: tuple[int, ...]) -> Tensor:
        """The scores of boxes in lists of detections, of shape (sample,)."""
        found = []
        for row, sample in enumerate(entry):
            label, rank = classes[row % len(classes)], self.position[row % len(self.position)]
            places = [i for i, name in enumerate(_labels(sample)) if name == label]
            scores = sample["scores"]
            found.append(scores[places[rank]] if rank < len(places) else scores.new_zeros(()))
        return torch.stack(found)

    def describe(self, inner: str) -> str:
        """Target.box(0, 3)."""
        return f"Target.box({_listed(self.position)}, {inner})"

    def words(self) -> str:
        """In box 3."""
        return f" in box {self.position[0]}"


def positions(given: Any, what: str) -> tuple[int, ...]:
    """Take a whole number, or a list of one a sample."""
    found = given.tolist() if hasattr(given, "tolist") else given
    listed = found if isinstance(found, list | tuple) else [found]
    if not listed or not all(isinstance(p, int) and not isinstance(p, bool) for p in listed):
        raise TargetError(f"{what} must be a whole number, or a list of one a sample", got=given)
    return tuple(listed)


def follow(output: Any, path: tuple[str | int, ...]) -> Any:
    """The entry of a nested output at a path."""
    for key in path:
        inner = dict(children(output))
        if isinstance(key, int) and key not in inner and -len(inner) <= key < len(inner):
            key = list(inner)[key]  # of a dataclass or named tuple, as its own index
        if key not in inner:
            raise UnknownNameError("A path into the output", key, [str(k) for k in inner])
        output = inner[key]
    return output


def is_detections(entry: Any) -> bool:
    """Whether an output is what detectors return: a list with one dict of boxes for each sample."""
    return (
        isinstance(entry, tuple | list)
        and len(entry) > 0
        and all(isinstance(e, Mapping) and isinstance(e.get("scores"), Tensor) for e in entry)
        and all(e["scores"].ndim == 1 for e in entry)
    )


def chosen(given: tuple[int, ...], rows: Tensor) -> tuple[int, ...]:
    """What was given for some samples; as it is, if it was given for all."""
    return given if len(given) <= 1 else tuple(given[i] for i in rows.tolist())


def joined(parts: list[tuple[int, ...]], rows: list[int]) -> tuple[int, ...]:
    """One number for each sample of consecutive batches."""
    pairs = zip(parts, rows, strict=True)
    return tuple(k for part, n in pairs for k in (part * n if len(part) == 1 else part))


def _at(entry: Tensor, position: tuple[int, ...], word: str) -> Tensor:
    """The scores at one position of axis 1, or at one each sample; of shape (sample, class)."""
    length = entry.shape[1]
    wrong = [p for p in position if not -length <= p < length]
    if wrong:
        raise TargetError(f"The position of a {word} must be from 0 to {length - 1}", got=wrong[0])
    if len(position) == 1:
        return entry.select(1, position[0])
    positions = torch.tensor([p % length for p in position], device=entry.device)
    return entry[torch.arange(len(positions), device=entry.device), positions]


def _check_rows(position: tuple[int, ...], rows: int, word: str) -> None:
    if len(position) not in (1, rows):
        raise TargetError(
            f"A list of {word} positions must have one for each of the {rows} samples",
            got=list(position),
        )


def _listed(numbers: tuple[int, ...]) -> str:
    """Write one number, or a list."""
    return str(numbers[0] if len(numbers) == 1 else list(numbers))


def _labels(sample: Mapping[str, Any]) -> list[int]:
    """The class of every box of a sample; zero where the detector has but one."""
    labels = sample.get("labels")
    return [0] * len(sample["scores"]) if labels is None else [int(k) for k in labels.tolist()]
