"""Which factors of a product receive relevance: what a gate is, what a scale is, what they act on.

A factor is looked at with all that made it, back over the tape. A gate lets a share of the signal
pass: a sigmoid, a softmax, or what is made of those by moving, scaling, shifting by a constant,
averaging. A scale is the inverse of a signal, such as of its norm. Neither says what is there, so
that relevance goes to the factor they act on.
"""

from collections.abc import Iterator

from pellucid.propagate.forms import ACTIVATIONS
from pellucid.tape.adjoints import kind
from pellucid.tape.operations import Operation, Value

# Functions whose values are shares of one.
GATES = {"sigmoid", "hardsigmoid", "_softmax", "_safe_softmax"}
# Functions that are clipped below and above, with the bounds where the call has none.
CLIPPED = {"hardtanh": (-1.0, 1.0), "relu6": (0.0, 6.0), "clamp": (None, None)}
# Averages of gates, besides the pooling operations.
AVERAGES = ("mean", "avg_pool", "adaptive_avg_pool", "_adaptive_avg_pool", "upsample")
INVERSE = {"reciprocal", "rsqrt"}
POWERS = {"pow", "sqrt", "square", "clamp", "clamp_min", "clamp_max"}
# Norms that are one operation.
FUSED = {
    "native_layer_norm", "native_group_norm", "_fused_rms_norm", "native_batch_norm",
    "_native_batch_norm_legit",
}  # fmt: skip
# Elementwise operations with several signals.
ARITHMETIC = {"add", "sub", "rsub", "mul", "div", "maximum", "minimum"}
# These change neither the order of the elements nor, but for rounding, their values.
COPIES = {"_to_copy", "alias", "clone", "contiguous", "lift_fresh"}
# How far back a function of one signal may be written out.
LONGEST = 32


def receivers(operation: Operation, factors: list[int], *, gates: bool = True) -> list[int]:
    """The slots among `factors` that the relevance of a product goes to.

    What is scaled before what scales, what is gated before its gate, x of x * f(x); else all.
    Without `gates`, a gate is a factor like any other.
    """
    slots = operation.slots
    for is_modifier in (is_scale, is_gate) if gates else (is_scale,):
        found = [i for i in factors if not is_modifier(slots[i])]
        if 0 < len(found) < len(factors):
            return found
    if operation.name == "mul" and len(factors) == 2:
        one, other = factors
        for x, f in ((one, other), (other, one)):
            if _is_function_of(slots[f], _scaled(slots[x])):
                return [x]
    return factors


def carrying(operation: Operation) -> list[Value]:
    """The slots that a signal can go to."""
    return [value for value in operation.slots if value.carries]


def source(value: Value) -> Value:
    """The value that this one is a copy of, in any type and on however many axes."""
    while value.producer is not None and value.producer.name in COPIES | {
        "view", "_unsafe_view", "unsqueeze", "squeeze", "expand",
    }:  # fmt: skip
        value = value.producer.slots[0]
    return value


# -- gates


def is_gate(value: Value) -> bool:
    """Whether a value is a sigmoid or softmax, or is made of such alone."""
    waiting, seen = [(value, 1.0)], set()
    while waiting:
        latest, factor = waiting.pop()
        if latest in seen:
            continue
        seen.add(latest)
        made = latest.producer
        if made is None:
            return False
        if made.name in GATES or _is_clipped_to_one(made, factor) or _is_normalized(made):
            continue
        before = _of_gates(made)
        if before is None:
            return False
        waiting += [(part, factor * _number(made)) for part in before]
    return True


def _of_gates(operation: Operation) -> list[Value] | None:
    """The values that must be gates for the result to be one; `None` if nothing makes it so."""
    if operation.name == "as_strided" and (part := _written(operation)) is not None:
        return [part]
    signals, of = carrying(operation), kind(operation)
    if of == "route" or (operation.name == "mul" and signals):
        return signals
    if operation.name == "div" and signals:
        return [operation.slots[0]] if operation.slots[0].carries else None
    alone = len(signals) == 1
    constant = operation.name in ("add", "sub", "rsub", "neg")
    if alone and (of == "scale" or constant or operation.name.startswith(AVERAGES)):
        return signals
    return None


def _number(operation: Operation) -> float:
    """The number that an operation multiplies by; one if it does not."""
    if operation.name not in ("mul", "div") or len(carrying(operation)) != 1:
        return 1.0
    given = operation.argument(1)
    if isinstance(given, Value):
        given = next((v for v in operation.slots if not v.carries), None)
        given = given.tensor.item() if given is not None and given.shape.numel() == 1 else None
    if not isinstance(given, int | float) or given == 0:
        return 1.0
    return float(given) if operation.name == "mul" else 1 / float(given)


def _is_clipped_to_one(operation: Operation, factor: float) -> bool:
    """Whether a function is clipped, and goes from zero to one after it is multiplied."""
    if operation.name not in CLIPPED:
        return False
    low, high = CLIPPED[operation.name]
    low = operation.argument(1, operation.keywords.get("min", low))
    high = operation.argument(2, operation.keywords.get("max", high))
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return False
    return low == 0 and abs(high * abs(factor) - 1) < 1e-3


