"""Methods that are compared share one recording and one gradient, and keep their notes apart.

And where the samples of a batch share statistics, there is a note on that.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from pellucid.case import SOFTMAX_NOTE, Case, Counter
from pellucid.tape.adjoints import is_training_norm
from pellucid.tape.operations import Operation
from pellucid.tape.record import Tape
from pellucid.target import Outcome

T = TypeVar("T")

BATCH_NOTE = (
    "The model normalizes by the statistics of its batch, though not in training mode: answers "
    "depend on which samples are in it together."
)
# What has been computed, by name, with the notes that were made on the way.
Store: TypeAlias = dict[str, tuple[Any, list[str]]]


@dataclass(frozen=True)
class SharedCase(Case):
    """One method's view of a case: what another has computed is there, and so is what it noted.

    A note belongs to every method that asked for what it is about, and to no other. So each
    method says the same alone as among others, in whatever order. Cases at other points, which
    are made from this one, are shared no more.
    """

    store: Store = field(default_factory=dict)

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

    def _recorded(self) -> Tape:
        """The recording, with a note if it normalizes by the batch though no module should."""
        tape: Tape = _of(self, "tape")
        training = any(norm.training for norm in batch_norms(self.program.model))
        if not training and any(map(_mixes_samples, tape.operations)):
            self.counter.note(BATCH_NOTE)
        return tape

    def _first_outcome(self) -> Outcome:
        """That of the recording, of whose notes only those on the score are on this."""
        if not self.shared:
            alone: Outcome = _of(self, "outcome")
            return alone
        apart = self.view(Counter())
        found = apart.tape.outcome
        spent = apart.counter
        self.count(forward=spent.forward, backward=spent.backward)
        _note(self.counter, _on_score(spent.notes))
        return found

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
