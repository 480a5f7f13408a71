"""Every operation of a model in numbers, over a data set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pellucid.batching import BatchSize
from pellucid.errors import ModelError
from pellucid.inspect.passes import stream
from pellucid.inspect.results import names_of, recorded, results_of, unit_axis, with_rows
from pellucid.program import untouched
from pellucid.structure import Inputs
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One operation: where it ran and what of, its weights, and what it answered.

    `units` are those on the axis of units, of which `dead` are zero in all samples and at all
    positions; `norm` is the mean length of a sample's activations, `weight_norm` that of the own
    weights of its layer (zero without any).
    """

    name: str
    operation: str
    layer: str
    kind: str
    parameters: int
    weight_norm: float
    shape: tuple[int, ...]
    mean: float
    deviation: float
    low: float
    high: float
    zeros: float
    units: int
    dead: int
    norm: float


@dataclass(frozen=True, kw_only=True)
class LayerTable:
    """The operations of a model in the order in which they ran, and what so many samples gave."""

    rows: tuple[LayerRow, ...]
    samples: int
    parameters: int

    def __len__(self) -> int:
        return len(self.rows)

    def to_frame(self) -> "pd.DataFrame":
        """One row an operation."""
        import pandas as pd

        return pd.DataFrame(
            [vars(row) for row in self.rows], columns=list(LayerRow.__annotations__)
        )

    def __repr__(self) -> str:
        shown = self.to_frame().drop(columns=["layer", "low", "high", "weight_norm"])
        shown["shape"] = [" x ".join(map(str, row.shape)) for row in self.rows]
        shown["zeros"] = [f"{row.zeros:.0%}" for row in self.rows]
        head = (
            f"LayerTable of {len(self)} operations, {self.parameters:,} parameters, "
            f"over {self.samples} samples"
        )
        text = shown.to_string(index=False, float_format=lambda each: f"{each:.3g}")
        return f"{head}\n{text}"


def layers(
    model: Callable[..., Any],
    data: Any,
    *,
    batch_size: BatchSize = "auto",
    batch_axis: Any = 0,
) -> LayerTable:
    """Every operation of a model in numbers: weights, shape, spread, zeros and dead units.

    `data` is what `passes` takes, and is run batch by batch. Rows are operations of the tape that
    compute something, so that functions count as well as modules; what only moves elements is left
    out. The parameters of a layer stand at its first operation; those of an embedding, where the
    tape of integers begins, have no row. Units are on axis 1, but on the last for a dense layer on
    tokens, and where three axes do not come from a convolution.
    Law: the numbers do not depend on how the data are cut into batches.

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    >>> table = layers(net, torch.rand(5, 2))
    >>> [(row.name, row.operation, row.parameters, row.shape) for row in table.rows]
    [('0', 'addmm', 9, (3,)), ('1', 'relu', 0, (3,)), ('2', 'addmm', 4, (1,))]
    """
    sums: list[_Sums] = []
    left_out: set[str] = set()  # what the first batch ran that is of no single sample
    samples, first = 0, 0

    def work(start: int, inputs: Inputs, labels: Any) -> int:
        nonlocal first
        first = first or inputs.rows
        # One sample that is left over runs twice: alone it may take another way through memory.
        alone = first > inputs.rows == 1
        with untouched(model), torch.no_grad():
            tape = recorded(model, inputs.select([0, 0]) if alone else inputs)
            if not sums:
                sums.extend(_started(model, inputs, tape))
                left_out.update({*names_of(tape).values()} - {each.name for each in sums})
            _add(sums, left_out, tape, inputs.rows)
        return inputs.rows

    for rows in stream(data, work, batch_size=batch_size, batch_axis=batch_axis, what="layers"):
        samples += rows
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    return LayerTable(
        rows=tuple(each.row(samples) for each in sums),
        samples=samples,
        parameters=sum(each.numel() for each in parameters),
    )


