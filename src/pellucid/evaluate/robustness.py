"""How far an explanation moves where its input hardly does, or where nothing but a name does."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from pellucid.baseline import Baseline
from pellucid.batching import wide
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.evaluate.elsewhere import (
    copied,
    empty,
    first_sample,
    here,
    module_of,
    own_values,
    values_at,
    with_model,
)
from pellucid.evaluate.metric import Better, Found, Metric, register_metric
from pellucid.evaluate.trial import Trial
from pellucid.gradient.smooth import value_range
from pellucid.options import number, whole
from pellucid.program import Program, call
from pellucid.seeding import seeded
from pellucid.structure import Inputs, transform
from pellucid.tape.record import flags

RADIUS = "a fraction of the range of the input, above 0"
# How far the scores of the shifted model may be from those of the model, as a part of the largest.
SAME = 1e-3
SUBTRACTED_NOTE = (
    "The shift is undone by a subtraction in front of the model: no layer alone reads its input."
)


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What the metrics share that look at neighbors of the input: the draws, and the distances.

    Neighbors are drawn evenly from the box |e_i| <= s, s = radius * (max x - min x) of each
    sample; every sample sees the same draws. Token ids stay, and their embeddings move.
    """

    samples: int = 10
    radius: float = 0.02
    relative: bool = True
    seed: int = 0

    name: ClassVar[str]
    better: ClassVar[Better] = "lower"

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", whole(self.samples, "samples"))
        object.__setattr__(self, "radius", number(self.radius, "radius", RADIUS, above=0))
        object.__setattr__(self, "seed", whole(self.seed, "seed", least=None))

    def judge(self, trial: Trial) -> Sequence[Found]:
        """Explain all neighbors of all samples in full batches; keep what is asked of them."""
        _check_inputs(trial)
        case, own = trial.case, own_values(trial)
        radii = [self.radius * span_of(leaf) for leaf in case.inputs.leaves]
        found = torch.zeros(len(own), len(trial), self.samples, dtype=torch.float64)

        def point(draw: int, rows: Tensor) -> Inputs:
            generator = seeded(self.seed, draw)
            return case.inputs.replace([
                _moved(leaf[rows], radius[rows], generator)
                for leaf, radius in zip(case.inputs.leaves, radii, strict=True)
            ])  # fmt: skip

        for part, rows, draws in case.stream(self.samples, point, self.name):
            step = _distance(part.inputs.leaves, [leaf[rows] for leaf in case.inputs.leaves])
            for number_, values in enumerate(values_at(trial, part)[0]):
                apart = _distance(values, [leaf[rows] for leaf in own[number_]])
                found[number_, rows, draws] = self.change(apart, step)
        sizes = torch.stack([_size(leaves) for leaves in own])
        scale = sizes if self.relative else torch.ones_like(sizes)
        return [
            Found(values=self.summary(changes) / by, notes=(empty(by),))
            for changes, by in zip(found, scale, strict=True)
        ]

    def change(self, apart: Tensor, step: Tensor) -> Tensor:
        """What is kept of one neighbor, from the distances of both maps and both inputs."""
        return apart

    def summary(self, changes: Tensor) -> Tensor:
        """One number a sample, of those of all its neighbors, (sample, draw)."""
        return changes.amax(1)


@register_metric("max_sensitivity")
@dataclass(frozen=True, kw_only=True)
class MaxSensitivity(Sensitivity, Metric):
    """How far the map moves at most when the input moves a little.

        S = max_e |R(x + e) - R(x)| / |R(x)|,  |e_i| <= radius * (max x - min x)

    The maximum is over `samples` draws, the norm over all elements. Without `relative`, it is not
    divided by the size of the map, and depends on its scale.
    Law: of a model that is linear, the gradient does not move at all, S = 0.
    Source: Yeh et al. (2019), On the (In)fidelity and Sensitivity of Explanations.
    """

    answers: ClassVar[str] = "How far does the map move when the input moves a little?"
    weakness: ClassVar[str] = "A constant map never moves; and the worst neighbor is not found."


@register_metric("average_sensitivity")
@dataclass(frozen=True, kw_only=True)
class AverageSensitivity(Sensitivity, Metric):
    """How far the map moves on average when the input moves a little: see `MaxSensitivity`.

        S = mean_e |R(x + e) - R(x)| / |R(x)|

    Source: Yeh et al. (2019); the mean also in Bhatt, Weller and Moura (2020), Evaluating and
    Aggregating Feature-based Model Explanations.
    """

    answers: ClassVar[str] = "How far does the map move on average when the input moves a little?"
    weakness: ClassVar[str] = "A constant map never moves; a few bad neighbors do not show."

    def summary(self, changes: Tensor) -> Tensor:
        """The mean over the neighbors."""
        return changes.mean(1)


