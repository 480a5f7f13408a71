"""The search as a whole: what is asked, who is searched for, and what is returned of it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.batching import BatchSize
from pellucid.errors import DisconnectedError, InputError
from pellucid.exemplar.counterfactual import notes
from pellucid.exemplar.counterfactual.build import space_of
from pellucid.exemplar.counterfactual.code import take_code
from pellucid.exemplar.counterfactual.constraints import Constraints
from pellucid.exemplar.counterfactual.distance import (
    DISTANCES,
    Best,
    Distance,
    Named,
    plausibility,
    unit_of,
)
from pellucid.exemplar.counterfactual.diverse import CHAINS, chosen, frozen
from pellucid.exemplar.counterfactual.goal import Goal, Side
from pellucid.exemplar.counterfactual.gradient import climb
from pellucid.exemplar.counterfactual.growing import breed, grow
from pellucid.exemplar.counterfactual.oracle import Oracle
from pellucid.exemplar.counterfactual.polish import DIGITS, polish, tidy
from pellucid.exemplar.counterfactual.result import Answers, Counterfactuals, Status
from pellucid.exemplar.counterfactual.space import Space
from pellucid.exemplar.counterfactual.take import Taken, take
from pellucid.options import one_of, whole
from pellucid.program import Program, untouched
from pellucid.seeding import seeded

How: TypeAlias = Literal["auto", "gradient", "growing"]
HOWS = ("auto", "gradient", "growing")
# Rows of data that searches start from, and that answers are compared with.
MOST_REAL = 2000
OF_REAL = 4


def counterfactual(
    model: Any,
    inputs: Any,
    *,
    target: Any = None,
    threshold: float | None = None,
    side: Side | None = None,
    margin: float = 0.0,
    data: Any = None,
    constraints: Constraints | None = None,
    how: How = "auto",
    count: int = 1,
    distance: Named | None = None,
    scaling: Any = None,
    names: Sequence[str] | None = None,
    generator: Callable[[Tensor], Tensor] | None = None,
    code: Any = None,
    prior: float = 0.0,
    budget: int = 2000,
    seed: int = 0,
    batch_size: BatchSize = "auto",
) -> Counterfactuals:
    """Find the smallest change of each input that changes what the model decides.

        x' = argmin d(x, x')  such that  the model says what is wanted of x', constraints

    Wanted is the class `target`, or any other class than now; with a `threshold`, that the score of
    `target` is on the `side` "above" or "below" of it, or on the other side than now. It must be
    there by a `margin`, in units of the score.

    `inputs` are a data frame, an array or a tensor (sample, feature), or images and signals;
    `model` is a torch module, a callable, or an estimator. `data` are rows in the same columns:
    numbers stay within their range (or the input's own), their spread measures distances, and
    searches without gradients start from them. `constraints` always hold: they hold for what is
    returned, as it is returned.

    | `how` | the search |
    |---|---|
    | `"gradient"` | the model made linear again and again, for torch models |
    | `"growing"` | real rows, growing spheres and children of what was found, for any model |
    | `"auto"` | along gradients where there are some; without, for what that did not find, and \
to come nearer in tables |

    | `distance` | |
    |---|---|
    | `"mad"` | sum of the changes, in median absolute deviations of `data`: few columns change |
    | `"l1"`, `"l2"` | in the units of the inputs; a category that changes counts 1 |

    Without `data` it is `"l1"` for tables, and `"l2"` for all else and for codes. `count` answers
    for each input leave different columns alone. `scaling` is a scaler, or (shift, scale), that a
    torch model's columns go through: inputs, constraints and answers are in the units before it.

    With a `generator` (codes -> inputs) the search is in the space of codes: `code` gives those of
    the inputs, a callable that makes them, or their size, with which they are sought; answers are
    what the generator makes. `prior` draws codes to zero: the squared `l2` distance to the code of
    the input, plus `prior` times the squared length, is least.

    A search ends after `budget` evaluations (forward or backward, of one row) for each input and
    answer; not counted are one look at each input, its code and each answer, and at most 2,000 rows
    of data.

    Axes: answers (answer, ...) as inputs. Law: for a linear model and `"l2"` the answer is the
    projection on the boundary, x - m w / |w|^2 for a margin m = w x + b.
    Source: Wachter, Mittelstadt & Russell 2017, "Counterfactual explanations without opening the
    black box".

    >>> import torch
    >>> from pellucid.exemplar import Constraints, counterfactual
    >>> net = torch.nn.Linear(2, 1, dtype=torch.float64)
    >>> _ = torch.nn.init.ones_(net.weight), torch.nn.init.zeros_(net.bias)
    >>> found = counterfactual(net, torch.tensor([[3.0, 1.0]]).double(), threshold=0, distance="l2")
    >>> found.status, found.counterfactuals.round(decimals=6).tolist()
    (('found',), [[1.0, -1.0]])
    >>> held = Constraints(immutable=["income"])
    >>> print(counterfactual(net, torch.tensor([[3.0, 1.0]]).double(), threshold=1, margin=0.5,
    ...     names=["income", "age"], constraints=held).text())
    Sample 0: had age been -2.5 (instead of 1), the score would have been 0.5 (instead of 4).
    """
    asked = _asked(constraints, how, count, distance, budget, seed)
    with torch.inference_mode(False), _kept(generator):
        if generator is None:
            _check_no_code(code, prior)
            taken = take(model, inputs, data, target, scaling, names)
        else:
            _check_prior(prior, distance)
            given = (data, scaling, names, constraints)
            taken = take_code(model, inputs, target, generator, code, prior, given)
        program = Program(taken.model)
        with untouched(taken.model) as program.states:
            oracle = Oracle(program, taken.inputs, taken.decode, batch_size)
            goal, now = oracle.look(taken.target, threshold, side, margin)
            return _Search(asked=asked, taken=taken, oracle=oracle, goal=goal).run(inputs, now)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    """The options that are checked."""

    constraints: Constraints
    how: How
    count: int
    distance: Named | None
    budget: int
    seed: int


def _asked(
    constraints: Constraints | None,
    how: How,
    count: int,
    distance: Named | None,
    budget: int,
    seed: int,
) -> _Asked:
    one_of(how, "`how` of a counterfactual", HOWS)
    if distance is not None:
        one_of(distance, "`distance` of a counterfactual", DISTANCES)
    if constraints is not None and not isinstance(constraints, Constraints):
        raise InputError(
            "`constraints` must be Constraints",
            got=constraints,
            hint="For example Constraints(immutable=['age']), from pellucid.exemplar.",
        )
    return _Asked(
        constraints=constraints if constraints is not None else Constraints(),
        how=how,
        count=whole(count, "count"),
        distance=distance,
        budget=whole(budget, "budget"),
        seed=whole(seed, "seed", least=None),
    )


def _kept(generator: Callable[[Tensor], Tensor] | None) -> AbstractContextManager[Any]:
    """Give a generator back as it was, too."""
    return nullcontext() if generator is None else untouched(generator)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Search:
    """A search for all inputs."""

    asked: _Asked
    taken: Taken
    oracle: Oracle
    goal: Goal

    def run(self, inputs: Any, now: tuple[Tensor, Tensor]) -> Counterfactuals:
        """Search for the inputs that are not `already` as is wanted."""
        gains, before = now
        space = space_of(self.taken.table, self.asked.constraints)
        open_ = torch.tensor([not problem for problem in space.problems])
        sought = ((gains <= 0) & open_).nonzero().flatten()
        real = self._real()
        distance = Distance(how=self._how_far(), unit=self._unit(), space=space)
        found, spent, short, ways = self._found(distance, sought, real)
        answers = self._answers(distance, found, real)
        answered = set(answers.samples)
        status: list[Status] = [
            "already" if gain > 0 else "found" if i in answered else "not_found"
            for i, gain in enumerate(gains.tolist())
        ]
        limit = self.asked.budget * self.asked.count
        whys = notes.reasons(space.problems, gains, (spent, short, limit), found)
        return Counterfactuals(
            inputs=inputs,
            counterfactuals=self.taken.write(answers.rows, answers.samples),
            answers=answers,
            status=tuple(status),
            reasons=tuple(
                why if each == "not_found" else "" for why, each in zip(whys, status, strict=True)
            ),
            before=before,
            classes=self.taken.classes,
            threshold=None if self.goal.sign is None else self.goal.threshold,
            measure=distance,
            evaluations=self.oracle.cost,
            notes=(*self.taken.notes, *ways, *self._notes(answers, status)),
        )

    def _notes(self, answers: Answers, status: Sequence[Status]) -> list[str]:
        """What a user has to know of the answers."""
        taken = self.taken
        said = notes.few(answers.samples, status, self.asked.count)
        if taken.home is not None:
            gains, _ = self.oracle.judge(taken.home, torch.arange(len(taken.home)))
            said += notes.remade(gains, status)
        if taken.predict is not None and self.goal.sign is None:
            said += notes.predicted(taken.predict, taken.write, taken.classes, answers)
        return said

    def _found(
        self, distance: Distance, sought: Tensor, real: Tensor | None
    ) -> tuple[dict[int, Tensor], Tensor, Tensor, list[str]]:
        """The rows that were found of each input, what was spent, how near it came, and notes."""
        space, spent = distance.space, torch.zeros(len(distance.space.origin), dtype=torch.long)
        most = torch.full((len(spent),), torch.nan, dtype=torch.float64)
        pool: dict[int, Tensor] = {}
        said: dict[str, None] = {}
        count = self.asked.count
        limit = max(1, self.asked.budget * count // (1 + CHAINS * (count - 1)))
        sample = sought
        for turn in range(count):
            if not len(sample):
                break
            chains = space.select(sample)
            if turn:
                chains = chains.freeze(
                    torch.cat([self._frozen(space, pool, turn, i) for i in pool])
                )
            best = Best(replace(distance, space=chains))
            goal = replace(self.goal.select(sample), caution=1.0)
            kept = 0 if self.taken.table.schema is None else min(len(DIGITS), limit // 2)
            self.oracle.begin(goal, len(sample), limit - kept)
            said |= dict.fromkeys(self._climb_or_grow(best, real))
            if kept:
                self.oracle.limit = limit
                tidy(self.oracle, best)
            spent = spent.index_add(0, sample, self.oracle.spent)
            most = most if turn else most.index_copy(0, sample, self.oracle.most)
            for i in sample[best.found].unique().tolist():
                known = torch.cat(
                    [pool.get(i, best.rows[:0]), best.rows[(sample == i) & best.found]]
                )
                far = distance(known, torch.full((len(known),), i))
                pool[i] = known[chosen(distance, known, far, turn + 1)]
            sample = torch.tensor(list(pool), dtype=torch.long).repeat_interleave(CHAINS)
        return pool, spent, most, list(said)

    def _frozen(self, space: Space, pool: dict[int, Tensor], turn: int, sample: int) -> Tensor:
        """What the chains of one input leave alone, to find another answer."""
        origin = space.origin[[sample]]
        changed = space.changed(pool[sample], origin.expand(len(pool[sample]), -1))
        forced = space.changed(space.start[[sample]], origin)
        return frozen(changed & ~forced, self.asked.seed, turn)

    def _climb_or_grow(self, best: Best, real: Tensor | None) -> list[str]:
        """Search along gradients, or without, or one after the other."""
        how, ways = self.asked.how, []
        follows = how != "growing" and not self.taken.called
        if how == "gradient" and self.taken.called:
            raise DisconnectedError(
                "A search along gradients must have a model that autograd can follow",
                found="one that is called with data frames or arrays",
                hint="Search without: how='growing'.",
            )
        if follows:
            try:
                climb(self.oracle, best, self.asked.seed)
                polish(self.oracle, best, best.found)
            except DisconnectedError:
                if how == "gradient":
                    raise
                ways.append("The score has no gradient: the search was one without.")
        if how != "gradient":
            left = ~best.found
            if left.any():
                grow(self.oracle, best, real, left, self.asked.seed)
            few = best.measure.space.few
            breed(self.oracle, best, best.found & (left | few), self.asked.seed)
        return ways

    def _answers(
        self, distance: Distance, found: dict[int, Tensor], real: Tensor | None
    ) -> Answers:
        """What was found, written and read as the user does, and checked once more."""
        samples = [sample for sample in sorted(found) for _ in found[sample]]
        rows = torch.cat([distance.space.origin[:0], *(found[i] for i in sorted(found))])
        if found and self.taken.reread is not None:
            rows = self.taken.reread(self.taken.write(rows, samples))
        chain = torch.tensor(samples, dtype=torch.long)
        self.oracle.goal = self.goal
        gains, after = self.oracle.judge(rows, chain)
        good = (gains > 0) & distance.space.holds(rows, chain)
        rows, chain = rows[good], chain[good]
        return Answers(
            rows=rows,
            samples=chain.tolist(),
            distance=self._far(distance, rows, chain),
            after=after[good],
            plausibility=None if real is None else plausibility(distance, rows, real),
        )

    def _far(self, distance: Distance, rows: Tensor, chain: Tensor) -> Tensor:
        """How far answers are from their inputs: of codes from those of these."""
        home = self.taken.home
        return distance(rows, chain) if home is None else distance.between(rows, home[chain])

    def _real(self) -> Tensor | None:
        """Some rows of the data, drawn without a look at them."""
        data = self.taken.table.data
        if data is None or len(data) <= MOST_REAL:
            return data
        drawn = torch.randperm(len(data), generator=seeded(self.asked.seed, OF_REAL))
        return data[drawn[:MOST_REAL]]

    def _how_far(self) -> Named:
        if self.asked.distance is not None:
            if self.asked.distance == "mad" and self.taken.table.data is None:
                raise InputError(
                    "`data` must be given for distances in median absolute deviations",
                    found="distance='mad' without data",
                    hint="For distances in the units of the inputs: distance='l1'.",
                )
            return self.asked.distance
        if not self.taken.table.names:
            return "l2"
        return "l1" if self.taken.table.data is None else "mad"

    def _unit(self) -> Tensor:
        table = self.taken.table
        return unit_of(self._how_far(), table.data, table.rows.shape[1])


def _check_no_code(code: Any, prior: float) -> None:
    if code is not None or prior:
        raise InputError(
            "`code` and `prior` must come with a `generator`",
            found=f"prior={prior!r} alone" if code is None else "codes alone",
        )


def _check_prior(prior: float, distance: Named | None) -> None:
    if prior and distance not in (None, "l2"):
        raise InputError(
            "`distance` must be 'l2' with a `prior`, which is a sum of squares",
            got=distance,
            hint="Leave out one of both.",
        )
