"""What was found: a status for every input, and the answers in the user's own columns."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from torch import Tensor

from pellucid.errors import InputError
from pellucid.exemplar.counterfactual.distance import Distance
from pellucid.explanation import Evaluations

if TYPE_CHECKING:
    import pandas as pd

# As many as tell any two numbers of float64 apart.
MOST_DIGITS = 17
Status: TypeAlias = Literal["found", "not_found", "already"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """The rows that were found (answer, element), and the number of the input that each is for.

    `distance`, `after` (a class or a score) and `plausibility` have shape (answer,).
    """

    rows: Tensor
    samples: list[int]
    distance: Tensor
    after: Tensor
    plausibility: Tensor | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Counterfactuals:
    """What would have had to be different for the model to decide otherwise.

    `status` has one word for each input: `found`; `not_found`, for which `reasons` say why;
    `already`, if it is decided as wanted to begin with. `counterfactuals` are the answers in the
    form of the `inputs` (a frame, an array, a tensor), those of one input after another and its
    nearest first; `samples` (answer,) are the numbers of their inputs, and `distance` (answer,) how
    far they are. `plausibility` (answer,), with data, is the share of real rows that are as far
    from the rest of the data.
    """

    inputs: Any
    counterfactuals: Any
    answers: Answers
    status: tuple[Status, ...]
    reasons: tuple[str, ...]
    before: Tensor
    classes: tuple[str, ...]
    threshold: float | None
    measure: Distance
    evaluations: Evaluations
    notes: tuple[str, ...]

    @property
    def samples(self) -> list[int]:
        """The number of the input that each answer is for."""
        return self.answers.samples

    @property
    def distance(self) -> Tensor:
        """How far each answer is from its input, of shape (answer,)."""
        return self.answers.distance

    @property
    def plausibility(self) -> Tensor | None:
        """The share of real rows that are as far from the rest, of shape (answer,)."""
        return self.answers.plausibility

    @cached_property
    def changes(self) -> "pd.DataFrame":
        """What changes, a row for each column of each answer: before and after, as it is read.

        Columns: sample, answer (from 0, for each sample), column, before, after, change (of
        numbers), distance (its part of the whole).
        """
        import pandas as pd

        if not self.measure.space.names:
            raise InputError(
                "Changes must be those of columns to be listed",
                found="elements without names",
                hint="Draw them: plot(row=0); or take counterfactuals - inputs.",
            )
        rows = [
            {"sample": sample, "answer": answer, **each}
            for sample, places in enumerate(self._places)
            for answer, place in enumerate(places)
            for each in self._changes(place)
        ]
        columns = ["sample", "answer", "column", "before", "after", "change", "distance"]
        return pd.DataFrame(rows, columns=columns)

    def to_frame(self) -> "pd.DataFrame":
        """One row for each answer, and for each input without one.

        Columns: sample, status, answer, before, after (what the model says), distance,
        plausibility, reason.
        """
        import pandas as pd

        rows = []
        for sample, status in enumerate(self.status):
            known = {"sample": sample, "status": status, "reason": self.reasons[sample]}
            known["before"] = self.said(self.before[sample])
            for answer, place in enumerate(self._places[sample]):
                rows.append({**known, "answer": answer, **self._figures(place)})
            if not self._places[sample]:
                rows.append(known)
        order = ["sample", "status", "answer", "before", "after", "distance", "plausibility"]
        return pd.DataFrame(rows, columns=[*order, "reason"])

    def text(self, row: int | None = None) -> str:
        """Say in a sentence for each answer what would have had to be different.

        `row` is the number of one input; without it all of them are told of.
        """
        samples = range(len(self.status)) if row is None else [self.number(row)]
        return "\n".join(each for sample in samples for each in self._sentences(sample))

    def plot(self, ax: Any = None, *, row: int = 0, dark: bool = False) -> Any:
        """Draw what changes for one input: of a table arrows, of images the images."""
        from pellucid.plot.counterfactuals import draw_counterfactuals

        return draw_counterfactuals(self, ax, row=row, dark=dark)

    def said(self, answer: Tensor) -> Any:
        """What the model says in words: a class by its label or number, or a score."""
        if self.threshold is not None:
            return float(answer)
        return self.classes[int(answer)] if self.classes else int(answer)

    def places(self, row: int) -> list[int]:
        """Which answers are those of one input."""
        return self._places[self.number(row)]

    def number(self, row: int) -> int:
        """The number of an input, which may be counted from the end."""
        count = len(self.status)
        if not -count <= row < count:
            raise InputError(f"`row` must be the number of one of the {count} inputs", got=row)
        return row % count

    @cached_property
    def _places(self) -> list[list[int]]:
        """Which answers are those of each input."""
        found: list[list[int]] = [[] for _ in self.status]
        for place, sample in enumerate(self.samples):
            found[sample].append(place)
        return found

    def _figures(self, place: int) -> dict[str, Any]:
        real = self.plausibility
        return {
            "after": self.said(self.answers.after[place]),
            "distance": float(self.distance[place]),
            "plausibility": None if real is None else float(real[place]),
        }

    def _changes(self, place: int) -> list[dict[str, Any]]:
        """The columns that are different in one answer, those that differ most first."""
        space, sample = self.measure.space, self.samples[place]
        new, old = self.answers.rows[place], space.origin[sample]
        found = []
        for element in ((new != old) & space.numeric & ~old.isnan()).nonzero().flatten().tolist():
            step = float(new[element] - old[element])
            found.append(
                {
                    "column": space.names[element],
                    "before": float(old[element]),
                    "after": float(new[element]),
                    "change": step,
                    "distance": abs(step) / float(self.measure.unit[element]),
                }
            )
        for choice in space.choices:
            if bool((new[choice.columns] != old[choice.columns]).any()):
                after = int((choice.options == new[choice.columns]).all(1).byte().argmax())
                found.append(
                    {
                        "column": choice.name,
                        "before": choice.labels[int(choice.own[sample])],
                        "after": choice.labels[after],
                        "change": None,
                        "distance": 1.0,
                    }
                )
        return sorted(found, key=lambda each: -each["distance"])

    def _sentences(self, sample: int) -> list[str]:
        start, status = f"Sample {sample}: ", self.status[sample]
        before, scored = self.said(self.before[sample]), self.threshold is not None
        now = f"{start}{'the score is' if scored else 'the model says'} {told(before)[0]}"
        if status == "already":
            return [f"{now} already, as is wanted."]
        if status == "not_found":
            return [f"{now}; {self.reasons[sample]}."]
        would = "the score would have been" if scored else "the model would have said"
        said = []
        for place in self._places[sample]:
            old, new = told(before, self.said(self.answers.after[place]))
            said.append(f"{start}had {self._had(place)}, {would} {new} (instead of {old}).")
        return said

    def _had(self, place: int) -> str:
        """What would have had to be different in one answer."""
        if not self.measure.space.names:
            return f"it been changed by {float(self.distance[place]):.3g} ({self.measure.how})"
        parts = []
        for each in self._changes(place):
            old, new = told(each["before"], each["after"])
            parts.append(f"{each['column']} been {new} (instead of {old})")
        if not parts:
            return "nothing changed"
        return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        counts = Counter(self.status)
        said = ", ".join(f"{counts[each]} {each}" for each in dict.fromkeys(self.status))
        return f"Counterfactuals({len(self.status)} inputs: {said}; {self.evaluations})"


def told(*values: Any) -> list[str]:
    """Numbers in so many digits that they differ if they do, and words as they are.

    >>> told(1.0, 1.0000001), told(0.5, 2.0), told("no", "yes")
    (['1', '1.0000001'], ['0.5', '2'], ['no', 'yes'])
    """
    if not all(isinstance(each, float) for each in values):
        return [f"{each:.6g}" if isinstance(each, float) else str(each) for each in values]
    for digits in range(6, MOST_DIGITS + 1):
        said = [f"{each:.{digits}g}" for each in values]
        if len(set(said)) == len(set(values)):
            break
    return said
