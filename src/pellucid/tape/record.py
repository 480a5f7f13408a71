"""Run a program once, and write the tape.

The layer of a call is known from module hooks that are global, and there only while recording, so
that nothing is ever written to the model.
"""

import sys
import threading
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from pellucid.errors import InputError, UnknownNameError
from pellucid.outputs import kept
from pellucid.program import AFTER_SOFTMAX, SOFTMAX, call, held_by, untouched
from pellucid.structure import Inputs, leaves, transform
from pellucid.tape.operations import Operation, Value
from pellucid.tape.paths import Paths, hooked
from pellucid.tape.recorder import Recorder
from pellucid.target import Outcome, Target

if TYPE_CHECKING:
    from pellucid.propagate.composites import Composite
    from pellucid.tape.table import Listing

T = TypeVar("T")

# Flags of torch are global to the process: one recording at a time may change them.
FLAGS = threading.RLock()


def record(model: Callable[..., Any], inputs: Any, *, batch_axis: Any = 0) -> "Tape":
    """Record one run of a model: `print` the tape to see operation, layer, shape and rule.

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    >>> [operation.name for operation in record(net, torch.ones(1, 2)).operations]
    ['addmm', 'relu']
    """
    with untouched(model):
        return record_run(model, Inputs.of(inputs, batch_axis))


def record_run(
    model: Callable[..., Any],
    inputs: Inputs,
    *,
    lines: bool = False,
    followed: bool = False,
    keep: bool = False,
) -> "Tape":
    """Record one run; with `lines`, also the source line of every operation (slow).

    `keep` copies what a rectifier overwrites, where a walk will ask for more than its result.
    A run that is `followed` by autograd leaves its graph on the tape: see `pellucid.tape.joint`.
    """
    recorder, layers = Recorder(lines=lines, keep=keep), Paths(model)
    recorder.followed = followed
    held = [(tensor, tensor._version) for tensor in held_by(model)]
    with torch.set_grad_enabled(followed):
        copies = inputs.replace([x.clone() for x in inputs.leaves]) if followed else inputs.copied()
        entries = [recorder.enter(leaf) for leaf in copies.leaves]
        with flags(model), _module_paths(layers, recorder), recorder:
            output = call(model, copies)
    recorder.forget_saved()
    recorder.disown(held)
    return Tape(
        model=model,
        inputs=inputs,
        entries=entries,
        output=output,
        recorder=recorder,
        layers=layers,
        followed=followed,
    )


@contextmanager
def flags(model: Callable[..., Any]) -> Iterator[None]:
    """Switch off the kernels that would hide operations, and put the flags back."""
    with FLAGS:
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        # Without the compiler loaded there is no compiled model, and loading it takes seconds.
        try:
            with eager() if _may_be_compiled(model) else nullcontext():
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def _may_be_compiled(model: Callable[..., Any]) -> bool:
    """Whether a model is compiled or has modules that are; of a function, nobody knows.

    Running one as its eager self makes Python forget which warnings it has shown.
    """
    if "torch._dynamo" not in sys.modules:
        return False
    compiled = torch._dynamo.OptimizedModule
    return not isinstance(model, nn.Module) or any(
        isinstance(module, compiled) or module._compiled_call_impl is not None
        for module in model.modules()
    )


@contextmanager
def eager() -> Iterator[None]:
    """Let a compiled model run as its eager self, and say nothing of our hooks."""
    with warnings.catch_warnings(), torch.compiler.set_stance("force_eager"):
        warnings.filterwarnings(
            "ignore", "Using `torch.compile.module.` when there are global hooks"
        )
        yield


@contextmanager
def _module_paths(layers: Paths, recorder: Recorder) -> Iterator[None]:
    """Follow which module runs, by global hooks that only this thread's recording listens to."""
    thread = threading.get_ident()
    unfused: list[AbstractContextManager] = []

    def enter(module: nn.Module, args: Any) -> None:
        if threading.get_ident() != thread:
            return
        recorder.paths.append(layers.enter(module, recorder.paths[-1]))
        if isinstance(module, nn.RNNBase):
            unfused.append(_unfused_recurrence())
            unfused[-1].__enter__()

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() != thread:
            return
        path = recorder.paths.pop()
        if isinstance(module, nn.RNNBase):
            unfused.pop().__exit__(None, None, None)
        if not isinstance(output, Tensor):
            output = next((leaf for _, leaf in leaves(output)), None)
        value = None if output is None else recorder.value_of(output)
        if path and value is not None and value.depends:
            recorder.layers.setdefault(path, []).append(value)

    with hooked(enter, leave):
        yield


@contextmanager
def _unfused_recurrence() -> Iterator[None]:
    """Let a recurrent layer run step by step, so that its gates are seen; for this layer only."""
    one_dnn, cudnn = torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    torch._C._set_cudnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(one_dnn)
        torch._C._set_cudnn_enabled(cudnn)


def remembered(memory: dict[Hashable, Any] | None, key: Hashable, make: Callable[[], T]) -> T:
    """What is kept in the memory of a tape under a key, made once; made anew without a memory.

    And where autograd follows: what it makes belongs to one walk.
    """
    if memory is None or torch.is_grad_enabled():
        return make()
    if key not in memory:
        memory[key] = make()
    found: T = memory[key]
    return found


@dataclass(frozen=True)
class Aim:
    """What a target adds to a tape."""

    score: Value
    outcome: Outcome
    softmax_removed: bool