@register_metric("local_lipschitz")
@dataclass(frozen=True, kw_only=True)
class LocalLipschitz(Sensitivity, Metric):
    """How steep the map is near the input: the local Lipschitz constant, estimated from below.

        L = max_e |R(x + e) - R(x)| / (|e| |R(x)|),  |e_i| <= radius * (max x - min x)

    The maximum is over `samples` draws. Without `relative`, it is not divided by the size of the
    map, as in the source, and depends on its scale.
    Law: of a quadratic form with the matrix A, the gradient's is at most the norm of A (times 2).
    Source: Alvarez-Melis and Jaakkola (2018), On the Robustness of Interpretability Methods.
    """

    answers: ClassVar[str] = "How steep is the map near the input?"
    weakness: ClassVar[str] = "A bound from below: the steepest neighbor is not found."

    def change(self, apart: Tensor, step: Tensor) -> Tensor:
        """How far the maps are apart for each step of the input."""
        return apart / step


@register_metric("shift_sensitivity")
@dataclass(frozen=True, kw_only=True)
class ShiftSensitivity(Metric):
    """How far the map moves when a constant is added to all inputs, and taken back by a bias.

        S = |R'(x + m) - R(x)| / |R(x)|,  f'(x + m) = f(x) for every x

    `shift` is m, in the unit of the input. In a copy of the model f', the bias b - W m of the layer
    that reads the input takes it back: so both models are the same function of what there is to
    see. Where a convolution pads with zeros the bias differs along the border. Of token ids,
    embeddings are shifted.
    Law: the gradient does not move, S = 0; gradient x input does.
    Source: Kindermans et al. (2017), The (Un)reliability of Saliency Methods.
    """

    answers: ClassVar[str] = "Does the map depend on where the zero of the input is?"
    weakness: ClassVar[str] = "A method whose baseline means something is right to move."
    better: ClassVar[Better] = "lower"

    shift: float = 1.0

    def __post_init__(self) -> None:
        found = number(self.shift, "shift", "a number other than 0")
        if not found:
            raise InputError("`shift` must be a number other than 0", got=self.shift)
        object.__setattr__(self, "shift", found)

    def judge(self, trial: Trial) -> Sequence[Found]:
        """Explain the shifted samples of the model that takes the shift back."""
        _check_inputs(trial)
        case, note = self._shifted(trial)
        found = []
        for there, own in zip(values_at(trial, case)[0], own_values(trial), strict=True):
            size = _size(own)
            notes = (note, empty(size)) if note else (empty(size),)
            found.append(Found(values=_distance(there, own) / size, notes=notes))
        return found

    def _shifted(self, trial: Trial) -> tuple[Case, str]:
        """The case of the other model at the other points, where all scores are the same."""
        plain = trial.plain
        floating = all(leaf.is_floating_point() for leaf in plain.inputs.leaves)
        if len(plain.inputs.leaves) == 1 and floating and isinstance(trial.model, nn.Module):
            moved = plain.inputs.replace([plain.inputs.leaves[0] + self.shift])
            made = biased(trial, self.shift)
            case = None if made is None else with_model(here(trial, moved), made)
            if case is not None and _same_scores(trial, case):
                return case, ""
        return self._subtracted(trial), SUBTRACTED_NOTE

    def _subtracted(self, trial: Trial) -> Case:
        """The case with a subtraction in front of the model, or of what follows its embeddings."""
        case = replace(trial.case, target=trial.case.outcome.target)
        if case.inputs.shared:
            raise InputError(
                "Every input must have a batch axis for a constant to be added to it",
                found=", ".join(map(str, case.inputs.shared)),
            )
        moved = case.inputs.replace([_plus(leaf, self.shift) for leaf in case.inputs.leaves])
        program = Program(Subtracted(case.program.model, self.shift))
        return replace(case, inputs=moved, program=program)


@dataclass(frozen=True, eq=False)
class Subtracted:
    """A model as a function of inputs to which a constant was added."""

    model: Callable[..., Any]
    shift: float

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model on the inputs without the constant."""
        plain = [transform(lambda leaf: _plus(leaf, -self.shift), each) for each in args]
        named = {key: transform(lambda leaf: _plus(leaf, -self.shift), each)
                 for key, each in kwargs.items()}  # fmt: skip
        return self.model(*plain, **named)

    def buffers(self) -> Iterator[Tensor]:
        """The buffers of the model, if it is a module."""
        yield from getattr(self.model, "buffers", tuple)()

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The modules of the model, if it is one."""
        yield from getattr(self.model, "named_modules", tuple)()


