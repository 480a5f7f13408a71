"""What the operations of a model answer to some inputs, and how that changes with depth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, pad, unfold

from pellucid.at import value_at
from pellucid.errors import InputError, UnknownNameError
from pellucid.inspect.receptive import recorded
from pellucid.program import untouched
from pellucid.structure import Inputs
from pellucid.tape.adjoints import CONVOLUTIONS, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape
from pellucid.target.unit import check_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A channel whose map stays below this part of the largest activation of its layer is blank.
BLANK = 0.01
# Of the places of a layer so many teach what the input is, and as many ask; pixels of each block.
POSITIONS, BLOCK = 4000, 8
# Operations that show elements in another order of axes, and dense layers.
VIEWS = {"view", "_unsafe_view", "reshape", "_reshape_alias"}
PRODUCTS = {"mm", "addmm"}
# How strongly that is held to be simple, as a part of the mean variance of a channel.
RIDGE = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation:
    """What one operation answered: `values` (sample, unit, *position), with the units on axis 1.

    `name` is the path of its layer, or its name and place on the tape, as `at=` takes it.
    """

    name: str
    operation: str
    number: int
    values: Tensor

    @property
    def maps(self) -> Tensor:
        """The map of each unit, flat: (sample, unit, position)."""
        return self.values.reshape(*self.values.shape[:2], -1)

    @property
    def zeros(self) -> float:
        """The share of activations that are exactly zero."""
        return float((self.values == 0).double().mean())

    @property
    def blank(self) -> Tensor:
        """The share of units of each sample that answer next to nothing, of shape (sample,)."""
        sizes = self.maps.abs().amax(2)
        return (sizes <= BLANK * sizes.amax(1, keepdim=True)).double().mean(1)

    @property
    def dead(self) -> Tensor:
        """Which units are zero everywhere, in all samples: (unit,)."""
        return (self.maps == 0).all(2).all(0)

    def pictures(self, row: int = 0, *, scale: str = "own") -> Tensor:
        """The maps of one sample in [0, 1]: (unit, height, width); a signal is one row.

        With the scale "own" each map runs from its least to its largest value, with "shared" all
        run from those of all, so that a blank map is seen to be blank.
        """
        if scale not in ("own", "shared"):
            raise UnknownNameError("A scale of activations", scale, ["own", "shared"])
        if not -len(self.values) <= row < len(self.values):
            raise InputError(f"`row` must be a sample from 0 to {len(self.values) - 1}", got=row)
        maps = self.values[row].double()
        maps = maps if maps.ndim == 3 else maps.reshape(len(maps), 1, -1)
        flat = maps.flatten(1) if scale == "own" else maps.reshape(1, -1)
        low, high = flat.amin(1).view(-1, 1, 1), flat.amax(1).view(-1, 1, 1)
        return (maps - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny)


@dataclass(frozen=True, kw_only=True, eq=False)
class Activations(Mapping[str, Activation]):
    """The activations of some operations by name, in the order in which they ran."""

    inputs: Any
    found: tuple[Activation, ...]

    def __getitem__(self, name: str) -> Activation:
        known = {each.name: each for each in self.found}
        if name not in known:
            raise UnknownNameError("The name of an activation", name, known)
        return known[name]

    def __iter__(self) -> Iterator[str]:
        return (each.name for each in self.found)

    def __len__(self) -> int:
        return len(self.found)

    def by_depth(self) -> "pd.DataFrame":
        """One row an operation: what it has of edges and of the picture, and how sparse it is.

        | column | what it is |
        |---|---|
        | `edges` | the largest correlation of a unit's map with edges of one direction |
        | `picture` | how much of the input can be read from it: R squared of the best linear \
