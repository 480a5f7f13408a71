"""What is explained: a program, its inputs and a target. Methods ask it for scores and gradients.

A case is one batch of samples. It counts the model evaluations that are spent on it, remembers
what was already computed (so that methods that are compared share it), and makes further cases at
other points.
"""

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from pellucid.baseline import Baseline, BaselineLike
from pellucid.batching import Batcher
from pellucid.errors import InputError, ModelError
from pellucid.explanation import Evaluations
from pellucid.features import Features, FeaturesLike, Players
from pellucid.outputs import kept, put_back
from pellucid.program import Program
from pellucid.structure import Inputs, Keys
from pellucid.tape.joint import cuts, differentiable, run_once
from pellucid.tape.record import Tape
from pellucid.tape.walk import gradient
from pellucid.target import Outcome, Target
from pellucid.tokens import Embedded, embedded

SOFTMAX_NOTE = "The model ends in a softmax; the score before it is explained."
UNUSED_NOTE = "The score does not depend on `{}`; its values are zero."
REFUSED_NOTE = "Autograd refuses this program; its gradient is walked on the tape."
# What autograd says of programs that it cannot follow and the tape can: they overwrite what it
# needs, run in inference mode, or checkpoint by a backward pass of their own.
REFUSALS = (
    "modified by an inplace operation",
    "being modified inplace",
    "Inference tensors",
    "Checkpointing is not compatible",
    "torch.utils.checkpoint is incompatible",
)
NO_DERIVATIVE = re.compile(r"derivative for (\S+) is not implemented")
OFF_NOTE = "The model switches gradients off where it runs; the gradient is walked on the tape."
CUT_NOTE = "`{}` in `{}` cuts the path from the input: what goes through it is not followed."
INTEGER_NOTE = "`{}` holds integers that no embedding reads; its values are zero."


def check_derivative(error: RuntimeError) -> None:
    """Raise an error of ours if autograd says that an operation has no derivative."""
    found = NO_DERIVATIVE.search(str(error))
    if found is not None:
        raise ModelError(
            "The operations of a model must have gradients to be explained through",
            found=f"`{found[1]}`, whose derivative torch does not know",
            hint="If it is a step, whose derivative is zero, detach its input; else write it by "
            "other operations.",
        ) from error


