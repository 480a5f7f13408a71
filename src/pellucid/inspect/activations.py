"""What the operations of a model answer to some inputs, and how that changes with depth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, pad, unfold

from pellucid.at import value_at
from pellucid.errors import InputError, UnknownNameError
from pellucid.inspect.results import names_of, recorded, results_of, unit_axis
from pellucid.program import untouched
from pellucid.structure import Inputs
from pellucid.tape.adjoints import kind
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
        """The maps of one sample in [0, 1]: (unit, height, width).

        A signal is one row, and a volume its slices side by side.
        With the scale "own" each map runs from its least to its largest value, with "shared" all
        run from those of all, so that a blank map is seen to be blank.
        """
        if scale not in ("own", "shared"):
            raise UnknownNameError("A scale of activations", scale, ["own", "shared"])
        if not -len(self.values) <= row < len(self.values):
            raise InputError(f"`row` must be a sample from 0 to {len(self.values) - 1}", got=row)
        maps = self.values[row].double()
        if maps.ndim == 4:
            maps = maps.movedim(1, 2).flatten(2)
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
        results = results_of(model, taken, tape)
        chosen = _default(names_of(tape), results) if at is None else _asked(at)
        values = [(name, value_at(tape, name, taken.rows)) for name in chosen]
        made = {value: each.name for each, value in results}
        found = [_activation(tape, name, value, axis, made.get(value)) for name, value in values]
    shown, by_name = taken.copied(), {each.name: each for each in found}
    return Activations(
        inputs=shown.pack(shown.leaves),
        found=tuple(sorted(by_name.values(), key=lambda each: each.number)),
    )


def _default(names: dict[int, str], results: list[tuple[Operation, Value]]) -> list[str]:
    bending = [value for each, value in results if kind(each) == "pass"]
    found = bending or [value for each, value in results if kind(each) == "weighted"]
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
