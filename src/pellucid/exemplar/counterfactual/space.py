"""Where a search may go: rows of numbers, projected exactly onto what must hold, and checked.

A *row* is a changed input, flat, in float64 and in the user's units. A *chain* is one search for
one input; chains of one input differ in what they leave as it is. A *variable* is what changes as
a whole: a number, or a *choice* among options (a category, a one-hot group).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from pellucid.exemplar.counterfactual.grid import Grid, spacing

# Of more variables than this each is not tried alone.
MOST_ALONE = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """One of several options, of which each sets some columns: a category, or a one-hot group.

    `options` have shape (option, column of `columns`), `allowed` has shape (chain, option), `own`
    (chain,) is the option that the input has.
    """

    name: str
    columns: Tensor
    options: Tensor
    labels: tuple[str, ...]
    allowed: Tensor
    own: Tensor

    def nearest(self, values: Tensor, chain: Tensor) -> Tensor:
        """The option nearest to values (row, column), else the input's own, else any allowed."""
        found = torch.cdist(values.nan_to_num(-1e9), self.options).argmin(1)
        allowed, own = self.allowed[chain], self.own[chain]
        rows = torch.arange(len(chain))
        spare = torch.where(allowed[rows, own], own, allowed.byte().argmax(1))
        return torch.where(allowed[rows, found], found, spare)

    def select(self, index: Tensor) -> "Choice":
        """The choice of some chains."""
        return replace(self, allowed=self.allowed[index], own=self.own[index])

    @property
    def keeps(self) -> Tensor:
        """Whether the input's own option is allowed, of shape (chain,)."""
        return self.allowed.gather(1, self.own[:, None]).squeeze(1)

    def within(self, options: Tensor) -> "Choice":
        """The choice among some of the options (chain, option) alone."""
        return replace(self, allowed=self.allowed & options)

    def freeze(self, chains: Tensor) -> "Choice":
        """Only the input's own option, for some of the chains (chain,)."""
        own = torch.nn.functional.one_hot(self.own, len(self.options)).bool()
        return self.within(own | ~chains[:, None])


@dataclass(frozen=True, kw_only=True, eq=False)
class Space:
    """The inputs (chain, element), and where each of them may go.

    `low` and `high` (chain, element) bound the numbers, on the `grid`, and in the `precision` of
    each element. What is `fixed` (chain, element) stays as it is; what may `stay` as it is needs
    not be on the grid. `variable` (element,) numbers what changes
    as a whole. `problems` (one a chain) say where no row can hold to the constraints.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    origin: Tensor
    low: Tensor
    high: Tensor
    grid: Grid
    fixed: Tensor
    stay: Tensor
    precision: tuple[tuple[torch.dtype, Tensor], ...]
    choices: tuple[Choice, ...]
    variable: Tensor
    problems: tuple[str, ...]

    @cached_property
    def variables(self) -> int:
        """How many there are."""
        return int(self.variable.max()) + 1

    @cached_property
    def few(self) -> bool:
        """Whether each of them is tried alone: of columns that are not too many, not of pixels."""
        return bool(self.names) and self.variables <= MOST_ALONE

    @cached_property
    def numeric(self) -> Tensor:
        """Which elements are numbers of their own, of shape (element,)."""
        found = torch.ones(len(self.variable), dtype=torch.bool)
        for choice in self.choices:
            found[choice.columns] = False
        return found

    @cached_property
    def start(self) -> Tensor:
        """The inputs, moved as far as the constraints ask for; shape (chain, element)."""
        return self.project(self.origin, torch.arange(len(self.origin)))

    def select(self, index: Tensor) -> "Space":
        """Some of the chains, or the same several times."""
        names = ("origin", "low", "high", "fixed", "stay")
        return replace(
            self,
            **{name: getattr(self, name)[index] for name in names},
            choices=tuple(each.select(index) for each in self.choices),
            problems=tuple(self.problems[i] for i in index.tolist()),
        )

    def freeze(self, frozen: Tensor) -> "Space":
        """Leave some variables (chain, variable) as they are, if they may stay so."""
        fixed = frozen[:, self.variable] & self.stay
        chosen = [each.freeze(fixed[:, each.columns[0]]) for each in self.choices]
        return replace(self, fixed=self.fixed | fixed, choices=tuple(chosen))

    def project(self, rows: Tensor, chain: Tensor, *, outward: bool = False) -> Tensor:
        """The rows (row, element), moved to the nearest that hold to all constraints.

        With `outward` numbers on a grid are rounded away from the input.
        """
        origin = self.origin[chain]
        rows = torch.where(rows.isnan(), origin, rows)  # of what is known nothing becomes missing
        made = self._rounded(self.grid.nearest(rows, origin if outward else None))
        made = made.clamp(self.low[chain], self.high[chain])
        keeps = self.fixed[chain] | (self.stay[chain] & (rows == origin))
        made = torch.where(keeps, origin, made)
        for choice in self.choices:
            found = choice.nearest(rows[:, choice.columns], chain)
            kept = torch.where(
                self.fixed[chain][:, choice.columns], origin[:, choice.columns], torch.nan
            )
            made[:, choice.columns] = torch.where(kept.isnan(), choice.options[found], kept)
        return made

    def revert(self, rows: Tensor, chain: Tensor, which: Tensor) -> Tensor:
        """The rows with some variables (row, variable) as they are in the input."""
        return torch.where(which[:, self.variable], self.start[chain], rows)

    def changed(self, rows: Tensor, others: Tensor) -> Tensor:
        """Which variables differ between rows and others (row, element); shape (row, variable)."""
        other = (rows != others) & ~(rows.isnan() & others.isnan())
        found = torch.zeros(len(rows), self.variables, dtype=torch.long)
        return found.index_add(1, self.variable, other.long()) > 0

    def holds(self, rows: Tensor, chain: Tensor) -> Tensor:
        """Whether rows keep to every constraint, of shape (row,): the check of what is returned."""
        origin, number = self.origin[chain], self.numeric
        same = (rows == origin) | (rows.isnan() & origin.isnan())
        inside = (rows >= self.low[chain]) & (rows <= self.high[chain])
        off = (rows - self._rounded(self.grid.nearest(rows))).abs()
        even = (self.grid.steps == 0) | (off <= spacing(rows, self.precision))
        good = torch.where(self.fixed[chain], same, (same & self.stay[chain]) | (inside & even))
        fine = (good | ~number).all(1)
        for choice in self.choices:
            values = rows[:, choice.columns]
            match = (values[:, None] == choice.options).all(2) & choice.allowed[chain]
            held = (same & self.fixed[chain])[:, choice.columns].all(1)
            fine = fine & (match.any(1) | held)
        return fine

    def _rounded(self, rows: Tensor) -> Tensor:
        """Numbers as the type of their column holds them."""
        for dtype, elements in self.precision:
            rows = torch.where(elements, rows.to(dtype).double(), rows)
        return rows