def _is_normalized(operation: Operation) -> bool:
    """Whether exponentials are divided by their sum, or one by one and an exponential."""
    if operation.name == "reciprocal":
        return _is_one_and_exponential(operation.slots[0])
    if operation.name != "div" or len(operation.slots) != 2:
        return False
    above, below = operation.slots
    if not above.carries:
        return _is_one_and_exponential(below)
    total, shares = source(below).producer, _exponent(above)
    if total is None or total.name != "sum" or shares is None:
        return False
    return _exponent(total.slots[0]) is shares


def _is_one_and_exponential(value: Value) -> bool:
    added = source(value).producer
    if added is None or added.name != "add" or len(carrying(added)) != 1:
        return False
    return _exponent(carrying(added)[0]) is not None


def _exponent(value: Value) -> Value | None:
    """What a value is the exponential of."""
    made = source(value).producer
    return source(made.slots[0]) if made is not None and made.name == "exp" else None


def _written(operation: Operation) -> Value | None:
    """What was last written to the piece of memory that an operation reads; `None` if unknown."""
    whole, *place = operation.arguments
    made = whole.producer
    while made is not None and made.name == "as_strided_scatter":
        before, part, *written = made.arguments
        if written == place:
            return part if isinstance(part, Value) else None
        if not _is_beside(place, written):
            return None
        made = before.producer
    return None


def _is_beside(place: list, other: list) -> bool:
    """Whether two pieces of memory are cells of one grid that do not overlap."""
    (size, stride, start), (length, step, begin) = place, other
    if list(size) != list(length) or list(stride) != list(step):
        return False
    apart, rows = False, None
    for count, unit in sorted(zip(size, stride, strict=True), key=lambda axis: -axis[1]):
        (first, start), (second, begin) = divmod(start, unit), divmod(begin, unit)
        if rows is not None and max(first, second) + count > rows // unit:
            return False  # it goes on in the next row
        apart, rows = apart or abs(first - second) >= count, unit
    return apart


# -- scales


def is_scale(value: Value) -> bool:
    """Whether a value is one through a signal, up to constants: the inverse of a norm, say."""
    made = value.producer
    while made is not None:
        signals = carrying(made)
        if len(signals) != 1:
            return False
        if made.name in INVERSE or _is_negative_power(made):
            return True
        if made.name == "div" and signals[0] is not made.slots[0]:
            return True
        if kind(made) not in ("route", "scale") and made.name not in POWERS:
            return False
        made = signals[0].producer
    return False


def _is_negative_power(operation: Operation) -> bool:
    power = operation.argument(1)
    return operation.name == "pow" and isinstance(power, int | float) and power < 0


# -- functions of one signal


def _scaled(value: Value) -> Value:
    """The value that this one is times a constant."""
    made = value.producer
    while made is not None and (made.name in COPIES or kind(made) == "scale"):
        (signal,) = carrying(made)
        if signal.shape != value.shape:
            break
        value, made = signal, signal.producer
    return value


def _is_function_of(value: Value, x: Value) -> bool:
    """Whether a value is computed from x alone, element by element."""
    waiting, seen = {value}, set()
    while waiting:
        latest = waiting.pop()
        if latest is x:
            continue
        made = latest.producer
        seen.add(latest)
        if made is None or latest.shape != x.shape or len(seen) > LONGEST:
            return False
        if not is_elementwise(made):
            return False
        waiting.update(v for v in carrying(made) if v not in seen)
    return True


def is_elementwise(operation: Operation) -> bool:
    """Whether each element of the result depends on one element of each signal that is read."""
    known = ARITHMETIC | COPIES | ACTIVATIONS
    return operation.name in known or kind(operation) in ("pass", "scale")


# -- parts of norms, and of softmax, that are written out


def centres(operation: Operation) -> bool:
    """Whether an operation takes a signal's own mean off it."""
    return _takes_off(operation, ("mean",))


def anchors(operation: Operation) -> bool:
    """Whether an operation takes a signal's own maximum off it, so that its exponential is safe."""
    return _takes_off(operation, ("amax", "max"))


def _takes_off(operation: Operation, names: tuple[str, ...]) -> bool:
    if operation.name != "sub" or len(operation.slots) != 2 or operation.keywords:
        return False
    x, taken = operation.slots
    made = source(taken).producer
    if made is not None and made.name == "masked_fill":  # of what is not finite
        made = source(made.slots[0]).producer
    return x.carries and made is not None and made.name in names and _reads(made, x)


def _reads(operation: Operation, x: Value) -> bool:
    return source(operation.slots[0]) is source(x)


def shifts(operation: Operation) -> bool:
    """Whether an operation adds a constant to a signal that was divided by its own norm."""
    signals = carrying(operation)
    if operation.name != "add" or len(signals) != 1 or len(operation.slots) != 2:
        return False
    return any(_normalizes(made) for made in _through_constants(signals[0]))


def _through_constants(value: Value) -> Iterator[Operation]:
    """The operations before a value, as far back as the first of several signals."""
    made = value.producer
    while made is not None:
        yield made
        if kind(made) != "scale" and made.name not in COPIES:
            return
        made = carrying(made)[0].producer


def _normalizes(operation: Operation) -> bool:
    """Whether a signal is divided by, or times one through, another; or by its norm at once."""
    if operation.name in FUSED:
        return True
    if len(operation.slots) != 2 or len(carrying(operation)) != 2:
        return False
    inverse = operation.name == "mul" and any(map(is_scale, operation.slots))
    return operation.name == "div" or inverse
