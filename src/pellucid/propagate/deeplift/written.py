"""Functions that a program writes as several operations, and that are passed as one.

    x * sigmoid(x)   (x + |x|) / 2   0.5 x (1 + erf(x / sqrt 2))      activations
    x * rsqrt(mean(x^2) + eps)   d / sqrt(mean(d^2) + eps)            norms
    e / sum(e)   x / max(|x|, eps)

Each begins at one value and ends in one. A norm that is passed operation by operation is complete
as well, but near zero its factor is huge, and what goes through it and through its divisor is the
small difference of large numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pellucid.propagate.forms import SAME
from pellucid.propagate.regions import LINEAR, Region, route, whole_regions
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

# What moves elements inside of a region, so that they are no longer one below the other.
TURNS = {"permute", "transpose", "t"}
REDUCTIONS = {"mean", "sum", "var", "var_mean", "std", "linalg_vector_norm", "norm", "amax"}
# What a norm is made of, besides what it ends in.
OF_NORMS = REDUCTIONS | SAME | LINEAR | {
    "mul", "div", "pow", "square", "sqrt", "rsqrt", "reciprocal", "abs", "clamp", "clamp_min",
    "maximum",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Written:
    """The functions of a tape that are written as several operations, by the last of those.

    A signal goes from there to the entry by `routes`, which say of an operation which slot leads
    on.
    """

    activations: dict[Operation, Region]
    norms: dict[Operation, Region]
    routes: dict[Operation, int]

    @classmethod
    def of(cls, tape: Tape, kept: set[Value]) -> "Written":
        """Find them; none that would lead around a value that is kept."""
        norms = [each for each in _norms(tape) if not kept & _inner(each)]
        taken = {operation for region in norms for operation in region.operations}
        activations = [
            each
            for each in whole_regions(tape)
            if _is_bent(each) and not kept & _inner(each) and not taken & set(each.operations)
        ]
        routes: dict[Operation, int] = {}
        for region in (*norms, *activations):
            routes |= _routes(region)
        return cls({r.end: r for r in activations}, {r.end: r for r in norms}, routes)

    def is_end(self, operation: Operation) -> bool:
        """Whether one of them ends here."""
        return operation in self.activations or operation in self.norms


def _inner(region: Region) -> set[Value | None]:
    return {value for operation in region.operations[:-1] for value in operation.outputs}


def _routes(region: Region) -> dict[Operation, int]:
    slots = dict(route(region))
    return {each: slots[each.number] for each in region.operations if each.number in slots}


def _is_bent(region: Region) -> bool:
    names = {operation.name for operation in region.operations}
    real = region.entry.dtype.is_floating_point
    return real and not names & TURNS and not names <= LINEAR | SAME


def _norms(tape: Tape) -> Iterator[Region]:
    """What is multiplied or divided by a number that is found from many of its own elements."""
    for region in whole_regions(tape, _ends_a_norm, lambda op: op.name in OF_NORMS):
        names = {operation.name for operation in region.operations}
        real = region.entry.dtype.is_floating_point
        if real and names & REDUCTIONS and region.end.output.shape == region.entry.shape:
            yield region


def _ends_a_norm(operation: Operation) -> bool:
    both = len(operation.slots) == 2 and all(value.carries for value in operation.slots)
    return operation.name in ("mul", "div") and both and operation.slots[0] != operation.slots[1]
