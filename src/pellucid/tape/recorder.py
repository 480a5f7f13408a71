"""The recorder: sees every ATen call below autograd, and keeps those that depend on the inputs.

What it has to get right, and how:

    which tensor is which    by the tensor object; after a write, or for another object on the same
                             memory, by storage and geometry (offset, shape, strides)
    in-place operations      make a new value; the old one keeps a copy of its data, or is dropped
                             where it can be computed again cheaply or the result says enough
    writes through a view    make a new value of the whole storage, written as a scatter, and other
                             views of it are read as slices of that
    calls nobody knows       are taken apart by torch's own table until the parts are known
"""

import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import enable_reentrant_dispatch
from torch.utils._python_dispatch import _disable_current_modes

from pellucid.dispatch import DispatchMode, called
from pellucid.program import DETACH
from pellucid.tape.calls import call_of, is_numbers, tensors_in
from pellucid.tape.frames import saves, source_line
from pellucid.tape.lookups import BAGS, looks_up_rows
from pellucid.tape.operations import Operation, Value, tensors_of
from pellucid.tape.storage import Storage, covers, geometry, strides

aten = torch.ops.aten

AS_STRIDED = aten.as_strided.default
CLONE = aten.clone.default

# Written in place, these leave a result that tells all a walk needs of the value they overwrite.
RESULT_SUFFICES = {"relu", "hardtanh", "clamp_min", "threshold"}
# The results of these are cheap to compute again, so that no copy is kept when one is overwritten.
CHEAP = {"native_batch_norm", "_native_batch_norm_legit_no_training", "add", "sub", "mul", "relu"}


