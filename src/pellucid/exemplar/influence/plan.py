"""What is held beside the network, planned before any work."""

from dataclasses import dataclass

from pellucid.errors import InputError
from pellucid.exemplar.influence.gradients import VECTORS
from pellucid.exemplar.influence.head import Head
from pellucid.exemplar.influence.objective import Objective
from pellucid.exemplar.influence.solver import Solver

# At most so many examples have gradients of their own at once, and the parts of memory for them.
ROWS, PARTS = 512, 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """How many examples have a gradient of their own at once, and the bytes of all that is held.

    `head` is the last layer, if it is worked on alone, on features that are held.
    """

    rows: int
    memory: int
    head: Head | None

    @classmethod
    def of(
        cls,
        solver: Solver,
        name: str,
        objective: Objective,
        tests: int,
        memory: int,
        *,
        inner: bool,
    ) -> "Plan":
        """Fit the work into memory, or raise; `inner` says that the score is of a layer inside."""
        held, each = _held(solver, objective, tests), _each(solver, objective, tests)
        head = None if inner else Head.of(objective)
        if head is not None:
            features = 2 * (objective.data.rows + tests) * head.shape.numel()
            size = features * objective.theta.element_size()
            if sum(held.values()) + each + size <= memory:
                held["the features of the last layer"] = size
            else:
                head = None  # the network runs again and again
        fixed = sum(held.values())
        most = max(objective.data.rows, tests)
        rows = max(1, min(ROWS, most, (memory - fixed) // each, memory // PARTS // each))
        if objective.batch_size != "auto":
            rows = min(objective.batch_size, most)
        if fixed + rows * each > memory:
            raise _too_much(name, objective, held, rows * each, memory)
        return cls(rows=rows, memory=fixed + rows * each, head=head)


def _held(solver: Solver, objective: Objective, tests: int) -> dict[str, int]:
    """What is held for all of the work, in bytes, by name."""
    chosen, rows = objective.fitted, objective.data.rows
    item = chosen.theta.element_size()
    return solver.bytes(chosen) | {
        f"what is solved for {tests} test examples": tests * solver.solving(chosen),
        "the parameters": 5 * item * chosen.count,  # as they run, and sums of gradients
        f"the values of {rows:,} training examples": 2 * item * rows * (tests or 3),
    }


def _each(solver: Solver, objective: Objective, tests: int) -> int:
    """What is held for one training example, in bytes, with what is made on the way."""
    chosen = objective.fitted
    each = 3 * chosen.theta.element_size() * chosen.count
    if objective.blocks and not solver.written:
        return min(each, objective.flowing(min(tests, VECTORS)))
    return each + (solver.solving(chosen) if solver.solves(own=not tests) else 0)


def _too_much(
    name: str, objective: Objective, held: dict[str, int], work: int, memory: int
) -> InputError:
    every = held | {"the gradients of examples": work}
    most = max(every, key=lambda key: every[key])
    return InputError(
        f"What `{name}` holds must be at most `memory`, {size_of(memory)}",
        found=f"{size_of(sum(every.values()))}, of which {size_of(every[most])} for {most} "
        f"({objective.fitted.count:,} parameters)",
        hint="Ask about fewer `parameters`, of the last layers, or about fewer test examples at "
        "once; take smaller batches, or another way; or allow more `memory`.",
    )


def size_of(count: int) -> str:
    """Bytes in words.

    >>> size_of(3 * 2**19), size_of(2**31)
    ('1.5 MB', '2.0 GB')
    """
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.1f} MB"
