"""Search in the codes of a generator: only what it can make is an answer."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import DisconnectedError, InputError, show
from pellucid.exemplar.counterfactual.build import Table
from pellucid.exemplar.counterfactual.take import Taken, flat
from pellucid.inspect.dreaming.adam import Descent
from pellucid.options import number
from pellucid.structure import Inputs

Generator = Callable[[Tensor], Tensor]
# Steps of the search for the code of an input, and their size.
STEPS, RATE = 300, 0.05


def take_code(
    model: Any,
    inputs: Any,
    target: Any,
    generator: Generator,
    code: Any,
    prior: float,
    others: tuple[Any, ...],
) -> Taken:
    """The model of codes, and the codes of the inputs as the rows that are changed."""
    _check_alone(inputs, others)
    prior = number(prior, "prior", "a number of at least 0", least=0)
    inputs = inputs.clone() if inputs.is_inference() else inputs
    start = _codes(generator, inputs, code)
    made = _made(generator, start, inputs)
    error = float((made - inputs).square().mean().sqrt())

    def decode(rows: Tensor) -> Tensor:
        codes = rows.reshape(-1, *start.shape[1:]).to(start)
        made: Tensor = _ask(generator, codes)
        return made.to(inputs)

    return Taken(
        model=model,
        inputs=Inputs.of(inputs),
        target=target,
        # The squares of both distances have their least sum about here.
        table=Table(
            rows=flat(start) / (1 + prior),
            shape=tuple(start.shape[1:]),
            dtypes=(str(start.dtype),),
        ),
        write=lambda rows, samples: _written(decode, rows),
        reread=None,
        decode=decode,
        home=flat(start),
        notes=(
            f"Answers are made of codes; those of the inputs themselves make them with a root mean "
            f"square error of {error:.3g}.",
        ),
    )


def _check_alone(inputs: Any, others: tuple[Any, ...]) -> None:
    if not isinstance(inputs, Tensor):
        raise InputError("`inputs` must be a tensor, as the generator makes one", got=inputs)
    if any(each is not None for each in others):
        raise InputError(
            "`data`, `scaling`, `names` and `constraints` must be left out with a `generator`",
            found=", ".join(show(each) for each in others if each is not None),
            hint="What the generator makes is what holds there; `prior` keeps codes likely.",
        )


def _written(decode: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    with torch.no_grad():
        return decode(rows)


def _made(generator: Generator, codes: Tensor, inputs: Tensor) -> Tensor:
    """What the generator makes of codes, if that is like the inputs."""
    must = f"The generator must make finite inputs of shape {list(inputs.shape)}"
    with torch.no_grad():
        made = _ask(generator, codes)
    if not isinstance(made, Tensor) or made.shape != inputs.shape or not made.isfinite().all():
        raise InputError(must, found=f"{show(made)} for codes {show(codes)}")
    return made


def _ask(generator: Generator, codes: Tensor) -> Any:
    try:
        return generator(codes)
    except (RuntimeError, TypeError, ValueError, LookupError) as error:
        raise InputError(
            "The generator must take codes as `code` has them, also a single one",
            found=f"{type(error).__name__} for codes {show(codes)}",
            hint=f"It said: {str(error).strip().rstrip('.')}.",
        ) from error


def _codes(generator: Generator, inputs: Tensor, code: Any) -> Tensor:
    """The codes of the inputs: given, made by an encoder, or sought from zero."""
    code = getattr(generator, "encode", None) if code is None else code
    if isinstance(code, Tensor):
        found = code
    elif callable(code):
        with torch.no_grad():
            found = code(inputs)
    elif code is not None:
        size = (code,) if isinstance(code, int) else tuple(code)
        found = _sought(generator, inputs, size)
    else:
        raise InputError(
            "`code` must say what the codes of the inputs are",
            found="none, and a generator without `encode`",
            hint="Give the codes (sample, ...), a callable that makes them of inputs, or the size "
            "of one, as in code=16.",
        )
    if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(inputs):
        raise InputError(
            f"There must be one code for each of the {len(inputs)} inputs", found=show(found)
        )
    return found.detach()


def _sought(generator: Generator, inputs: Tensor, size: tuple[int, ...]) -> Tensor:
    """The codes whose inputs are nearest, by gradient steps from zero."""
    with torch.inference_mode(False), torch.enable_grad():
        codes = inputs.new_zeros(len(inputs), *size)
        _made(generator, codes, inputs)
        codes.requires_grad_()
        wanted, descent = inputs.detach().clone(), Descent([codes])
        for _ in range(STEPS):
            error, slope = (_ask(generator, codes) - wanted).square().sum(), None
            if error.requires_grad:  # perhaps only of the weights
                (slope,) = torch.autograd.grad(error, codes, allow_unused=True)
            if slope is None:
                raise DisconnectedError(
                    "A generator must be one that autograd can follow, for codes to be sought",
                    found="one whose inputs have no gradient with respect to the code",
                    hint="Give the codes: code=codes, or a callable that makes them of inputs.",
                )
            descent.step([slope], RATE)
    return codes.detach()