class Recorder(DispatchMode):
    """Sees every ATen call below autograd, and keeps those that depend on the inputs."""

    def __init__(self, *, lines: bool = False, keep: bool = False) -> None:
        super().__init__()
        self.keep = keep
        self.operations: list[Operation] = []
        self.layers: dict[str, list[Value]] = {}
        self.paths: list[str] = [""]
        self.known: dict[int, Value] = {}
        self.storages: dict[int, Storage] = {}
        self.lines = lines
        # Operations that look up rows of a table -> their number among all calls that do.
        self.embeddings: dict[int, int] = {}
        self._lookups = 0
        self._inside = False
        # Where in the program the latest call was made, and whether this one is made there too.
        self._latest: tuple[int, ...] = ()
        self._again = False
        self._saving: list[Operation] = []
        # Of a run that autograd follows: whether it lost sight of parameters on the way.
        self.followed = self.severed = False

    def copy(self, read: Iterable[Tensor] = ()) -> "Recorder":
        """A recorder that goes on where this one is, from tensors that it reads."""
        more = Recorder(lines=self.lines, keep=self.keep)
        more.operations = list(self.operations)
        more.known, more.storages = dict(self.known), dict(self.storages)
        for tensor in read:
            key = tensor.untyped_storage()._cdata if tensor.layout is torch.strided else 0
            if key in more.storages:
                more.storages[key] = more.storages[key].copy()
        more.layers, more.embeddings = self.layers, self.embeddings
        return more

    def adopt(self, value: Value) -> None:
        """Begin with a value that another recorder made."""
        tensor = value.tensor
        storage = Storage(tensor.untyped_storage())
        storage.values.append(value)
        storage.objects.append(tensor)
        self.known[id(tensor)] = value
        self.storages[tensor.untyped_storage()._cdata] = storage

    def enter(self, tensor: Tensor) -> Value:
        """Begin with an input."""
        return self._register(tensor, depends=True)

    def value_of(self, tensor: Tensor) -> Value | None:
        """The value a tensor holds now, or `None` for one that has not been seen."""
        value = self.known.get(id(tensor))
        # The address is compared as well: `x.data = y` changes it under the same object.
        if value is not None and (value.address == 0 or value.address == tensor.data_ptr()):
            return value
        if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            return None  # stands for a row of a tensor: seen from outside only
        if tensor.layout is not torch.strided:
            return value
        storage = self.storages.get(tensor.untyped_storage()._cdata)
        return None if storage is None else self._alias(tensor, storage)

    def disown(self, memory: Iterable[tuple[Tensor, int]]) -> None:
        """Copy values that live in memory of the model's, which its next run may write over.

        Of constants those in tensors that the run wrote to: they do not have the version that they
        began with, and get back what they held.
        """
        for tensor, version in memory:
            storage = self.storages.get(tensor.untyped_storage()._cdata)
            for value in storage.values if storage is not None else ():
                if value.kept and (value.depends or tensor._version != version):
                    value.keep(value.tensor.clone())

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        frame = sys._getframe(1)
        place = (id(frame), id(frame.f_code), frame.f_lasti)
        self._again = place == self._latest
        if function is DETACH and saves(frame, again=self._again):
            return function(*args)
        result = self._see(function, args, kwargs or {})
        self._latest = place
        return result

    def _see(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run a call, and write it down if it depends on the inputs."""
        call, tensors = call_of(function), tensors_in(args)
        reads = kwargs
        if kwargs:
            reads = {k: v for k, v in kwargs.items() if k not in call.outs}
            tensors += tensors_in(reads.values())
        slots, depends = self._read(tensors)
        written = call.written(args, kwargs) if call.writes else []
        looks_up = not self._inside and looks_up_rows(function, args)
        self._lookups += looks_up
        if not depends:
            self._lookups += function in BAGS and not self._inside
            self._forget(written)
            return called(function, args, kwargs)
        if call.parts is not None:
            with self, self._taking_apart(function):
                return call.parts(*args, **kwargs)
        if function is AS_STRIDED and not covers(tensors[0]):
            result = function(*args, **kwargs)
            self.value_of(result)  # a slice of the whole memory, not of the part it is called on
            return result
        for i, value in enumerate(slots):
            slots[i] = self._register(tensors[i], depends=False) if value is None else value
        operation = self._append(call.recorded, args, reads, slots)
        if looks_up:
            self.embeddings[operation.number] = self._lookups
        if call.moves:
            self._before_move(tensors[0], slots[0])
        if written:
            operation.mutates = tuple(i for i, t in enumerate(tensors) if _is_in(t, written))
            return self._write(operation, written, lambda: function(*args, **kwargs))
        result = function(*args, **kwargs)
        self._produce(operation, [self._output(item) for item in tensors_of(result)])
        return result

    def _before(self, operation: Operation) -> Operation:
        """The operation of the call before, which slices of memory may have come after."""
        number = max(operation.number - 1, 0)
        while number and self.operations[number].function is AS_STRIDED:
            number -= 1
        return self.operations[number]

    def forget_saved(self) -> None:
        """Take off the copies that autograd made, and alone read, of what was written over."""
        if not self._saving:
            return
        read = {value for operation in self.operations for value in operation.slots}
        idle = {op for op in self._saving if op.function is CLONE and op.output not in read}
        if not idle:
            return
        self.operations = [operation for operation in self.operations if operation not in idle]
        numbers = {operation.number: i for i, operation in enumerate(self.operations)}
        for number, operation in enumerate(self.operations):
            operation.number = number
        self.embeddings = {numbers[old]: call for old, call in self.embeddings.items()}

    @contextmanager
    def _taking_apart(self, function: Any) -> Iterator[None]:
        """Do not count what parts of a call look up, since they run only here; but for bags."""
        before, self._inside = self._inside, self._inside or function not in BAGS
        try:
            yield
        finally:
            self._inside = before

    def _read(self, tensors: list[Tensor]) -> tuple[list[Value], bool]:
        """The values of tensors, `None` for one that is new, and whether any depends on an input.

        Written out, since it is asked of every call.
        """
        known, depends = self.known, False
        found: list[Any] = []
        for tensor in tensors:
            value = known.get(id(tensor))
            if value is None or (value.address and value.address != tensor.data_ptr()):
                value = self.value_of(tensor)
            if value is not None and value.depends:
                depends = True
            found.append(value)
        return found, depends

    def _write(self, operation: Operation, written: list[Tensor], run: Callable[[], Any]) -> Any:
        """Run a call that writes to tensors, and give those their new values."""
        if self._again and torch.is_grad_enabled():
            self._saving.append(self._before(operation))
        operation.attach()
        wholes = [self._before_write(tensor, operation) for tensor in written]
        result = run()
        outputs = tensors_of(result) or written
        for tensor, whole in zip(written, wholes, strict=True):
            self._after_write(tensor, whole, operation, outputs)
        self._produce(operation, [
            self.known[id(item)] if _is_in(item, written) else self._output(item)
            for item in outputs
        ])  # fmt: skip
        return result

    def _output(self, item: Tensor | None) -> Value | None:
        """A new value; none for what some calls return empty because nobody asked for it."""
        if item is None or (item.ndim == 1 and item.shape[0] == 0):
            return None
        return self._register(item, depends=True)

    def _alias(self, tensor: Tensor, storage: Storage) -> Value:
        """Another tensor object on known memory: the value of the same geometry, or a slice."""
        place = geometry(tensor)
        for value in storage.values:
            if value.kept and geometry(value.tensor) == place:
                self.known[id(tensor)] = value
                storage.objects.append(tensor)
                return value
        whole = storage.values[0]
        if not whole.depends:
            return self._register(tensor, depends=False)
        size, stride, offset, _ = place
        slicing = self._view(aten.as_strided.default, [whole], size, stride, offset)
        value = self._register(tensor, depends=True)
        self._produce(slicing, [value])
        return value

    def _register(self, tensor: Tensor, *, depends: bool) -> Value:
        value = Value(tensor, depends=depends)
        self.known[id(tensor)] = value
        if tensor.layout is torch.strided:
            value.address = tensor.data_ptr()
            memory = tensor.untyped_storage()
            key = memory._cdata
            storage = self.storages.get(key)
            if storage is None:
                storage = self.storages[key] = Storage(memory)
            storage.values.append(value)
            storage.objects.append(tensor)
        return value

    def _append(self, function: Any, args: Any, kwargs: Any, slots: list[Value]) -> Operation:
        """Write down a call, with values in the place of its tensors."""
        rest = iter(slots)
        arguments = tuple(_bound(args, rest))
        keywords = dict(zip(kwargs, _bound(kwargs.values(), rest), strict=True)) if kwargs else {}
        number, path = len(self.operations), self.paths[-1]
        self.severed |= self.followed and not torch.is_grad_enabled()
        operation = Operation(number, function, arguments, keywords, slots, path)
        if self.lines:
            operation.line = source_line()
        self.operations.append(operation)
        return operation

    def _view(self, function: Any, slots: list[Value], *place: Any) -> Operation:
        """Write down a slice of memory, or a write to one, that the program made without a call."""
        tensors = [value.tensor for value in slots]
        return self._append(function, (*tensors, *place), {}, slots)

    def _produce(self, operation: Operation, values: list[Value | None]) -> None:
        operation.outputs = values
        carries, producer = operation.carries, weakref.ref(operation)
        for position, value in enumerate(values):
            if value is not None:
                value.made_by(producer, position, carries)

    def _before_write(self, tensor: Tensor, operation: Operation) -> Value | None:
        """Save what is about to be overwritten; return the whole storage if only a part is."""
        storage = self.storages.get(tensor.untyped_storage()._cdata, Storage())
        partial = not covers(tensor)
        whole = self._whole(tensor, storage) if partial else None
        for held in storage.objects:
            self.known.pop(id(held), None)
        for value in storage.values:
            if not value.kept:
                continue
            if value.tensor is tensor and not partial and self._may_drop(value, operation):
                value.drop()
            else:
                value.keep(_copied(value))
        return whole

    def _may_drop(self, value: Value, operation: Operation) -> bool:
        """Whether an overwritten value need not be copied; `keep` copies what is slow to get."""
        made = value.producer
        if made is None or not value.depends or (made.mutates and made.name not in CHEAP):
            return False
        return made.name in CHEAP or (operation.name in RESULT_SUFFICES and not self.keep)

    def _whole(self, tensor: Tensor, storage: Storage) -> Value:
        """The value of the whole storage: the one that covers it, or a copy with all parts."""
        first = storage.values[0] if storage.values else None
        if first is not None and first.kept and covers(first.tensor):
            return first
        before = self.value_of(tensor)
        self.severed |= tensor.requires_grad and (before is None or not before.depends)
        flat = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(
            tensor.untyped_storage()
        )
        whole = Value(flat.clone(), depends=False)
        for part in [value for value in storage.values if value.depends and value.kept]:
            size, stride, offset, _ = geometry(part.tensor)
            scatter = aten.as_strided_scatter.default
            operation = self._view(scatter, [whole, part], size, stride, offset)
            whole = Value(whole.tensor, depends=True)
            self._produce(operation, [whole])
        return whole

    def _before_move(self, tensor: Tensor, value: Value) -> None:
        """Hold the old geometry of a tensor object that is about to become a view of itself."""
        self.known.pop(id(tensor), None)
        size, stride, offset, _ = geometry(tensor)
        value.keep(tensor.as_strided(size, stride, offset))

    def _after_write(
        self, tensor: Tensor, whole: Value | None, operation: Operation, outputs: list[Any]
    ) -> None:
        """Register the written tensor and, if it was a part, the storage that now contains it."""
        self.storages.pop(tensor.untyped_storage()._cdata, None)
        if whole is None:
            result = self._register(tensor, depends=True)
            if operation.name == "relu" and not operation.slots[0].kept:
                operation.slots[0].rectified = result
            return
        value = Value(tensor, depends=True)
        value.address = tensor.data_ptr()
        position = next((i for i, o in enumerate(outputs) if o is tensor), 0)
        value.made_by(weakref.ref(operation), position, operation.carries)
        size, stride, offset, _ = geometry(tensor)
        scatter = self._view(aten.as_strided_scatter.default, [whole, value], size, stride, offset)
        live = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        live.set_(tensor.untyped_storage(), 0, whole.shape, strides(whole.tensor))
        self._produce(scatter, [self._register(live, depends=True)])
        storage = self.storages[tensor.untyped_storage()._cdata]
        storage.values.append(value)
        storage.objects.append(tensor)
        self.known[id(tensor)] = value

    def _forget(self, written: list[Tensor]) -> None:
        """Save constants that operations on the tape have read, and that are now overwritten."""
        for tensor in written:
            storage = self.storages.pop(tensor.untyped_storage()._cdata, None)
            if storage is None:
                continue
            for held in storage.objects:
                self.known.pop(id(held), None)
            for value in storage.values:
                value.keep(value.tensor.clone())


def _bound(arguments: Any, values: Iterator[Value]) -> list[Any]:
    """The arguments of a call with values in the place of tensors."""
    return [
        next(values) if isinstance(argument, Tensor)
        else type(argument)(_bound(argument, values))
        if isinstance(argument, (tuple, list)) and not is_numbers(argument)
        else argument
        for argument in arguments
    ]  # fmt: skip


def _is_in(tensor: Tensor | None, tensors: list[Tensor]) -> bool:
    return any(tensor is other for other in tensors)


def _copied(value: Value) -> Tensor:
    """A copy of what is about to be overwritten; of a constant, one that autograd follows.

    What depends on the inputs is computed again where a tape is replayed; a constant is not.
    """
    if value.depends or not value.tensor.requires_grad:
        return value.tensor.clone()
    with enable_reentrant_dispatch(), _disable_current_modes(), torch.enable_grad():
        return value.tensor.clone()
