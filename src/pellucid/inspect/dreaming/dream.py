"""Dream of what a model answers most to: activation maximization."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.batching import Batcher, BatchSize, are_few, check_batch_size
from pellucid.errors import InputError
from pellucid.explanation import Evaluations
from pellucid.inspect.dreaming.ascent import CLIMBS, Ascent, Climb, Judge, ascend
from pellucid.inspect.dreaming.dreams import Dreams
from pellucid.inspect.dreaming.objective import ON, Objective, objectives_of
from pellucid.inspect.dreaming.parameterization import ParameterizationLike, parameterization_of
from pellucid.inspect.dreaming.reader import Reader
from pellucid.inspect.dreaming.recipe import Recipe, recipe_of
from pellucid.inspect.dreaming.source import Beginning, Source
from pellucid.inspect.dreaming.terms import Correction, Term, TermLike, terms_of
from pellucid.inspect.dreaming.unit_fields import CUT_NOTE, Seen, seen_by
from pellucid.memory import rows_within
from pellucid.options import number, one_of, whole
from pellucid.program import Program, State, untouched
from pellucid.target import Target

# "auto" batches hold about this many elements: 55 photographs of 224 by 224.
ELEMENTS = 2**23
DEAD_NOTE = (
    "No slope reached the input from {}: a rectifier is off there. Begin elsewhere, with "
    'start="noise" or a real input, or dream of the layer before the rectifier.'
)
LOW_NOTE = "Not above the score at the start: {}. More steps or a smaller `rate` may help."
SOFTMAX_NOTE = "The model ends in a softmax; the score before it is climbed."


def dream(
    model: Callable[..., Any],
    targets: Any,
    *,
    shape: Sequence[int] | int | None = None,
    like: Tensor | None = None,
    start: str | Tensor = "zero",
    data: Any = None,
    labels: Any = None,
    noise: float | None = None,
    recipe: str = "plain",
    terms: Sequence[TermLike] | None = None,
    parameterization: ParameterizationLike | None = None,
    climb: Climb | None = None,
    steps: int | None = None,
    rate: float | None = None,
    expert: Any = None,
    expert_weight: float = 1.0,
    generator: Callable[[Tensor], Tensor] | None = None,
    code: Sequence[int] | int | None = None,
    prior_weight: float = 0.01,
    on: str = "score",
    channel_axis: int = 1,
    seed: int | Sequence[int] = 0,
    batch_size: BatchSize = "auto",
    what: str = "dreams",
) -> Dreams:
    """Make inputs that a model answers most to, many at once.

        x* = argmax over x of  score(x) - costs(x)                           plain
        x* = argmax over x of  score(x) + expert_weight log p(x) - costs(x)  with an expert
        x* = g(argmax over z of  score(g(z)) - prior_weight |z|^2)           in code space

    | option | what it is |
    |---|---|
    | `targets` | 3, a contrast (3, 1), `Target.unit`, `Target.channel`, any other target, an |
    | | `Objective` (sums, differences, layers), or a list of these, one for each dream |
    | `shape`, `like` | the shape of one input, or a batch of inputs that are like a dream |
    | `start` | "zero", "noise", "mean" of the `data`, "class_mean" of those of a class, or a |
    | | tensor: one for all, or one each |
    | `data`, `labels` | real inputs for these means, all at once or in batches, and their classes |
    | `noise` | its deviation: 0.1, of codes 1 |
    | `recipe` | "plain", "yosinski" or "fourier": what is used where the next five are not given |
    | `terms` | regularisers by name or as made, of `pellucid.inspect.dreaming.terms` |
    | `parameterization` | "pixel", "fourier", "pyramid", "decorrelated", or one as made |
    | `climb` | "adam", "gradient" (textbook ascent) or "normalized" |
    | `steps`, `rate` | how many, and how far each goes: see `ascend` |
    | `expert` | log p(x) of shape (dream,): a callable, or what has a method `log_prob` |
    | `generator`, `code` | g(z), and the shape of one code; terms are then none but those given |
    | `on` | "score" before a softmax, "probability" by it, or "log_probability", of classes |
    | `channel_axis` | 1; for embeddings (dream, token, feature) it is 2 |
    | `seed` | one, or one for each dream: several runs of one target |

    No dream depends on the others. The model is left as it was. Of large inputs as many climb at
    once, with `batch_size="auto"`, as the model makes 512 MB of on the way, or one.
    Law: of a linear score w x with a cost weight |x|^2 it is w / (2 weight).
    Source: Erhan, Bengio, Courville and Vincent (2009), Visualizing Higher-Layer Features of a Deep
    Network; Simonyan, Vedaldi and Zisserman (2014), Deep Inside Convolutional Networks; Nguyen et
    al. (2016), Synthesizing the Preferred Inputs for Neurons in Neural Networks via Deep Generator
    Networks.

    >>> net = torch.nn.Linear(3, 2, bias=False)
    >>> _ = net.weight.data.copy_(torch.tensor([[1.0, 0, 0], [0, 2, 0]]))
    >>> from pellucid.inspect.dreaming.terms import L2
    >>> found = dream(net, [0, 1], shape=3, terms=[L2(weight=0.5)], climb="gradient", rate=0.5)
    >>> found.inputs
    tensor([[1., 0., 0.],
            [0., 2., 0.]])
    """
    Program(model)  # which raises for what is none
    check_batch_size(batch_size)
    aims = tuple(each.on(one_of(on, "`on` of a dream", ON)) for each in objectives_of(targets))
    begin = Beginning(
        shape=shape, like=like, start=start, data=data, labels=labels, noise=noise, code=code,
        generator=generator, channel_axis=channel_axis, aims=aims, seeds=_seeds(seed, len(aims)),
    )  # fmt: skip
    asked = _Asked(recipe, terms, parameterization, climb, steps, rate)
    judges = _judges(expert, expert_weight, prior_weight)
    with _left_alone(model, generator, expert) as states:
        climber = _Climber.of(model, begin, asked, judges, what, states)
        return climber.dreams(batch_size, recipe)


@dataclass(frozen=True, eq=False)
class _Asked:
    """How dreams are to climb, as the user says it: what is left open is that of the recipe."""

    recipe: str
    terms: Sequence[TermLike] | None
    parameterization: ParameterizationLike | None
    climb: Climb | None
    steps: int | None
    rate: float | None

    def way(self, source: Source) -> Recipe:
        """The recipe with what is given in its place; in code space without terms of its own."""
        base = recipe_of(self.recipe, source.layout)
        if source.in_code and self.parameterization is not None:
            raise InputError(
                "`parameterization` or `generator` must be given, not both",
                found=f"parameterization={self.parameterization!r}",
            )
        way = "pixel" if source.in_code else self.parameterization or base.parameterization
        climb, steps = self.climb or base.climb, self.steps
        one_of(climb, "`climb` of a dream", CLIMBS)
        rate = base.rate if self.rate is None else self.rate
        return Recipe(
            terms=self._terms(base, source),
            parameterization=parameterization_of(way),
            climb=climb,
            steps=whole(base.steps if steps is None else steps, "steps"),
            rate=number(rate, "rate", "a positive number", above=0),
        )

    def _terms(self, base: Recipe, source: Source) -> tuple[Term, ...]:
        own = () if source.in_code else base.terms
        chosen = terms_of(own if self.terms is None else self.terms)
        for term in chosen:
            if source.in_code and isinstance(term, Correction):
                raise InputError(
                    "Terms that correct inputs must be left out in code space, where the "
                    "generator makes them",
                    found=type(term).__name__,
                    hint="`prior_weight` keeps codes, and so inputs, where the generator knows "
                    "them.",
                )
        return chosen


@dataclass(frozen=True, kw_only=True)
class _Judges:
    """Who has a say beside the objective, and how much."""

    expert: Judge | None
    expert_weight: float
    prior_weight: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """What became of some of the dreams, and whether a softmax was left out."""

    ascent: Ascent
    calls: int
    softmax: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class _Climber:
    """Lets some of the dreams climb, from `start` to `stop`."""

    model: Callable[..., Any]
    source: Source
    aims: tuple[Objective, ...]
    seeds: tuple[int, ...]
    way: Recipe
    judges: _Judges
    what: str
    states: list[State]
    strict: bool

    @classmethod
    def of(
        cls, model: Callable[..., Any], begin: Beginning, asked: _Asked, judges: _Judges,
        what: str, states: list[State],
    ) -> "_Climber":  # fmt: skip
        """Find what is moved, from where and how, before any of them climbs."""
        source = begin.source(model)
        way = asked.way(source)
        return cls(
            model=model, source=source.through(parameterization_of(way.parameterization)),
            aims=tuple(begin.aims), seeds=tuple(begin.seeds), way=way, judges=judges, what=what,
            states=states, strict=begin.shape is not None,
        )  # fmt: skip

    def dreams(self, batch_size: BatchSize, recipe: str) -> Dreams:
        """Let all of them climb, as many at a time as fit."""
        size, looked = self._room() if batch_size == "auto" else (batch_size, 0)
        units, calls = _units(self, size)
        source = self.source
        seen = seen_by(self.model, units, source.like, source.layout, strict=self.strict)
        single = seen.runs + looked
        before = Evaluations(len(units) + single, 0, calls + single)
        parts = list(Batcher(batch_size, start=size).run(len(self.aims), self))
        return _put_together(self, parts, units, seen, before, recipe)

    def _room(self) -> tuple[int, int]:
        """How many dreams climb at once, and how many runs of the model it took to find out.

        They may hold ELEMENTS numbers, and what is made of them on the way `memory.BYTES`. The
        first run goes to the end of the model; the next ends at the layer, if one is all that is
        read.
        """
        source, one = self.source, self.source.like.numel()
        size = max(1, min(len(self.aims), ELEMENTS // max(1, one)))
        if are_few(size, [source.like]):
            return size, 0
        reader = Reader.of(self.model, self.aims[:1], source.like.dtype, self.states)
        layers = {piece.target.layer for aim in self.aims for piece in aim.pieces}
        is_short = len(layers) == 1 and "" not in layers

        def run() -> Tensor:
            numbers = source.numbers[:1].detach()
            return reader(numbers if source.dream is None else source.dream(numbers))

        with torch.no_grad():
            if is_short:
                run()
            found = min(size, rows_within(run))
        for state in self.states:
            if state.is_changed():
                state.restore()
        return found, 1 + is_short

    def __call__(self, start: int, stop: int) -> _Part:
        reader = Reader.of(self.model, self.aims[start:stop], self.source.like.dtype, self.states)
        found = ascend(
            reader,
            self.source.numbers[start:stop],
            dream=self.source.dream,
            undo=self.source.undo,
            terms=terms_of(self.way.terms),
            layout=self.source.layout,
            expert=self.judges.expert,
            expert_weight=self.judges.expert_weight,
            prior_weight=self.judges.prior_weight if self.source.in_code else 0.0,
            climb=self.way.climb,
            steps=self.way.steps,
            rate=self.way.rate,
            seeds=self.seeds[start:stop],
            what=self.what,
        )
        return _Part(ascent=found, calls=self.way.steps + 1, softmax=reader.leaves_softmax)


@contextmanager
def _left_alone(model: Callable[..., Any], *others: Any) -> Iterator[list[State]]:
    """Give back a model, and a generator and an expert if there are, whatever happens."""
    with ExitStack() as stack:
        states = stack.enter_context(untouched(model))
        for other in filter(callable, others):
            stack.enter_context(untouched(other))
        yield states


def _units(climber: _Climber, size: int) -> tuple[dict[int, Target], int]:
    """Which unit each dream of one is of, by the dream, and how many runs that took.

    They are found before any of them climbs, so many at a time.
    """
    aims, like = climber.aims, climber.source.like
    rows = [row for row, aim in enumerate(aims) if aim.is_unit]
    found: dict[int, Target] = {}
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    for part in parts:
        reader = Reader.of(climber.model, [aims[row] for row in part], like.dtype, climber.states)
        with torch.no_grad():
            reader(like.expand(len(part), *like.shape[1:]))
        found |= {part[place]: each for place, each in reader.targets().items()}
    return found, len(parts)


def _put_together(
    climber: _Climber,
    parts: list[_Part],
    units: dict[int, Target],
    seen: Seen,
    before: Evaluations,
    recipe: str,
) -> Dreams:
    """The dreams of all batches, in order, and what a user should know of them.

    `before` counts the runs that it took to begin.
    """
    source = climber.source
    aims = tuple(
        Objective.of(units[row]) if row in units else aim for row, aim in enumerate(climber.aims)
    )
    scores = torch.cat([part.ascent.scores for part in parts])
    felt = torch.cat([part.ascent.felt for part in parts])
    rows = range(len(aims))
    dead = [row for row in rows if not felt[row]]
    low = [row for row in rows if felt[row] and not scores[row, -1] > scores[row, 0]]
    said = [
        (SOFTMAX_NOTE, any(part.softmax for part in parts)),
        (DEAD_NOTE.format(_named(aims, dead)), dead),
        (LOW_NOTE.format(_named(aims, low)), low),
        (CUT_NOTE.format(_named(aims, seen.cut)), seen.cut),
    ]
    inputs = torch.cat([part.ascent.inputs for part in parts]).to(source.like.dtype)
    climbed = sum(part.calls * len(part.ascent.inputs) for part in parts)
    calls = sum(part.calls for part in parts) + before.calls
    return Dreams(
        targets=aims,
        inputs=inputs,
        codes=torch.cat([part.ascent.numbers for part in parts]) if source.in_code else None,
        score=scores[:, -1],
        started=scores[:, 0],
        path=torch.cat([part.ascent.path for part in parts]),
        fields=tuple(seen.fields.get(row) for row in rows),
        layout=source.layout,
        seeds=climber.seeds,
        recipe=recipe,
        evaluations=Evaluations(climbed + before.forward, climbed - len(aims), calls),
        notes=tuple(text for text, holds in said if holds),
    )


def _named(aims: Sequence[Objective], rows: Sequence[int]) -> str:
    """Some targets by name, the first few of many."""
    names = [aims[row].words() for row in rows[:4]]
    return ", ".join(names) + (f" and {len(rows) - 4} more" if len(rows) > 4 else "")


def _seeds(seed: int | Sequence[int], dreams: int) -> tuple[int, ...]:
    """One seed for all dreams, or one for each."""
    if not isinstance(seed, list | tuple | range):
        return (whole(seed, "seed", least=None),) * dreams
    if len(seed) != dreams:
        raise InputError(f"`seed` must be one, or one for each of the {dreams} dreams", got=seed)
    return tuple(whole(each, "seed", least=None) for each in seed)


def _judges(expert: Any, expert_weight: float, prior_weight: float) -> _Judges:
    """The expert, a callable or a method of a distribution, and the weights, checked."""
    found = getattr(expert, "log_prob", expert)
    if found is not None and not callable(found):
        raise InputError(
            "`expert` must be a callable that returns log p(x), or have a method `log_prob`",
            got=expert,
        )
    return _Judges(
        expert=found,
        expert_weight=number(expert_weight, "expert_weight", "a weight"),
        prior_weight=number(prior_weight, "prior_weight", "a weight, 0 or more", least=0),
    )
