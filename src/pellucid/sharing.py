"""Methods that are compared share one run of the model, and keep their notes apart.

The run is recorded for all targets at once; where some methods read the tape and others autograd's
gradient, autograd follows the same run. And where the samples of a batch share statistics, there
is a note on that.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from pellucid.batching import is_out_of_memory
from pellucid.case import SOFTMAX_NOTE, Case, Counter
from pellucid.errors import PellucidError
from pellucid.features import Features, FeaturesLike, Players
from pellucid.outputs import put_back
from pellucid.tape.adjoints import is_training_norm
from pellucid.tape.joint import Run, cuts_path, run_once
from pellucid.tape.operations import Operation, RandomState
from pellucid.tape.record import Tape
from pellucid.target import Outcome, Target

T = TypeVar("T")

BATCH_NOTE = (
    "The model normalizes by the statistics of its batch, though not in training mode: answers "
    "depend on which samples are in it together."
)
# So many scores are kept for targets whose turn is still to come.
READ = 2**24
# What has been computed for a target, by name, with the notes that were made on the way.
Store: TypeAlias = dict[str, tuple[Any, list[str]]]


@dataclass(eq=False)
class Recording:
    """The run of a model on one batch that methods share, with every target on it in turn.

    `reads` is what any of the methods asks for: where that is the gradient, autograd follows the
    run too, unless the model cannot be run so; then it is run again without, as for one method
    alone. More runs are recorded only for targets that write to the output, and none where no
    method reads the tape of the one target. `runs` has what was found for each target so far,
    `players` those that the inputs were cut into, by `Features`; `outcomes` hold what one run that
    is not recorded gave for all targets, with notes, and `scores` what runs at other points gave
    for those targets whose turn is still to come.
    """

    targets: tuple[Target, ...]
    reads: frozenset[str]
    runs: list[Run] = field(default_factory=list)
    stopped: bool = False
    players: dict[Features, Players] = field(default_factory=dict)
    outcomes: list[tuple[Outcome, list[str]]] = field(default_factory=list)
    scores: dict[tuple[Hashable, int], Tensor] = field(default_factory=dict)

    @property
    def wanted(self) -> bool:
        """Whether a run is to be recorded."""
        return "tape" in self.reads or (len(self.targets) > 1 and bool(self.reads))

    @property
    def followed(self) -> bool:
        """Whether autograd follows what is recorded."""
        return self.wanted and "gradient" in self.reads and not self.stopped

    def of(self, case: Case, number: int) -> Run:
        """The run with one of the targets on it; the case that asks first pays for it."""
        while len(self.runs) <= number:
            self.runs += self._more(case, self.targets[len(self.runs) :])
        return self.runs[number]

    def _more(self, case: Case, targets: tuple[Target, ...]) -> list[Run]:
        run = partial(run_once, case.program, case.inputs, targets)
        case.count(forward=len(case))
        if not self.followed or case.embedded is not None:
            return run(followed=False)
        random = RandomState.now()
        try:
            return run(followed=True)
        except (PellucidError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
        self.stopped = True
        random.put()
        for state in case.program.states or ():
            state.restore()
        return self._more(case, targets)


@dataclass(frozen=True)
class SharedCase(Case):
    """One method's view of a case: what another has computed is there, and so is what it noted.

    A note belongs to every method that asked for what it is about, and to no other. So each
    method says the same alone as among others, in whatever order. Cases at other points, which
    are made from this one, are shared no more. `number` is that of the target in the recording.
    """

    recording: Recording = field(kw_only=True)
    number: int = 0
    store: Store = field(default_factory=dict)

    @classmethod
    def of(cls, case: Case, recording: Recording, *, shared: bool = True) -> "SharedCase":
        """A case whose runs are those of a recording; `shared` if several answers read them."""
        kept = {each.name: getattr(case, each.name) for each in fields(Case)}
        return cls(**kept | {"shared": shared}, recording=recording)

    @cached_property
    def tape(self) -> Tape:
        """The recorded run, with the target on it."""
        return self._once("tape", self._recorded)

    @cached_property
    def gradient(self) -> list[Tensor]:
        """The gradient of the score at the inputs, in the shape of each; zeros where unused."""
        return self._once("gradient", lambda: _of(self, "gradient"))

    @cached_property
    def outcome(self) -> Outcome:
        """Output and score at the inputs, from whatever pass computed them first."""
        return self._once("outcome", self._first_outcome)

    def view(self, counter: Counter) -> "SharedCase":
        """The same for another method, which books on a counter of its own."""
        return replace(self, counter=counter)

    def aimed(self, number: int) -> "SharedCase":
        """The case of another target of the same recording."""
        return replace(self, target=self.recording.targets[number], number=number, store={})

    def players(self, features: FeaturesLike) -> Players:
        """The players of each sample: superpixels, say, are found once for all methods."""
        made, known = Features.of(features), self.recording.players
        if self.point:
            return super().players(made)
        if made not in known:
            known[made] = super().players(made)
        return known[made]

    def autograd(self) -> list[Tensor | None]:
        """What autograd gave for each input on the shared run, or gives on a run of its own."""
        return self._followed() or super().autograd()

    def _followed(self) -> list[Tensor | None] | None:
        """What autograd gave on the shared run; `None` where it did not follow, or refused."""
        if not (self.shared and self.recording.followed):
            return None
        tape = self._apart()
        found = self.recording.of(self, self.number).gradient
        if found is not None:
            self.count(backward=len(self))
            self.program.cuts = self.program.cuts or cuts_path(tape)
            self.__dict__.setdefault("outcome", tape.outcome)
        return found

    def _recorded(self) -> Tape:
        """The recording, with a note if it normalizes by the batch though no module should."""
        tape: Tape
        if self.shared:
            tape = self.noted(self.recording.of(self, self.number).tape)
        else:
            tape = _of(self, "tape")
        training = any(norm.training for norm in batch_norms(self.program.model))
        if not training and any(map(_mixes_samples, tape.operations)):
            self.counter.note(BATCH_NOTE)
        return tape

    def _first_outcome(self) -> Outcome:
        """That of the recording, if there is to be one."""
        if self.shared and self.recording.wanted:
            return self._apart().outcome
        if len(self.recording.targets) > 1 and not self.point:
            return self._one_of_all()
        with torch.no_grad():
            return self._forward(self.inputs)

    def _one_of_all(self) -> Outcome:
        """What one run of the model, which is not recorded, says for all targets."""
        known = self.recording.outcomes
        if not known:
            with torch.no_grad():
                raw, scores = self.program.run(self.inputs)
                self.count(forward=len(self))
                for aimed in map(self.aimed, range(len(self.recording.targets))):
                    apart = aimed.view(Counter())
                    with put_back(raw if aimed.target.function is not None else ()):
                        found = apart.outcome_of(raw, scores)
                        found = replace(found, score=found.score.clone())
                    known.append((found, apart.counter.notes))
        found, notes = known[self.number]
        _note(self.counter, notes)
        return found

    def answered(
        self, count: int, name: Callable[[], Hashable], run: Callable[[Sequence[Target]], Tensor]
    ) -> Tensor:
        """So many scores of points, which another target may have read from its runs before."""
        last, scores = len(self.recording.targets) - 1, self.recording.scores
        if self.point or last == 0:
            return super().answered(count, name, run)
        points = name()
        if (points, self.number) not in scores:
            numbers = range(self.number, min(last, self.number + READ // max(count, 1)) + 1)
            for number, found in zip(numbers, run(self._aims(numbers)), strict=True):
                scores[points, number] = found.clone()
        return scores.pop((points, self.number))

    def _aims(self, numbers: Sequence[int]) -> list[Target]:
        """Some targets as they are resolved; what it costs is booked, and noted in their turn."""
        cases = [self.aimed(number).view(Counter()) for number in numbers]
        found = [case.outcome.target for case in cases]
        for case in cases:
            self.count(forward=case.counter.forward)
        return found

    def _apart(self) -> Tape:
        """The tape, of whose notes only those on the score are those of this method."""
        apart = self.view(Counter())
        tape, spent = apart.tape, apart.counter
        self.count(forward=spent.forward, backward=spent.backward)
        _note(self.counter, _on_score(spent.notes))
        return tape

    def _once(self, name: str, make: Callable[[], T]) -> T:
        """Compute, or take what another method has computed, and note what was noted then."""
        if not self.shared:
            return make()
        if name not in self.store:
            before, self.counter.notes = self.counter.notes, []
            try:
                found = make()
            finally:
                made, self.counter.notes = self.counter.notes, before
            self.store[name] = (found, made)
            if "outcome" in self.__dict__:  # a gradient comes with the outcome of its pass
                self.store.setdefault("outcome", (self.__dict__["outcome"], _on_score(made)))
        value: T
        value, notes = self.store[name]
        _note(self.counter, notes)
        return value


def _of(case: Case, name: str) -> Any:
    """What a case alone computes under a name."""
    return vars(Case)[name].func(case)


def batch_norms(model: Callable[..., Any]) -> list[_BatchNorm]:
    """The batch normalizations among the modules of a model."""
    named = getattr(model, "named_modules", None)
    found = [module for _, module in named()] if named is not None else []
    return [module for module in found if isinstance(module, _BatchNorm)]


def normalizes_by_batch(model: Callable[..., Any]) -> bool:
    """Whether the samples of a batch share statistics, so that an answer depends on the others."""
    return any(norm.training or norm.running_mean is None for norm in batch_norms(model))


def _mixes_samples(operation: Operation) -> bool:
    """Whether it normalizes over samples; what does so in each of them has them as channels."""
    return is_training_norm(operation) and operation.slots[0].shape[0] > 1


def batch_notes(model: Callable[..., Any]) -> list[str]:
    """A note if modules normalize by the batch in evaluation mode, for want of other statistics.

    In training mode a warning says so.
    """
    norms = batch_norms(model)
    training = any(norm.training for norm in norms)
    return [BATCH_NOTE] if not training and any(n.running_mean is None for n in norms) else []


def _on_score(notes: list[str]) -> list[str]:
    """Those notes that say what is explained."""
    return [note for note in notes if note == SOFTMAX_NOTE]


def _note(counter: Counter, notes: list[str]) -> None:
    for note in notes:
        counter.note(note)