@dataclass(frozen=True, kw_only=True, repr=False)
class Tape:
    """One recorded run: the operations that depend on the inputs, in the order they ran.

    `entries` are the values of the inputs, and `layers` knows the modules that ran by their paths;
    `aim` adds a target, so that `score_value` is the explained score of shape (sample,).

    `memory` is there where one run is walked for several targets, and they share it. Rules keep
    there what follows from the run alone (a denominator, say), under a key with the operation and
    a name: see `remembered`. It goes when the recording goes.
    """

    model: Callable[..., Any]
    inputs: Inputs
    entries: list[Value]
    output: Any
    recorder: Recorder
    layers: Paths
    extra: list[Operation] = field(default_factory=list)
    aimed: "Aim | None" = None
    followed: bool = False
    memory: dict[Hashable, Any] | None = None

    @property
    def score_value(self) -> Value:
        """The value of the explained score, shape (sample,)."""
        return self._aim.score

    @property
    def outcome(self) -> Outcome:
        """Output, score and resolved target of the run."""
        return self._aim.outcome

    @property
    def softmax_removed(self) -> bool:
        """Whether the score is the one before a softmax at the end of the model."""
        return self._aim.softmax_removed

    @property
    def _aim(self) -> "Aim":
        if self.aimed is None:
            raise RuntimeError("The tape must be given a target first: tape.aim(target).")
        return self.aimed

    @property
    def operations(self) -> list[Operation]:
        """All operations, those of the target last."""
        return [*self.recorder.operations, *self.extra]

    def aim(self, target: Target) -> "Tape":
        """Go on recording while the target reads its score from the output."""
        rows = self.inputs.rows
        more = self.recorder.copy(leaf for _, leaf in leaves(self.output))
        more.paths = ["<target>"]
        with torch.set_grad_enabled(self.followed), more:
            before = self._before_softmax()
        scores = target.before_softmax(self.output, before)
        resolved = target.resolve(scores, rows)
        with torch.set_grad_enabled(self.followed), more:
            score = resolved.score(scores, self.output)
        if score.shape != (rows,):
            raise InputError(
                f"A target must give one score for each of the {rows} samples", got=score
            )
        value = more.value_of(score) or Value(score, depends=False)
        start = len(self.recorder.operations)
        return replace(
            self,
            extra=more.operations[start:],
            aimed=Aim(
                value,
                Outcome(kept(resolved.said(self.output)), score, resolved),
                resolved.reads_softmax(self.output, scores),
            ),
        )

    @property
    def made(self) -> int:
        """The bytes of all that the run made of the inputs, each piece of memory once."""
        return sum(
            storage.memory.nbytes()
            for storage in self.recorder.storages.values()
            if storage.memory is not None and any(value.depends for value in storage.values)
        )

    def versions(self) -> list[int]:
        """How often each tensor of the output was written to, but for those that cannot be."""
        return [leaf._version for _, leaf in leaves(self.output) if not leaf.is_inference()]

    def layer(self, path: str) -> Value:
        """The value a layer returned, at the moment it returned; the last, if it ran often."""
        return self.returned(path)[-1]

    def returned(self, path: str) -> list[Value]:
        """What a layer returned each time it ran, of what depends on the inputs."""
        known = self.layers.known_as(path)
        if known not in self.recorder.layers:
            hint = "pellucid.record(model, inputs) lists what ran."
            raise UnknownNameError("A layer", path, self.recorder.layers, hint=hint)
        return self.recorder.layers[known]

    def consume(self) -> Iterator[Operation]:
        """Yield the operations from the last to the first, and let go of each after its turn.

        The memory of every value is freed as soon as nothing that is still to come needs it.
        """
        operations = self.operations
        for held in (self.recorder.operations, self.extra, self.recorder.known,
                     self.recorder.storages, self.recorder.layers):  # fmt: skip
            held.clear()
        while operations:
            yield operations.pop()

    def plan(self, composite: "str | Composite" = "auto") -> "Listing":
        """Which rule each operation would get, before anything is computed: print it.

        >>> tape = record(nn.Linear(2, 1), torch.ones(1, 2))
        >>> tape.plan("epsilon").rows[0].rule
        'Epsilon'
        """
        from pellucid.tape.table import listing

        return listing(self, composite)

    def source_line(self, number: int) -> str:
        """The source line of an operation, found by recording once more; empty for the target."""
        if number >= len(self.recorder.operations):
            return ""
        return record_run(self.model, self.inputs, lines=True).operations[number].line

    def _before_softmax(self) -> Any:
        """The output, with each tensor that is a softmax replaced by what it is a softmax of."""
        found = False

        def scores(leaf: Tensor) -> Tensor:
            nonlocal found
            steps = []
            value = self.recorder.value_of(leaf)
            operation = None if value is None else value.producer
            while operation is not None and operation.function._schema.name in AFTER_SOFTMAX:
                steps.append(operation)
                operation = operation.slots[0].producer
            if operation is None or operation.function._schema.name not in SOFTMAX:
                return leaf
            found = True
            before = operation.slots[0].tensor
            for step in reversed(steps):
                before = step.function(before, *step.arguments[1:], **step.keywords)
            return before

        replaced = transform(scores, self.output)
        return replaced if found else self.output

    def __len__(self) -> int:
        return len(self.operations)

    def __str__(self) -> str:
        from pellucid.tape.table import table

        return table(self)