reading of a block of pixels from all units of a place, on places it was not fitted to |
        | `zeros` | share of activations that are zero |
        | `blank` | share of units, mean over samples, that stay below 1 % of the layer's largest |
        | `dead` | share of units that are zero in all samples |

        The first two are of images, and not a number where a map has fewer than 4 places an axis.
        What is lost of the picture is lost by pooling too, and in a network that has learned
        nothing: compare with one.
        """
        import pandas as pd

        gray = _gray(self.inputs)
        rows = []
        for depth, each in enumerate(self.found, start=1):
            edges, picture = _of_picture(each.values, gray)
            rows.append({
                "depth": depth, "name": each.name, "operation": each.operation,
                "units": each.values.shape[1], "edges": edges, "picture": picture,
                "zeros": each.zeros, "blank": float(each.blank.mean()),
                "dead": float(each.dead.double().mean()),
            })  # fmt: skip
        return pd.DataFrame(rows)

    def plot(self, row: int = 0, **options: Any) -> "Figure":
        """Draw the maps of one sample, an operation on each line."""
        from pellucid.plot.units import activations as draw

        return draw(self, row, **options)

    def plot_depth(self, ax: "Axes | None" = None, *, dark: bool = False) -> "Axes":
        """Draw `by_depth`: edges come first, abstraction and sparsity grow."""
        from pellucid.plot.depth import depth

        return depth(self, ax, dark=dark)

    def __repr__(self) -> str:
        samples = len(self.found[0].values)
        where = "1 sample" if samples == 1 else f"{samples} samples"
        lines = [
            f"  {each.name} ({each.operation}): {' x '.join(map(str, each.values.shape[1:]))}, "
            f"{each.zeros:.0%} zeros, {int(each.dead.sum())} dead"
            for each in self.found
        ]
        return "\n".join([f"Activations of {len(self)} operations in {where}", *lines])


def activations(
    model: Callable[..., Any],
    inputs: Any,
    at: "str | int | Sequence[str | int] | None" = None,
    *,
    axis: int | None = None,
    batch_axis: Any = 0,
) -> Activations:
    """What the operations of a model answer to some inputs, read from the tape of one run.

    `at` names one or several, as `at=` of methods does: a layer's path, "relu:0", or a number of
    the tape; by default it is every activation function, or all that has weights where there is
    none. All of them are held in memory, so take few samples. `axis` says where the units of all
    of them are; by default on axis 1, but last where three axes are not those of a convolution.
    Source: Chollet (2017), Deep Learning with Python, section 5.4 (edges first; abstraction and
    sparsity grow with depth).

    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten())
    >>> found = activations(net, torch.rand(2, 1, 6, 6))
    >>> list(found), found["1"].values.shape, found["1"].pictures().shape
    (['1'], torch.Size([2, 4, 4, 4]), torch.Size([4, 4, 4]))
    """
    check_axis(axis)
    taken = Inputs.of(inputs, batch_axis)
    with untouched(model), torch.no_grad():
        tape = recorded(model, taken)
        chosen = _default(tape, taken.rows) if at is None else _asked(at)
        values = [(name, value_at(tape, name, taken.rows)) for name in chosen]
        made = {value: each.name for each, value in results_of(tape, taken.rows)}
        found = [_activation(tape, name, value, axis, made.get(value)) for name, value in values]
    shown, by_name = taken.copied(), {each.name: each for each in found}
    return Activations(
        inputs=shown.pack(shown.leaves),
        found=tuple(sorted(by_name.values(), key=lambda each: each.number)),
    )


def names_of(tape: Tape) -> dict[int, str]:
    """The name of each operation by its number: the path of a layer it gave the result of."""
    counts: dict[str, int] = {}
    names = {}
    of_value: dict[int, str] = {}
    for path, values in tape.recorder.layers.items():  # the innermost layer first
        of_value.setdefault(id(values[-1]), path)
    for operation in tape.recorder.operations:
        place = counts.get(operation.name, 0)
        counts[operation.name] = place + 1
        result = next((value for value in operation.outputs if value is not None), None)
        path = of_value.get(id(result), "")
        ran_there = f"{operation.path}.".startswith(f"{path}.")  # not in what passes its input on
        names[operation.number] = path if path and ran_there else f"{operation.name}:{place}"
    return names


def computes(operation: Operation) -> bool:
    """Whether an operation has a result of samples that is computed, and not only moved."""
    value = next((each for each in operation.outputs if each is not None), None)
    there = value is not None and value.carries and len(value.shape) > 1
    return there and kind(operation) not in ("route", "stop") and operation.name != "t"


def results_of(tape: Tape, rows: int) -> list[tuple[Operation, Value]]:
    """The operations that compute something, each with its result of so many samples.

    A dense layer on tokens works on one long list of them: its result is the view of that which has
    the samples first again, with the bias, where that is added to the view.
    """
    views: dict[Value, Value] = {}
    products: dict[tuple[Value, str], Value] = {}  # by the view, and the layer it ran in
    found = []
    for each in tape.recorder.operations:
        value = next((value for value in each.outputs if value is not None), None)
        if value is None:
            continue
        if each.name in VIEWS and value.shape[0] == rows:
            views.setdefault(each.slots[0], value)
            if each.path and _is_product(each.slots[0]):
                products[value, each.path] = each.slots[0]
        elif each.name == "add" and (each.slots[0], each.path) in products and _has_constant(each):
            views[products[each.slots[0], each.path]] = value
        elif computes(each):
            found.append((each, value))
    shown = [(each, v if v.shape[0] == rows else views.get(v, v)) for each, v in found]
    return [(each, value) for each, value in shown if value.shape[0] == rows]


def unit_axis(value: Value) -> int:
    """The axis of the units: 1 of a convolution's result, the last of a dense layer's on tokens.

    Of others it is 1, but the last of three.
    """
    made = value.producer
    while made is not None and made.name not in CONVOLUTIONS:
        if made.name in VIEWS and _is_product(made.slots[0]):
            return len(value.shape) - 1
        like = torch.Tag.pointwise in made.function.tags or "norm" in made.name
        if not like and "pool" not in made.name:
            break
        made = next((v.producer for v in made.slots if v.depends), None)
    convolved = made is not None and made.name in CONVOLUTIONS
    return 2 if len(value.shape) == 3 and not convolved else 1


def _has_constant(operation: Operation) -> bool:
    return any(not value.depends for value in operation.slots)


def _is_product(value: Value) -> bool:
    return len(value.shape) == 2 and value.producer is not None and value.producer.name in PRODUCTS


def _default(tape: Tape, rows: int) -> list[str]:
    names = names_of(tape)
    every = results_of(tape, rows)
    bending = [value for each, value in every if kind(each) == "pass"]
    found = bending or [value for each, value in every if kind(each) == "weighted"]
    if not found:
        raise InputError(
            "The model must have an operation that bends or has weights",
            found="none",
            hint="Name some: at=['add:0'].",
        )
    return list(dict.fromkeys(names[each.number] for each in found))


def _asked(at: Any) -> list[str | int]:
    listed = [at] if isinstance(at, str | int) else list(at)
    if not listed:
        raise InputError("`at` must name at least one operation", got=at)
    return list(dict.fromkeys(listed))


def _activation(
    tape: Tape, name: str | int, value: Value, axis: int | None, operation: str | None
) -> Activation:
    made = value.producer
    number = value.number
    called = names_of(tape).get(number, str(name)) if isinstance(name, int) else name
    where = unit_axis(value) if axis is None else axis
    if where % len(value.shape) == 0:
        raise InputError("`axis` must be an axis after that of the samples", got=axis)
    return Activation(
        name=called,
        operation=operation or ("input" if made is None else made.name),
        number=number,
        values=value.tensor.detach().clone().movedim(where, 1),
    )


# -- what depth does


def _gray(inputs: Any) -> Tensor | None:
    """The brightness of images (sample, 1, height, width); `None` for all else."""
    shown = isinstance(inputs, Tensor) and inputs.ndim == 4 and inputs.is_floating_point()
    return inputs.double().mean(1, keepdim=True) if shown else None


def edges_of(gray: Tensor) -> Tensor:
    """The edges of images in eight directions, from dark to bright: (sample, 8, height, width).

    They are the positive parts of the derivatives by Sobel at multiples of 45 degrees.

    >>> step = torch.tensor([0.0, 0, 1, 1]).expand(1, 1, 4, 4)
    >>> edges_of(step)[0, :, 2, 1].argmax()                # bright at the right
    tensor(0)
    """
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=gray.dtype)
    along = torch.tensor([[-2.0, -1, 0], [-1, 0, 1], [0, 1, 2]], dtype=gray.dtype)
    kernels = [each.rot90(turn) for turn in range(4) for each in (across, along)]
    weights = torch.stack(kernels).unsqueeze(1).to(gray.device)
    return torch.nn.functional.conv2d(pad(gray, (1, 1, 1, 1), mode="replicate"), weights).relu()


def _of_picture(values: Tensor, gray: Tensor | None) -> tuple[float, float]:
    """How much maps have of the edges of the input, and how much of it can be read from them."""
    if gray is None or values.ndim != 4 or min(values.shape[2:]) < 4:
        return float("nan"), float("nan")
    maps = values.double()
    edges = adaptive_avg_pool2d(edges_of(gray), (maps.shape[2], maps.shape[3]))
    alike = _correlations(maps.flatten(2), edges.flatten(2)).abs().mean(0)
    return float(alike.max()), _readable(maps, gray)


def _correlations(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of each unit with each direction: (sample, unit, direction).

    It is zero where one of them is constant.
    """
    a, b = (each - each.mean(-1, keepdim=True) for each in (a, b))
    size = a.norm(dim=-1).unsqueeze(2) * b.norm(dim=-1).unsqueeze(1)
    return torch.where(size > 0, a @ b.transpose(1, 2) / size.clamp(min=1e-300), 0)


