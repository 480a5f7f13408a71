"""Composites: which rule goes to which operation. Data, no code."""

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.errors import InputError, UnknownNameError
from pellucid.propagate.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    SignalRule,
    SumPlus,
    TaylorSoftmax,
    Uniform,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
)
from pellucid.propagate.where import Place, Where, WhereLike

# The places of operations with weights.
WEIGHTS = frozenset({"convolution", "dense", "first", "last"})


@dataclass(frozen=True, kw_only=True)
class Composite:
    """A named, ordered assignment of rules: the first entry that fits an operation counts.

    An entry is `(where, rule)`; for `where` see `Where`. A rule for weights fits operations with
    weights, any other those of its families; what no entry names gets the rule of its family.
    `why` says what the composite is good for; `conserves` whether, without biases, nothing is lost.

    >>> Composite(name="mine", entries=(("first", Flat()), ("any", Epsilon()))).entries[0][0]
    'first'
    """

    name: str
    entries: tuple[tuple[WhereLike, Rule | SignalRule], ...]
    why: str = ""
    conserves: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InputError("The name of a composite must be a string", got=self.name)
        if not isinstance(self.entries, tuple | list):
            raise InputError(
                "The entries of a composite must be a tuple of (where, rule)",
                got=self.entries,
                hint='For example (("first", Flat()), ("any", Epsilon())).',
            )
        object.__setattr__(self, "entries", tuple(self.entries))
        for entry in self.entries:
            if not (isinstance(entry, tuple) and len(entry) == 2 and _is_rule(entry[1])):
                raise InputError(
                    "Every entry of a composite must be (where, rule)",
                    got=entry,
                    hint='For example ("first", pellucid.rules.Flat()).',
                )
            _check_fit(Where.of(entry[0]), entry[1])

    def rule(self, place: Place) -> Rule | SignalRule | None:
        """The rule of the first entry that fits an operation; `None` if none does."""
        for where, rule in self.entries:
            if _fits(rule, place) and Where.of(where).holds(place):
                return rule
        return None

    def check(self, places: Sequence[Place]) -> None:
        """Raise if an entry names an operation or a layer where its rule can never apply."""
        for given, rule in self.entries:
            where = Where.of(given)
            where.check(places)
            if where.names_some:
                _check_use(where, rule, [place for place in places if where.is_named(place)])


def _is_rule(given: object) -> bool:
    return isinstance(given, Rule | SignalRule)


def _fits(rule: Rule | SignalRule, place: Place) -> bool:
    """Whether a rule is one for this kind of operation."""
    return place.weighted if isinstance(rule, Rule) else place.family in rule.families


def _able(rule: Rule | SignalRule) -> frozenset[str]:
    """The places that a rule is made for."""
    return WEIGHTS if isinstance(rule, Rule) else rule.families


def _check_fit(where: Where, rule: Rule | SignalRule) -> None:
    """Raise if a rule is given to operations that it is not made for."""
    able = _able(rule)
    if where.place != "any" and where.place not in able:
        raise InputError(
            f"The rule {rule.name} must be given to operations that it is made for",
            found=f"`{where.place}`",
            hint=f"It is made for {', '.join(sorted(able))}.",
        )


def _check_use(where: Where, rule: Rule | SignalRule, named: Sequence[Place]) -> None:
    """Raise if none of the operations that an entry names is one that its rule is made for."""
    if any(_fits(rule, place) for place in named):
        return
    both = (("operation", where.operation), ("layer", where.layer))
    patterns = " and ".join(f"`{name}` {text!r}" for name, text in both if text != "*")
    kinds = dict.fromkeys(f"`{p.operation.name}` ({p.family})" for p in named)
    raise InputError(
        f"The rule {rule.name} must be given to operations that it is made for",
        found=f"{patterns}, where there is only {', '.join(kinds)}"
        if kinds
        else f"{patterns}, which no operation fits together",
        hint=f"It is made for {', '.join(sorted(_able(rule)))}. "
        "print(pellucid.record(model, inputs)) lists what ran.",
    )


# Middle layers of Montavon et al. (2019): a stabilizer that only large contributions outweigh.
WEAK = 0.1

COMPOSITES = {
    composite.name: composite
    for composite in (
        Composite(
            name="epsilon",
            entries=(("any", Epsilon()),),
            why="faithful to the function, noisy on deep convolutional networks",
        ),
        Composite(
            name="epsilon-plus",
            entries=(("convolution", ZPlus()), ("any", Epsilon())),
            why="positive evidence through convolutions, where epsilon is noisy",
        ),
        Composite(
            name="epsilon-plus-flat",
            entries=(("first", Flat()), ("convolution", ZPlus()), ("any", Epsilon())),
            why="positive evidence through convolutions, and the first layer shares it evenly "
            "among the pixels it reads",
        ),
        Composite(
            name="epsilon-alpha2-beta1",
            entries=(("convolution", AlphaBeta(alpha=2, beta=1)), ("any", Epsilon())),
            why="evidence for and against through convolutions, two to one",
            conserves=False,
        ),
        Composite(
            name="epsilon-alpha2-beta1-flat",
            entries=(
                ("first", Flat()),
                ("convolution", AlphaBeta(alpha=2, beta=1)),
                ("any", Epsilon()),
            ),
            why="evidence for and against through convolutions, two to one, and the first layer "
            "shares it evenly among the pixels it reads",
            conserves=False,
        ),
        Composite(
            name="epsilon-gamma",
            entries=(("convolution", Gamma(gamma=0.25)), ("any", Epsilon())),
            why="what speaks for a unit counts a quarter more in convolutions, against noise",
        ),
        Composite(
            name="epsilon-gamma-box",
            entries=(("first", ZBox()), ("convolution", Gamma(gamma=0.25)), ("any", Epsilon())),
            why="what speaks for a unit counts a quarter more in convolutions, and pixels are held "
            "against the range of their channel",
        ),
        Composite(
            name="lrp-0-epsilon-gamma",
            entries=(
                ("dense", Zero()),
                (Where(depth=(0, 0.5)), Gamma(gamma=0.25)),
                ("any", Epsilon(epsilon=WEAK)),
            ),
            why="no noise near the pixels, few contributions in the middle, the function itself "
            "near the score",
            conserves=False,
        ),
        Composite(
            name="deep-taylor",
            entries=(("first", WSquare()), ("any", ZPlus(bias=False)), ("any", SumPlus())),
            why="non-negative shares of a positive score",
        ),
        Composite(
            name="attnlrp",
            entries=(
                ("any", Uniform()),
                ("softmax", TaylorSoftmax()),
                ("any", Epsilon()),
            ),
            why="relevance also goes to what attention looks at, queries and keys",
            conserves=False,
        ),
        Composite(
            name="lstm",
            entries=(("any", Epsilon(epsilon=1e-3)),),
            why="gates weigh and get nothing, what they let through gets all",
            conserves=False,
        ),
    )
}


def composite(given: "str | Composite") -> Composite:
    """Look a composite up by name; one that is made already passes through."""
    if isinstance(given, Composite):
        return given
    if not isinstance(given, str):
        raise InputError(
            "`composite` must be a name or a Composite",
            got=given,
            hint=f"Names are auto, {', '.join(COMPOSITES)}.",
        )
    if given not in COMPOSITES:
        raise UnknownNameError("A composite", given, ["auto", *COMPOSITES])
    return COMPOSITES[given]
