"""Which number of a model's output is explained."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.errors import TargetError, UnknownNameError
from pellucid.structure import children, leaves, outline

Kind: TypeAlias = Literal["predicted", "index", "contrast", "probability", "log_odds", "callable"]
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
    | `Target.probability(3)` | the softmax probability of class 3 |
    | `Target.log_odds(3)` | log p / (1 - p) of class 3 |
    | `function` | `function(output)`, of shape (sample,) |

    Scores are those before a softmax at the end of the model, except for a callable, which gets
    the output as the model returns it.

    >>> Target.of((3, 1))
    Target.contrast(3, 1)
    """

    kind: Kind = "predicted"
    classes: tuple[int, ...] = ()
    against: int | None = None
    where: tuple[str | int, ...] = ()
    function: Callable[[Any], Tensor] | None = dataclasses.field(default=None, compare=False)
    name: str = ""

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
            return cls(kind="callable", function=given, name=name)
        raise TargetError(
            "`target` must be a class index, a list of one index a sample, a contrast (a, b), "
            "a path that starts with a string, a callable or None",
            got=given,
        )

    @classmethod
    def _at_path(cls, given: tuple) -> "Target":
        """Read ("logits", 3): the last part is a target of its own if it is not a string."""
        if len(given) > 1 and not isinstance(given[-1], str):
            return dataclasses.replace(cls.of(given[-1]), where=tuple(given[:-1]))
        return cls(where=tuple(given))

    @classmethod
    def contrast(cls, a: int, b: int) -> "Target":
        """Explain the score of class a less the score of class b."""
        return cls(kind="contrast", classes=(int(a),), against=int(b))

    @classmethod
    def probability(cls, k: int) -> "Target":
        """Explain the softmax probability of class k."""
        return cls(kind="probability", classes=(int(k),))

    @classmethod
    def log_odds(cls, k: int) -> "Target":
        """Explain log p / (1 - p) of class k, where p is its softmax probability."""
        return cls(kind="log_odds", classes=(int(k),))

    @classmethod
    def path(cls, *where: str | int, target: TargetLike = None) -> "Target":
        """Explain a target inside one entry of a nested output: `Target.path(0, "logits")`."""
        return dataclasses.replace(cls.of(target), where=where)

    def resolve(self, output: Any, rows: int) -> "Target":
        """Fix the predicted class, and check the target against an output, before any work.

        The result names one class a sample and gives the same scores for the same rows.
        """
        if self.kind == "callable":
            return self
        table = self._table(output, rows)
        if self.kind == "predicted":
            classes = table.argmax(1).tolist()
            return dataclasses.replace(self, kind="index", classes=tuple(classes))
        self._check(table.shape[1])
        return self

    def check_rows(self, rows: int) -> None:
        """Check, before any run of the model, that a list of targets fits the batch."""
        if len(self.classes) not in (0, 1, rows):
            raise TargetError(
                f"A list of targets must name one class for each of the {rows} samples",
                got=list(self.classes),
            )

    def join(self, parts: "list[Target]", rows: list[int]) -> "Target":
        """Put what this target was resolved to for consecutive batches together again."""
        if len(parts) == 1 or (self.kind != "predicted" and len(self.classes) <= 1):
            return parts[0]
        classes = tuple(
            k
            for part, n in zip(parts, rows, strict=True)
            for k in (part.classes * n if len(part.classes) == 1 else part.classes)
        )
        return dataclasses.replace(parts[0], classes=classes)

    def reads_softmax(self, raw: Any, scores: Any) -> bool:
        """Whether the entry that this target reads is a softmax that was left out."""
        return self.kind != "callable" and _follow(raw, self.where) is not _follow(
            scores, self.where
        )

    def select(self, rows: Tensor) -> "Target":
        """Keep the targets of some samples."""
        if len(self.classes) <= 1:
            return self
        return dataclasses.replace(self, classes=tuple(self.classes[i] for i in rows.tolist()))

    def score(self, output: Any, raw: Any) -> Tensor:
        """Read the explained score, of shape (sample,), from an output before its softmax.

        `raw` is the output as the model returns it, which is what a callable gets.
        """
        if self.kind == "callable":
            return self._call(raw)
        found = _follow(output, self.where)
        table = self._table(output, found.shape[0])
        chosen = _pick(table, self.classes)
        if self.against is not None:
            return chosen - _pick(table, (self.against,))
        if self.kind == "probability":
            return _pick(table.softmax(1), self.classes)
        if self.kind == "log_odds":
            others = table.scatter(1, _columns(table, self.classes), -torch.inf)
            return chosen - others.logsumexp(1)
        return chosen

    def _call(self, raw: Any) -> Tensor:
        if self.function is None:
            raise TargetError(
                f"The target `{self.name}` must be passed again as a callable",
                hint="Functions are not stored with an explanation.",
            )
        score = self.function(raw)
        if not isinstance(score, Tensor) or score.ndim != 1:
            raise TargetError(
                "A callable target must return a tensor of shape (sample,)",
                got=score,
                hint="For example: lambda output: output[:, 3] - output[:, 1].",
            )
        return score

    def _table(self, output: Any, rows: int) -> Tensor:
        """Find the scores as a table of shape (sample, class)."""
        found = _follow(output, self.where)
        if not isinstance(found, Tensor) or not found.is_floating_point():
            raise TargetError(
                "The target must lead to a tensor of floating-point scores",
                found=outline(output),
                hint=_examples(output),
            )
        if found.ndim == 0 or found.ndim > 2 or found.shape[0] != rows:
            raise TargetError(
                f"The explained output must have shape ({rows},) or ({rows}, class)",
                found=outline(output),
                hint=_examples(output),
            )
        return found.reshape(rows, -1)

    def _check(self, width: int) -> None:
        given = [*self.classes, *(() if self.against is None else (self.against,))]
        wrong = [k for k in given if not -width <= k < width]
        if wrong:
            raise TargetError(
                f"A target must be a class of the output, from 0 to {width - 1}", got=wrong[0]
            )

    def __repr__(self) -> str:
        if self.kind == "predicted":
            inner = "None"
        elif self.kind == "callable":
            inner = self.name
        else:
            inner = ", ".join(map(str, self.classes))
            inner += "" if self.against is None else f", {self.against}"
        where = "".join(f"[{part!r}]" for part in self.where)
        return f"Target.{self.kind}({inner}){where}"


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