def _readable(maps: Tensor, gray: Tensor) -> float:
    """The part of the variance of the input's pixels that a linear reading of units explains.

    Each place reads its block of pixels. Half of the places teach, the other half asks.
    """
    height, width = maps.shape[2:]
    side = max(1, min(BLOCK, gray.shape[2] // height, gray.shape[3] // width))
    small = adaptive_avg_pool2d(gray, (height * side, width * side))
    pixels = unfold(small, side, stride=side).movedim(1, 2).reshape(-1, side**2)
    units = maps.movedim(1, -1).reshape(-1, maps.shape[1])
    step = max(1, len(units) // (2 * POSITIONS))
    units, pixels = units[::step], pixels[::step]
    half = len(units) // 2
    order = torch.randperm(len(units), generator=torch.Generator().manual_seed(0)).to(units.device)
    learn, ask = order[:half], order[half:]
    mean, aim = units[learn].mean(0), pixels[learn].mean(0)
    x, y = units[learn] - mean, pixels[learn] - aim
    product = x.T @ x
    weight = RIDGE * product.diagonal().mean().clamp(min=1e-12)
    product.diagonal().add_(weight)
    read = (units[ask] - mean) @ torch.linalg.solve(product, x.T @ y)
    rest = (pixels[ask] - aim - read).square().sum()
    whole = (pixels[ask] - aim).square().sum()
    return float((1 - rest / whole).clamp(min=0)) if whole > 0 else float("nan")