@dataclass
class Counter:
    """Model evaluations spent so far, and what a user should know about them."""

    forward: int = 0
    backward: int = 0
    calls: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Remember a sentence once."""
        if text not in self.notes:
            self.notes.append(text)

    def add(self, other: "Counter") -> None:
        """Book what another counter has booked."""
        self.forward += other.forward
        self.backward += other.backward
        self.calls += other.calls
        for text in other.notes:
            self.note(text)

    def spent(self) -> Evaluations:
        """A snapshot."""
        return Evaluations(self.forward, self.backward, self.calls)


@dataclass(frozen=True)
class Case:
    """One batch of samples of which one score each is explained.

    `rows` are the positions of the samples in the user's batch of `total` samples. `point` says
    that this is another point than the user's, `fresh` that its tensors were made for one run of
    the model alone. `embedded` is the program as a function of the
    embeddings it reads, where it reads integers. `keep` lets recordings keep what rectifiers
    overwrite, for walks that read it.
    """

    program: Program
    inputs: Inputs
    target: Target
    rows: Tensor
    total: int
    batcher: Batcher
    counter: Counter
    shared: bool = False
    point: bool = False
    fresh: bool = False
    embedded: Embedded | None = None
    keep: bool = False
    # Whether autograd follows what is computed: see `pellucid.attached`.
    attached: ClassVar[bool] = False

    def __len__(self) -> int:
        return self.inputs.rows

    def of_embeddings(self) -> Self:
        """The case of the embeddings that the program reads, if it reads any for integers."""
        if any(leaf.is_complex() for leaf in self.inputs.leaves):
            raise InputError(
                "Inputs must be real numbers or integers to be explained",
                found="complex numbers",
                hint="Explain lambda x: model(torch.view_as_complex(x)) at "
                "torch.view_as_real(inputs).",
            )
        if all(leaf.is_floating_point() for leaf in self.inputs.leaves):
            return self
        self.count(forward=max(2, len(self)))
        found = embedded(self.program.model, self.inputs)
        if found is None:
            self._check_read()
            return self
        function, inputs = found
        for note in function.notes:
            self.counter.note(note)
        program = Program(function, self.program.states, self.program.budget)
        return replace(self, program=program, inputs=inputs, embedded=function)

    def _check_read(self) -> None:
        """Raise if there is nothing but integers, and no embedding of them is known."""
        if not any(leaf.is_floating_point() for leaf in self.inputs.leaves):
            raise InputError(
                "Integer inputs must be read by an embedding to be explained",
                found="a model that looks none of them up in a table, or in a way that is not "
                "followed",
                hint="Pass floating-point inputs, or explain the model from its embeddings on. "
                "Methods that only call it take ids as they are where one of these, a mask "
                "token's, stands for absence: baseline=Baseline.token(id).",
            )

    @cached_property
    def outcome(self) -> Outcome:
        """Output and score at the inputs, from whatever pass computed them first."""
        if self.shared:
            return self.tape.outcome
        with torch.no_grad():
            return self._forward(self.inputs)

    @cached_property
    def gradient(self) -> list[Tensor]:
        """The gradient of the score at the inputs, in the shape of each; zeros where unused.

        It is autograd's, which also sees what the tape does not: backward functions and hooks of
        the user's. Only a program that autograd refuses, or follows nowhere, gets the gradient
        that is walked on the tape.
        """
        if self.embedded is not None:
            return self._walked()
        try:
            found = self.autograd()
        except RuntimeError as error:
            check_derivative(error)
            if not any(sign in str(error) for sign in REFUSALS):
                raise
            self.counter.note(REFUSED_NOTE)
            return self._walked()
        if self._may_be_cut(found):
            _ = self.tape  # which notes what cuts the path, and where
            if all(signal is None for signal in found):
                found = self._walked_signals()
                if any(signal is not None for signal in found):
                    self.counter.note(OFF_NOTE)
        return self.complete(found)

    def _may_be_cut(self, found: list[Tensor | None]) -> bool:
        """Whether autograd did not follow the program, or there is something that it may not."""
        if all(signal is None for signal in found):
            return any(leaf.is_floating_point() for leaf in self.inputs.leaves)
        return self.program.cuts and not self.point

    @cached_property
    def tape(self) -> Tape:
        """The recorded run, with the target on it."""
        (run,) = run_once(self.program, self.inputs, [self.target], followed=False, keep=self.keep)
        self.count(forward=len(self))
        return self.noted(run.tape)

    def noted(self, tape: Tape) -> Tape:
        """A tape of this case, now that notes say what a user should know of it."""
        if tape.softmax_removed:
            self.counter.note(SOFTMAX_NOTE)
        for what, where in cuts(tape):
            self.counter.note(CUT_NOTE.format(what, where or "the model itself"))
        self.__dict__.setdefault("outcome", tape.outcome)
        return tape

    def score_at(self, inputs: Inputs) -> Tensor:
        """The score of the same targets at other points, of shape (sample,)."""
        with torch.no_grad():
            return self.moved(inputs, torch.arange(len(self))).outcome.score

    def moved(self, inputs: Inputs, rows: Tensor, *, fresh: bool = False) -> "Case":
        """The case of other points: row i of `inputs` belongs to sample `rows[i]` of this case."""
        return replace(
            self,
            inputs=inputs,
            target=self.outcome.target.select(rows),
            rows=self.rows[rows],
            batcher=Batcher(max(1, inputs.rows), start=1),
            shared=False,
            point=True,
            fresh=fresh,
        )

    def select(self, rows: Tensor) -> "Case":
        """The case of some of its samples."""
        return replace(self.moved(self.inputs.select(rows), rows), batcher=self.batcher)

    def read(self, inputs: Inputs, rows: Tensor, aims: Sequence[Target]) -> Tensor:
        """The scores of resolved targets, (target, row), at points made for this one run.

        Row i of `inputs` belongs to sample `rows[i]` of this case. This is what `moved` gives, of
        several targets at once, and with nothing kept of the output.
        """
        with torch.no_grad():
            raw, scores = self.program.run(inputs, fresh=True)
            self.count(forward=inputs.rows)
            found = []
            for aim in aims:
                others = raw if aim.function is not None and len(aims) > 1 else ()
                with put_back(others):  # a function may write to the output that others read
                    score = _scored(aim.select(rows), raw, scores, inputs.rows)[1]
                    found.append(score.unsqueeze(0) if len(aims) == 1 else score.clone())
        return found[0] if len(found) == 1 else torch.stack(found)

    def answered(
        self, count: int, name: Callable[[], Hashable], run: Callable[[Sequence[Target]], Tensor]
    ) -> Tensor:
        """So many scores of points, which `run` finds for a list of targets, (target, point).

        `name` tells these points from others. Where more targets are explained, those whose turn is
        still to come are read from the same runs of the model.
        """
        return run([self.outcome.target])[0]

    def stream(
        self, times: int, point: Callable[[int, Tensor], Inputs], what: str = ""
    ) -> Iterator[tuple["Case", Tensor, Tensor]]:
        """Yield cases at `times` points for each sample, in full batches.

        `point(draw, rows)` gives the points of one draw for some samples. What is yielded is a
        case with, for each of its rows, the sample it belongs to and the draw. Rows are ordered
        by draw, so that no draw is needed in two batches that are far apart.
        """
        samples = len(self)
        _ = self.outcome  # the target is resolved before the first batch

        def work(start: int, stop: int) -> tuple["Case", Tensor, Tensor]:
            flat = torch.arange(start, stop)
            rows, draws = flat % samples, flat // samples
            points = [point(int(d), rows[draws == d]) for d in draws.unique()]
            joined = [torch.cat(parts) for parts in zip(*(p.leaves for p in points), strict=True)]
            return self.moved(self.inputs.replace(joined), rows), rows, draws

        yield from self.batcher.run(times * samples, work, what)

    def reference(self, baseline: BaselineLike) -> Inputs:
        """The one reference point of each sample."""
        return Baseline.only(self.background(baseline))

    def background(self, baseline: BaselineLike) -> list[Inputs]:
        """The reference points of each sample."""
        made = self._of_rows(Baseline.of(baseline))
        if self.inputs.schema is not None:
            made = self.inputs.schema.baseline(made, self.inputs)
        if self.embedded is None:
            return made.background(self.inputs)
        found = self.embedded.background(made, self.inputs)
        if made.tensors:  # ids, which were embedded by running the model on them
            self.count(forward=len(found) * len(self))
        return found

    def players(self, features: FeaturesLike) -> Players:
        """The players of each sample; of integers that are embedded, those of the integers."""
        made = Features.of(features)
        if self.embedded is None:
            found = made.players(self.inputs, self.rows, self.total)
            schema = self.inputs.schema
            return found if schema is None else schema.named(found, self.inputs)
        own = self.embedded.own(self.inputs)
        return self.embedded.lift_players(made.players(own, self.rows, self.total))

    def count(self, *, forward: int = 0, backward: int = 0) -> None:
        """Book model evaluations, in samples."""
        self.counter.forward += forward
        self.counter.backward += backward
        self.counter.calls += 1 if forward else 0

    def _of_rows(self, baseline: Baseline) -> Baseline:
        own = self.inputs if self.embedded is None else self.embedded.own(self.inputs)
        axes: dict[Keys, int | None] = dict(zip(own.paths, own.axes, strict=True))
        return baseline.select(self.rows, self.total, axes)

    def _forward(self, inputs: Inputs) -> Outcome:
        raw, scores = self.program.run(inputs, fresh=self.fresh)
        self.count(forward=len(self))
        return self.outcome_of(raw, scores)

    def outcome_of(self, raw: Any, scores: Any) -> Outcome:
        """What an output says, and what it is with a softmax at its end left out."""
        target, score = _scored(self.target, raw, scores, len(self))
        if target.reads_softmax(raw, target.before_softmax(raw, scores)):
            self.counter.note(SOFTMAX_NOTE)
        return Outcome(kept(target.said(raw)), score, target)

    def _walked(self) -> list[Tensor]:
        """The gradient as it is walked on the tape."""
        return self.complete(self._walked_signals())

    def _walked_signals(self) -> list[Tensor | None]:
        self.count(backward=len(self))
        return gradient(self.tape)

    def autograd(self) -> list[Tensor | None]:
        """What autograd gives for each input; `None` for one that it does not come to."""
        points = self.inputs.replace([differentiable(leaf) for leaf in self.inputs.leaves])
        free = [leaf for leaf in points.leaves if leaf.requires_grad]
        with torch.enable_grad():
            outcome = self._forward(points)
            found: list[Tensor | None] = [None] * len(free)
            if free and outcome.score.requires_grad:
                found = list(torch.autograd.grad(outcome.score.sum(), free, allow_unused=True))
                self.count(backward=len(self))
        outcome = replace(outcome, score=outcome.score.detach())
        self.__dict__.setdefault("outcome", outcome)
        by_leaf = dict(zip(map(id, free), found, strict=True))
        return [by_leaf.get(id(leaf)) for leaf in points.leaves]

    def complete(self, signals: list[Tensor | None]) -> list[Tensor]:
        """Signals at the inputs; zeros, and a note, for an input that the score does not use.

        If it uses none, the model is run once more elsewhere, to see whether zero is the truth.
        """
        if all(signal is None for signal in signals):
            self.program.check_disconnected(self.inputs, self.outcome)
            self.count(forward=len(self))
        return [self._or_zero(i, signal) for i, signal in enumerate(signals)]

    def _or_zero(self, position: int, signal: Tensor | None) -> Tensor:
        leaf, label = self.inputs.leaves[position], self.inputs.labels()[position]
        if signal is not None:
            return signal
        note = UNUSED_NOTE if leaf.is_floating_point() else INTEGER_NOTE
        if self.embedded is None or position not in self.embedded.read:
            self.counter.note(note.format(label))
        return torch.zeros_like(leaf)


def _scored(target: Target, raw: Any, scores: Any, rows: int) -> tuple[Target, Tensor]:
    """A target as it is resolved on an output, and its score of shape (sample,)."""
    scores = target.before_softmax(raw, scores)
    target = target.resolve(scores, rows)
    score = target.score(scores, raw)
    if score.shape != (rows,):
        raise InputError(f"A target must give one score for each of the {rows} samples", got=score)
    return target, score
