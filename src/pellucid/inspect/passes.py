"""A model over a whole data set, part by part: what it answers, and what its layers return.

This is what all that looks at many samples stands on: each sample runs forward once, without
gradients, in batches that fit in memory, and nothing is left on the model between two batches.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, is_dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from pellucid.batching import FORWARD_ELEMENTS, Batcher, BatchSize, auto_rows, check_batch_size
from pellucid.errors import InputError, ModelError
from pellucid.inside import Loans, OverwrittenError, check_layers, run_inside
from pellucid.program import Program, untouched
from pellucid.run.samples import Samples
from pellucid.structure import Inputs
from pellucid.target.unit import INSIDE, OUTPUT

T = TypeVar("T")

# Rows of a batch that is made of a data set of single samples, where the user left it open.
ROWS = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Pass:
    """One batch: samples `start` to `stop`, what they are, and what the model made of them.

    `scores` is the output before a softmax at its end, `returned` what each wanted layer returned,
    by path, and `labels` what came with the inputs, if anything did. `taken` are the inputs as a
    list of tensors with the batch first.
    """

    start: int
    stop: int
    inputs: Any
    output: Any
    scores: Any
    returned: dict[str, Tensor]
    labels: Tensor | Sequence[Any] | None
    taken: Inputs

    def __len__(self) -> int:
        return self.stop - self.start


def passes(
    model: Callable[..., Any],
    data: Any,
    layers: str | Sequence[str] = (),
    *,
    batch_size: BatchSize = "auto",
    batch_axis: Any = 0,
    what: str = "",
    start: int = 0,
) -> Iterator[Pass]:
    """Run a model over a data set, and yield what it and some of its layers returned.

    `data` are tensors in a tuple or dict, `Samples`, or an iterable of batches: a list of them, a
    generator or a `DataLoader`; a data set of single samples is put into batches. A pair whose
    second part is one whole number, or one word, for each sample is inputs and their labels.
    `what` names the work in a progress bar; without it there is none. What is wrong with a layer's
    path is said when this is called, all else when its turn comes. Of tensors and `Samples`, those
    before `start` are left out.

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    >>> for part in passes(net, torch.ones(5, 2), "0", batch_size=3):
    ...     print(part.start, part.stop, part.output.shape, part.returned["0"].shape)
    0 3 torch.Size([3, 3]) torch.Size([3, 3])
    3 5 torch.Size([2, 3]) torch.Size([2, 3])
    """
    wanted = (layers,) if isinstance(layers, str) else tuple(layers)
    runner = Runner(model, wanted)
    return stream(
        data, runner, batch_size=batch_size, batch_axis=batch_axis, what=what, start=start
    )


def stream(
    data: Any,
    work: Callable[[int, Inputs, Any], T],
    *,
    batch_size: BatchSize = "auto",
    batch_axis: Any = 0,
    what: str = "",
    start: int = 0,
) -> Iterator[T]:
    """Yield `work(start, inputs, labels)` of each batch of a data set, as `passes` takes it."""
    check_batch_size(batch_size)
    source = source_of(data, batch_axis)
    if isinstance(source, Samples):
        return _over_samples(source, work, batch_size, what, start)
    return _over_batches(source, work, batch_axis, what)


def source_of(data: Any, batch_axis: Any = 0) -> "Samples | Iterable[Any]":
    """Data that can be read at any place, or batches that come one after the other."""
    if isinstance(data, tuple | Mapping | Tensor | Inputs) or is_dataclass(data):
        return data if isinstance(data, Samples) else _of_tensors(data, batch_axis)
    texts = isinstance(data, list) and bool(data) and isinstance(data[0], str)
    if isinstance(data, np.ndarray) or texts or hasattr(data, "iloc"):
        return Samples.of(data, batch_axis)
    if isinstance(data, Dataset) and not isinstance(data, DataLoader):
        return DataLoader(data, batch_size=ROWS)
    if isinstance(data, Iterable) and not isinstance(data, str | bytes):
        return data
    raise InputError(
        "`data` must be tensors, Samples, or batches of them",
        got=data,
        hint="For example a torch.utils.data.DataLoader.",
    )


def _of_tensors(data: Any, batch_axis: Any) -> Samples:
    """Tensors as data that are read, checked once; they are marked only where a run asks for it."""
    inputs, labels = taken(data, batch_axis)
    if labels is not None and len(labels) != inputs.rows:
        raise InputError(f"There must be one label for each of {inputs.rows} samples", got=labels)

    def read(start: int, stop: int) -> Any:
        part = inputs.select(slice(start, stop))
        return part if labels is None else (part, labels[start:stop])

    return Samples(rows=inputs.rows, read=read, mark="", batch_axis=batch_axis)


def _over_samples(
    samples: Samples,
    work: Callable[[int, Inputs, Any], T],
    batch_size: BatchSize,
    what: str,
    start: int,
) -> Iterator[T]:
    def read(first: int, last: int) -> T:
        part = samples.read(start + first, start + last)
        return _worked(work, start + first, *taken(part, samples.batch_axis))

    if start < samples.rows:
        one = taken(samples.read(start, start + 1), samples.batch_axis)[0].leaves[0]
        size = Batcher(batch_size, start=auto_rows(one, 1, FORWARD_ELEMENTS))
        yield from size.run(samples.rows - start, read, what)


def _over_batches(
    batches: Iterable[Any], work: Callable[[int, Inputs, Any], T], batch_axis: Any, what: str
) -> Iterator[T]:
    start = 0
    total = len(batches) if isinstance(batches, Sized) else None
    hidden = None if what else True
    with tqdm(total=total, desc=what, unit="batch", leave=False, delay=0.5, disable=hidden) as bar:
        for batch in batches:
            inputs, labels = taken(batch, batch_axis)
            rows = inputs.rows
            done = _worked(work, start, inputs, labels)
            del batch, inputs, labels  # so that a stream holds one batch at a time
            yield done
            del done
            start += rows
            bar.update()
    if not start:
        raise InputError("`data` must hold at least one batch of inputs", found="none")


def taken(batch: Any, batch_axis: Any = 0) -> tuple[Inputs, Any]:
    """The inputs of a batch, and the labels that came with them."""
    if isinstance(batch, tuple | list) and len(batch) == 2 and _are_labels(*batch):
        return Inputs.of(batch[0], batch_axis), batch[1]
    return Inputs.of(batch, batch_axis), None


class Runner:
    """Runs a model on one batch after the other; it remembers whether that ends in a softmax.

    With `lent`, what layers returned is to be read before the next batch runs, and is not copied
    where the model leaves it as it is.
    """

    def __init__(
        self, model: Callable[..., Any], layers: tuple[str, ...], *, lent: bool = False
    ) -> None:
        self.model, self.layers = model, layers
        self.loans = Loans() if lent else None
        Program(model)  # which raises for what is none
        check_layers(model, layers)
        self.ends_in_softmax: bool | None = None

    def __call__(self, start: int, inputs: Inputs, labels: Any) -> Pass:
        """What the model makes of a batch, once more with copies where it wrote over a loan."""
        try:
            return self._pass(start, inputs, labels)
        except OverwrittenError:
            return self._pass(start, inputs, labels)

    def _pass(self, start: int, inputs: Inputs, labels: Any) -> Pass:
        with untouched(self.model) as states, torch.no_grad():
            program = Program(self._watched, states)
            program.ends_in_softmax = self.ends_in_softmax
            raw, scores = program.run(inputs)
        self.ends_in_softmax = program.ends_in_softmax
        return Pass(
            start=start,
            stop=start + inputs.rows,
            inputs=inputs.pack(inputs.leaves),
            output=raw[OUTPUT],
            scores=scores[OUTPUT],
            returned=raw[INSIDE],
            labels=labels,
            taken=inputs,
        )

    def _watched(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not self.layers:
            return {OUTPUT: self.model(*args, **kwargs), INSIDE: {}}
        output, found = run_inside(self.model, self.layers, args, kwargs, self.loans)
        return {OUTPUT: output, INSIDE: found}


def _are_labels(first: Any, second: Any) -> bool:
    """Whether these are inputs and one class a sample, and not two inputs alike."""
    if isinstance(second, Tensor):
        whole = not (second.is_floating_point() or second.is_complex())
        alike = isinstance(first, Tensor) and first.shape == second.shape
        return whole and second.ndim == 1 and not alike
    return isinstance(second, tuple | list) and all(isinstance(each, str | int) for each in second)


def _worked(work: Callable[[int, Inputs, Any], T], start: int, inputs: Inputs, labels: Any) -> T:
    """What is made of a batch; or what a loader of pairs is to be made."""
    try:
        return work(start, inputs, labels)
    except ModelError as error:
        if len(inputs.leaves) < 2 or not isinstance(error.__cause__, TypeError):
            raise
        raise InputError(
            f"Each batch must be what the model takes ({error.__cause__})",
            got=inputs.pack(inputs.leaves),
            hint="Of a loader of pairs, pass (x for x, _ in loader).",
        ) from error