def _columns(table: Tensor, classes: tuple[int, ...]) -> Tensor:
    width = table.shape[1]
    columns = torch.tensor([k % width for k in classes], device=table.device)
    return columns.expand(table.shape[0]).unsqueeze(1)


def _pick(table: Tensor, classes: tuple[int, ...]) -> Tensor:
    return table.gather(1, _columns(table, classes)).squeeze(1)


def _follow(output: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        inner = dict(children(output))
        if key not in inner:
            raise UnknownNameError("A path into the output", key, [str(k) for k in inner])
        output = inner[key]
    return output


def _examples(output: Any) -> str:
    """Three targets that would work for this output."""
    found = [(path, leaf) for path, leaf in leaves(output) if leaf.is_floating_point()]
    if not found:
        return "The output holds no floating-point tensor, so nothing in it can be explained."
    path, leaf = found[0]
    read = "output" + "".join(f"[{key!r}]" for key in path)
    tries = [f"target=lambda output: {read}.flatten(1).sum(1)"]
    if leaf.ndim >= 2:
        index = ", ".join(["0"] * (leaf.ndim - 1))
        tries.append(f"target=lambda output: {read}[:, {index}]")
    if leaf.ndim > 2:
        tries.append(f"target=lambda output: {read}[:, 0].flatten(1).mean(1)")
    if path and leaf.ndim <= 2:
        given = f"({', '.join(map(repr, path))}, 0)"
        tries.insert(0, f"target={given if isinstance(path[0], str) else f'Target.path{path}'}")
    return "What would work: " + "; ".join(tries[:3]) + "."