def biased(trial: Trial, shift: float) -> nn.Module | None:
    """A copy of the model whose first bias takes a shift of its input back, if one layer reads it.

    The layer may pad, so that what is taken back depends on the position: then it is subtracted
    from what the layer returns.
    """
    made = copied(module_of(trial, "for its first bias to be changed"))
    readers = _readers(made, first_sample(trial))
    if len(readers) != 1:
        return None
    ((layer, given),) = readers
    with torch.no_grad():
        offset = (layer(torch.full_like(given, shift)) - layer(torch.zeros_like(given)))[:1]
        channels = offset.movedim(-1 if isinstance(layer, nn.Linear) else 1, 0).flatten(1)
        if bool((channels - channels[:, :1]).abs().amax() <= 1e-6 * channels.abs().amax()):
            own = 0 if layer.bias is None else layer.bias
            layer.bias = nn.Parameter(own - channels[:, 0])
        else:
            layer.register_forward_hook(lambda module, args, found: found - offset)
    return made


def _readers(model: nn.Module, inputs: Inputs) -> list[tuple[Any, Tensor]]:
    """The affine layers that read the input itself, with what they were given."""
    found = []
    (leaf,) = inputs.leaves

    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        given = args[0] if args else None
        if isinstance(given, Tensor) and _is_view(given, leaf):
            found.append((module, given))

    affine = [m for m in model.modules() if isinstance(m, nn.Linear | _ConvNd)]
    hooks = [module.register_forward_pre_hook(look) for module in affine]
    try:
        with torch.no_grad(), flags(model):
            call(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _is_view(given: Tensor, leaf: Tensor) -> bool:
    """Whether a tensor holds all numbers of another, in whatever shape."""
    return given.data_ptr() == leaf.data_ptr() and given.numel() == leaf.numel()


def _same_scores(trial: Trial, case: Case) -> bool:
    """Whether a case has the scores of the trial, up to rounding."""
    own, found = trial.case.outcome.score, case.outcome.score
    return bool((own - found).abs().amax() <= SAME * own.abs().amax())


def _check_inputs(trial: Trial) -> None:
    """Raise unless there are numbers that can be moved, for every rival."""
    schema = trial.plain.inputs.schema
    if schema is not None and schema.layout != "array":
        kind = "texts" if schema.is_text else "columns of a data frame, with units of their own"
        raise InputError(
            "Inputs must be numbers of one unit to be moved a little",
            found=kind,
            hint="Explain the model as a function of a tensor: of embeddings, or standardized "
            "columns.",
        )
    if trial.case.embedded is None:
        return
    for rival in trial.rivals:
        if rival.method.keeps_integers:
            raise InputError(
                "Methods must explain embeddings for token ids to be moved a little",
                found=f"{rival.method.name} with {Baseline.of(rival.baseline)!r}",
                hint="Take a baseline that is no id.",
            )


def _moved(leaf: Tensor, radius: Tensor, generator: torch.Generator) -> Tensor:
    """A neighbor of each sample, the same way for all; integers stay."""
    if not leaf.is_floating_point():
        return leaf
    drawn = 2 * torch.rand(leaf.shape[1:], generator=generator) - 1
    return leaf + radius * drawn.to(leaf)


def span_of(leaf: Tensor) -> Tensor:
    """The range of each sample; its largest size, or one, where all of it is the same."""
    found = value_range(leaf)
    if not leaf.is_floating_point():
        return found
    size = leaf.abs().reshape(len(leaf), -1).amax(1).reshape(found.shape)
    size = torch.where(size > 0, size, torch.ones_like(size))
    return torch.where(found > 0, found, size)


def _plus(leaf: Tensor, shift: float) -> Tensor:
    return leaf + shift if leaf.is_floating_point() else leaf


def _distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """The norm of the difference of each sample, over all elements of all inputs, (sample,)."""
    return _size([x.to(wide(x)) - y.to(wide(y)) for x, y in zip(a, b, strict=True)])


def _size(leaves: Sequence[Tensor]) -> Tensor:
    """The norm of each sample, over all elements of all inputs, in double precision."""
    rows = [leaf.reshape(len(leaf), -1).to(wide(leaf)) for leaf in leaves]
    return torch.cat(rows, 1).norm(dim=1).cpu()