def _started(model: Any, inputs: Inputs, tape: Tape) -> "list[_Sums]":
    """Nothing yet of each operation, of which the first batch says which there are."""
    names, sums = names_of(tape), []
    seen: set[str] = set()
    ran = {each.path for each in tape.recorder.operations} | set(tape.recorder.layers)
    for each, value in results_of(model, inputs, tape):
        module = None if each.path in seen else tape.layers.layer(each.path)
        seen.add(each.path)
        own = [] if module is None else _own(module, each.path, ran)
        kind = "" if module is None else type(module).__name__
        sums.append(_Sums.of(each, value, names[value.number], kind, own))
    return sums


def _add(sums: "list[_Sums]", left_out: set[str], tape: Tape, rows: int) -> None:
    """Add one batch to the sums of each operation."""
    names = names_of(tape)
    shown = [value for _, value in with_rows(tape) if names[value.number] not in left_out]
    if [each.name for each in sums] != [names[value.number] for value in shown]:
        raise ModelError(
            "The model must run the same operations on every batch",
            found=f"{len(sums)} on the first, and others on a later one",
            hint="Give one batch alone.",
        )
    for total, value in zip(sums, shown, strict=True):
        total.add(value.tensor[:rows], unit_axis(value))


def _own(module: nn.Module, path: str, ran: set[str]) -> list[Tensor]:
    """The parameters of a module, and of those in it that it uses itself instead of running them.

    As attention does with its last layer.
    """
    own = [each for each in module.parameters(recurse=False) if not nn.parameter.is_lazy(each)]
    used = {f"{path}.{name}": each for name, each in module.named_children()}
    idle = [_own(each, name, ran) for name, each in used.items() if name not in ran]
    return [*own, *(each for part in idle for each in part)]


@dataclass
class _Sums:
    """What is added up of one operation, in double precision."""

    name: str
    operation: str
    layer: str
    kind: str
    parameters: int
    weight_norm: float
    shape: tuple[int, ...]
    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    zeros: int = 0
    lengths: float = 0.0
    low: float = float("inf")
    high: float = float("-inf")
    alive: Tensor | None = None

    @classmethod
    def of(
        cls, operation: Operation, value: Value, name: str, kind: str, own: list[Tensor]
    ) -> "_Sums":
        return cls(
            name=name,
            operation=operation.name,
            layer=operation.path,
            kind=kind,
            parameters=sum(each.numel() for each in own),
            weight_norm=float(sum(float(each.detach().double().square().sum()) for each in own))
            ** 0.5,
            shape=tuple(value.shape[1:]),
        )

    def add(self, values: Tensor, axis: int) -> None:
        """Take the result of one batch."""
        wide = values.detach().abs() if values.is_complex() else values.detach()
        wide = wide.double()
        self.count += wide.numel()
        self.total += float(wide.sum())
        self.squares += float(wide.square().sum())
        self.zeros += int((wide == 0).sum())
        self.lengths += float(wide.flatten(1).norm(dim=1).sum())
        self.low, self.high = min(self.low, float(wide.min())), max(self.high, float(wide.max()))
        alive = (wide != 0).movedim(axis, 1).flatten(2).any(2).any(0) if wide.ndim > 2 else (
            (wide != 0).any(0)
        )  # fmt: skip
        self.alive = alive if self.alive is None else self.alive | alive

    def row(self, samples: int) -> LayerRow:
        mean = self.total / self.count
        spread = max(0.0, self.squares / self.count - mean**2) ** 0.5
        alive = torch.zeros(0) if self.alive is None else self.alive
        return LayerRow(
            name=self.name,
            operation=self.operation,
            layer=self.layer,
            kind=self.kind,
            parameters=self.parameters,
            weight_norm=self.weight_norm,
            shape=self.shape,
            mean=mean,
            deviation=spread,
            low=self.low,
            high=self.high,
            zeros=self.zeros / self.count,
            units=len(alive),
            dead=int((~alive.bool()).sum()),
            norm=self.lengths / samples,
        )
