"""Occlusion sensitivity: how far the score drops when a part of the input is hidden."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from pellucid.background import Background
from pellucid.baseline import Baseline, BaselineLike
from pellucid.case import SOFTMAX_NOTE, Case, Counter
from pellucid.errors import InputError, PellucidError, TargetError
from pellucid.features import FeaturesLike, Players
from pellucid.game import Game
from pellucid.inside import Inside
from pellucid.method import Attribution, Method, register
from pellucid.perturb.incremental.plan import Course, Plan
from pellucid.perturb.incremental.run import Occluded, Readout
from pellucid.perturb.windows import Extent, Windows, checked
from pellucid.pooling import channels_last
from pellucid.structure import Inputs
from pellucid.tape.record import Tape

# As much of the work of full passes is worth it to compute regions only.
WORTH = 0.8
# Passes of each sample that check regions: three windows, and all of an input, in two ways.
CHECKS = 5
# How far a score that was computed on regions may be from that of a full pass, as a part of it.
AGREES = {torch.float64: 1e-6, torch.float32: 1e-3}

GAPS_NOTE = "The windows leave gaps; elements that no window covers get zero."
SAVED_NOTE = (
    "Only the regions that a window can influence were computed again: {:.0%} of the multiply-adds "
    "of full passes, with the same scores."
)
FULL_NOTE = "Each window took a full pass: {}."


# Why there is no such region.
FUNCTION = "the model is a function, which is not recorded"
LAST = "channels are on the last axis of the input"
FILLED = "what is hidden is filled in from the rest of each sample"
EMBEDDED = "integers of the inputs are embedded, and the run begins there"
FLAT = "no input has maps"
UNREAD = "the target reads a constant of the output as long as the batch, which may be its samples"


@register("occlusion")
@dataclass(frozen=True, kw_only=True)
class Occlusion(Method):
    """The drop of the score when a window of the input is replaced by the baseline.

        R_i = mean over windows W that cover i of  f(x) - f(x with the baseline in W)

    Axes: values have shape (batch, 1, *spatial) where channels go together, else that of the
    input. `window` and `stride` are whole numbers for every spatial axis (of (batch, feature) the
    features), or tuples over all axes after the batch; of several inputs, a number must fit into
    the largest, and hides all of an axis that is shorter. There are ceil((n - window) / stride) + 1
    windows on an axis of length n, of which the last may be cut off by its end. By default a
    window is a seventh of each axis, and the stride half of a window, both rounded up; of inputs
    (batch, feature), whose columns have no neighbours, it is one column or token. Elements that no
    window covers get zero. Of several rows of a baseline the scores are averaged. With `features`
    players are removed one by one, and no windows slide; so are the columns of data frames and
    arrays and the words of texts by default.

    In a convolutional network a window is felt only in a region of each map. `incremental` computes
    that region alone, from one recorded run, and gives the scores of full passes: `None` where it
    saves work, `True` wherever a network allows it, `False` never. In single precision they are as
    far from those of full passes as two full passes of other batch sizes are from each other, for
    sums are in another order: on a VGG-16 some 1e-5 of the score. What a network does not allow, a
    note says. Full passes check it: of three windows of each sample, and of one over all of it, in
    which any path shows that was not recorded, through NumPy or in a thread.
    Laws: one evaluation a window (and row of the baseline), all in full batches; on an affine
    model, the sum of weight times distance from the baseline over the window.
    Source: Zeiler and Fergus (2014), Visualizing and Understanding Convolutional Networks.

    >>> line = lambda x: (x * torch.tensor([2.0, -1.0, 1.0])).sum(1, keepdim=True)
    >>> Occlusion(window=2, stride=1)(line, torch.tensor([[1.0, 3.0, 4.0]])).values
    tensor([[-1.,  0.,  1.]])
    """

    answers: ClassVar[str] = "How far does the score drop when a part of the input is hidden?"
    weakness: ClassVar[str] = "Misses what is there twice, and hidden parts look unnatural."
    laws: ClassVar[frozenset[str]] = frozenset({"invariant"})
    reads: ClassVar[frozenset[str]] = frozenset()
    agnostic: ClassVar[bool] = True

    window: Extent = None
    stride: Extent = None
    baseline: BaselineLike = field(default_factory=Baseline)
    features: FeaturesLike = None
    incremental: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", checked(self.window, "window"))
        object.__setattr__(self, "stride", checked(self.stride, "stride"))
        object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        slides = self.window is not None or self.stride is not None
        if self.features is not None and slides:
            raise InputError(
                "Either windows slide or players are removed, not both",
                found=f"window={self.window}, stride={self.stride} and features",
                hint="Windows that do not overlap are Features.patches(size).",
            )
        if self.features is not None and self.incremental is True:
            raise InputError(
                "`incremental` is for windows that slide, not for players that are removed",
                found="incremental=True and features",
                hint="Give `window` and `stride` instead of `features`.",
            )
        if self.incremental not in (None, True, False):
            raise InputError(
                "`incremental` must be True, False, or None where it is to be decided",
                got=self.incremental,
            )

    def check(self, inputs: Inputs) -> None:
        """Raise unless windows and baseline fit the inputs."""
        super().check(inputs)
        if self.features is None:
            self._windows(inputs)

    def _windows(self, inputs: Inputs) -> list[Windows]:
        """The windows of every input; one number must fit into the largest."""
        leaves = list(zip(inputs.leaves, inputs.labels(), strict=True))
        largest = max(range(len(leaves)), key=lambda place: leaves[place][0][0].numel())
        return [
            Windows.of(leaf, self.window, self.stride, label, cut=place != largest)
            for place, (leaf, label) in enumerate(leaves)
        ]

    def attribute(self, case: Case) -> Attribution:
        """The drop of the score for every player, or for every window and its mean on elements."""
        background = case.background(self.baseline)
        if self.features is not None or self._by_column(case.inputs):
            found = _of_players(case, case.players(self.features), background)
            return replace(found, notes=(FULL_NOTE.format(FLAT),)) if self.incremental else found
        own = case.inputs if case.embedded is None else case.embedded.own(case.inputs)
        windows = self._windows(own)
        cells = Cells.of(windows)
        players = cells.players
        if case.embedded is not None:
            players = case.embedded.lift_players(players)
        game = Game(case, players, background)
        scores, notes = self._scores(case, game, cells)
        drops = case.outcome.score.to(scores).unsqueeze(1) - scores
        values = torch.cat(
            [
                each.average(part).reshape(len(part), -1)
                for each, part in zip(windows, drops.split(cells.totals, 1), strict=True)
            ],
            1,
        )
        notes += (GAPS_NOTE,) if any(each.leave_gaps for each in windows) else ()
        found = Attribution.of_players(players, values, case.inputs)
        return Attribution(values=_once(case, found.values), notes=notes)

    def _by_column(self, inputs: Inputs) -> bool:
        """Whether inputs are columns or words, which windows would only mix, and none are asked."""
        columns = inputs.schema is not None and inputs.leaves[0].ndim == 2
        return columns and self.window is None and self.stride is None

    def _scores(self, case: Case, game: Game, cells: "Cells") -> tuple[Tensor, tuple[str, ...]]:
        """The score without each window, (sample, window): on regions or by full passes."""
        everything = torch.arange(sum(cells.totals))
        wanted = [self._may_be_local(case, number) for number in range(len(cells.windows))]
        if not any(wanted):
            notes = (FULL_NOTE.format(FLAT),) if self.incremental else ()
            return cells.scores(game, everything), notes
        attempt = _hindrance(case, game.background) or Attempt.of(case)
        if isinstance(attempt, str):
            return cells.scores(game, everything), (FULL_NOTE.format(attempt),)
        parts: list[Tensor | None] = []
        said: list[str] = []
        for number, windows in enumerate(cells.windows):
            found, note = None, ""
            if wanted[number]:
                found, note = attempt.scores(
                    case, game.background, number, windows, forced=self.incremental is True
                )
            if found is not None and not cells.agree(game, number, found):
                found, note = None, FULL_NOTE.format("those of regions gave other scores")
            parts.append(None if found is None else found[:, :-1])
            said += [note] if note else []
        return cells.completed(game, parts), tuple(dict.fromkeys(said))

    def _may_be_local(self, case: Case, number: int) -> bool:
        """Whether an input may have maps of which a window reaches a part."""
        leaf = case.inputs.leaves[number]
        maps = leaf.ndim > 2 and leaf.is_floating_point()
        return self.incremental is not False and maps


@dataclass(frozen=True, eq=False)
class Cells:
    """The elements of all inputs, numbered through, of which windows cover some."""

    windows: list[Windows]
    players: Players
    totals: list[int]

    @classmethod
    def of(cls, windows: list[Windows]) -> "Cells":
        """Every element is a player, where channels go together with those of its place."""
        labels, count = [], 0
        for each in windows:
            size = torch.Size(each.shape).numel()
            labels.append(torch.arange(count, count + size).reshape(1, *each.shape))
            count += size
        return cls(windows, Players(labels=tuple(labels), count=count), [w.total for w in windows])

    def there(self, numbers: Tensor) -> Tensor:
        """Which elements are there without windows of these numbers, (window, element)."""
        found = torch.ones(len(numbers), self.players.count, dtype=torch.bool)
        start, begin = 0, 0
        for each in self.windows:
            rows = ((numbers >= start) & (numbers < start + each.total)).nonzero().flatten()
            size = torch.Size(each.shape).numel()
            members = each.members(numbers[rows] - start).reshape(len(rows), size)
            found[rows, begin : begin + size] = ~members
            start, begin = start + each.total, begin + size
        return found

    def without(self, number: int) -> Tensor:
        """Which elements are there without one of the inputs, (1, element)."""
        sizes = [torch.Size(each.shape).numel() for each in self.windows]
        parts = [torch.full((1, n), place != number) for place, n in enumerate(sizes)]
        return torch.cat(parts, 1)

    def scores(self, game: Game, numbers: Tensor) -> Tensor:
        """The scores without some windows, of shape (sample, window), by full passes."""
        return _removed(game, len(numbers), lambda places: self.there(numbers[places]))

    def agree(self, game: Game, number: int, scores: Tensor) -> bool:
        """Whether full passes give the same scores: of the largest drop, in two corners, of all.

        Without all of an input, the last of its scores, any path that was not recorded is felt.
        """
        here = game.case.outcome.score.to(scores).unsqueeze(1)
        drops, total = (here - scores).abs(), self.totals[number]
        largest, first = drops[:, :total].argmax(1), torch.zeros(len(drops), dtype=torch.long)
        numbers = torch.stack([largest.cpu(), first, first + total - 1], 1)
        there = self.there(numbers.flatten() + sum(self.totals[:number]))
        there = there.reshape(*numbers.shape, -1)
        nothing = self.without(number).expand(len(drops), 1, -1)
        passed = game.values(torch.cat([there, nothing], 1)).to(scores)
        numbers = torch.cat([numbers, first.unsqueeze(1) + total], 1)
        found = scores.gather(1, numbers.to(scores.device))
        size = torch.maximum(here.abs(), drops.amax(1, keepdim=True))
        part = AGREES.get(game.case.outcome.score.dtype, 0.05)
        return bool(((found - passed).abs() <= part * size + 1e-12).all())

    def completed(self, game: Game, parts: Sequence[Tensor | None]) -> Tensor:
        """The scores of all windows, by full passes where there are none yet."""
        numbers = torch.arange(sum(self.totals)).split(self.totals)
        left = [each for each, part in zip(numbers, parts, strict=True) if part is None]
        passed = self.scores(game, torch.cat(left)) if left else None
        found, done = [], 0
        for part, total in zip(parts, self.totals, strict=True):
            if part is None and passed is not None:
                part, done = passed[:, done : done + total], done + total
            found.append(part)
        return torch.cat([part for part in found if part is not None], 1)


@dataclass(frozen=True, eq=False)
class Attempt:
    """A recorded run, on which regions are computed again."""

    tape: Tape
    readout: Readout

    @classmethod
    def of(cls, case: Case) -> "Attempt | str":
        """Record the run of a case, which finds its score; or say why there is none."""
        apart = replace(case, counter=Counter())
        try:
            tape = apart.tape
        except PellucidError as error:
            return f"the run could not be recorded ({str(error).rstrip('.')})"
        case.count(forward=apart.counter.forward)
        case.__dict__.setdefault("outcome", tape.outcome)
        if tape.softmax_removed:
            case.counter.note(SOFTMAX_NOTE)
        return cls(tape, Readout.of(tape))

    def scores(
        self,
        case: Case,
        background: Sequence[Inputs],
        number: int,
        windows: Windows,
        *,
        forced: bool,
    ) -> tuple[Tensor | None, str]:
        """The scores without each window, and last without all, and a note; or only a note."""
        course = Course.of(self.tape, self.tape.entries[number], self.readout.ends)
        if course.obstacle is not None:
            return None, FULL_NOTE.format(f"{_named(course.obstacle)} may treat samples together")
        if not course.operations:
            return None, FULL_NOTE.format("no recorded operation leads from the input to the score")
        plans = course.arranged(windows)
        share = _share(course, plans, windows)
        full = WORTH * windows.total - CHECKS
        if not forced and course.work(plans) > full * course.cost.work:
            stop = next((plan.stop for plan in plans if plan.stop is not None), None)
            why = f"{_named(stop)} reads whole maps" if stop else "windows reach most of the maps"
            return None, FULL_NOTE.format(why) if share > WORTH else ""
        occluded = Occluded(
            course=course,
            readout=self.readout,
            windows=windows,
            references=[each.leaves[number] for each in background],
            shares=background.weights if isinstance(background, Background) else (),
            target=self.tape.outcome.target,
            batch=case.batcher,
        )
        everything = replace(windows, size=windows.shape, stride=windows.shape)
        with torch.no_grad():
            try:
                found = occluded.scores(plans)
                last = [course.plan(everything, torch.zeros(1, dtype=torch.long))]
                nothing = replace(occluded, windows=everything).scores(last)
            except TargetError:  # of the run itself it could be read
                return None, FULL_NOTE.format(UNREAD)
        return torch.cat([found, nothing], 1), SAVED_NOTE.format(share)


def _hindrance(case: Case, background: Sequence[Inputs]) -> str:
    """Why no run is to be recorded; empty if it is."""
    if case.embedded is not None:
        return EMBEDDED
    model = case.program.model
    if not isinstance(model.model if isinstance(model, Inside) else model, nn.Module):
        return FUNCTION
    if isinstance(background, Background) and background.filling is not None:
        return FILLED
    return LAST if any(channels_last(leaf.shape[1:]) for leaf in case.inputs.leaves) else ""


def _share(course: Course, plans: list[Plan], windows: Windows) -> float:
    """The multiply-adds of plans, as a part of those of full passes."""
    done = sum(len(plan.numbers) * plan.cost.products for plan in plans)
    return done / max(1.0, windows.total * course.cost.products)


def _named(operation: object) -> str:
    name, path = getattr(operation, "name", ""), getattr(operation, "path", "")
    return f"`{name}` in `{path}`" if path else f"`{name}`"


def _of_players(case: Case, players: Players, background: Sequence[Inputs]) -> Attribution:
    """The drop without each player."""
    game = Game(case, players, background)
    everyone = torch.arange(players.count)

    def there(numbers: Tensor) -> Tensor:
        return everyone != numbers.unsqueeze(1)

    scores = _removed(game, players.count, there)
    drops = case.outcome.score.to(scores).unsqueeze(1) - scores
    return Attribution.of_players(players, drops, case.inputs)


def _removed(game: Game, total: int, there: Callable[[Tensor], Tensor]) -> Tensor:
    """The scores where `there` says who is, of shape (sample, number of what is removed)."""
    samples = len(game.case)

    def pick(start: int, stop: int) -> tuple[Tensor, Tensor]:
        places = torch.arange(start, stop)
        return there(places // samples), places % samples

    return game.scores(total * samples, pick, "occlusion").reshape(total, samples).T


def _once(case: Case, values: list[Tensor]) -> list[Tensor]:
    """Values of which one embedding of an integer has all, if there are several.

    They are absent together, and the values of embeddings are summed.
    """
    if case.embedded is None:
        return values
    found, seen, count = list(values), set[int](), len(case.embedded.inputs.leaves)
    for number, reading in enumerate(case.embedded.readings, count):
        if reading.leaf in seen:
            found[number] = torch.zeros_like(found[number])
        seen.add(reading.leaf)
        found[reading.leaf] = torch.zeros_like(case.inputs.leaves[reading.leaf])
    return found
