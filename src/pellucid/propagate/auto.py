"""The composite that fits a tape: `composite="auto"` looks at what ran, and says what it took.

It picks among those that lose nothing but what biases keep. docs/rules.md has the measurements
behind the choice: where convolutions follow each other, gamma in them is the most faithful or
within 0.03 of it; elsewhere the plain stabilizer is.
"""

from pellucid.propagate.composites import COMPOSITES, Composite, composite
from pellucid.tape.adjoints import CONVOLUTIONS, kind
from pellucid.tape.record import Tape


def choose(tape: Tape, given: "str | Composite") -> tuple[Composite, str]:
    """The composite, and a note if it was chosen here."""
    if given != "auto":
        return composite(given), ""
    found = COMPOSITES["epsilon-gamma" if _is_convolutional(tape) else "epsilon"]
    return found, f"Composite `{found.name}` was chosen: {found.why}."


def _is_convolutional(tape: Tape) -> bool:
    """Whether convolutions follow each other: one alone only cuts an input into patches."""
    weighted = [op for op in tape.operations if kind(op) == "weighted"]
    convolutions = [op for op in weighted if op.name in CONVOLUTIONS]
    return len(convolutions) > 1 or (bool(convolutions) and len(weighted) < 4)
