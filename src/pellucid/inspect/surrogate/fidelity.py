"""How close a surrogate comes to the model, and what comes close without reading anything."""

from dataclasses import dataclass

from pellucid.inspect.surrogate.columns import Floats


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How well a surrogate repeats the model's answers on some samples.

        R2 = 1 - sum over samples and outputs of (y - s)^2 / sum of (y - mean y)^2

    where y is what the model says, s what the surrogate does. One is a perfect copy, zero no better
    than the mean. Of a model that always says the same, R2 is one for a perfect copy, else zero.
    `agreement` is the share of samples for which both predict the same class; `None` where there
    are no classes.
    """

    r2: float
    agreement: float | None
    samples: int

    def __str__(self) -> str:
        shown = f"R² {self.r2:.3f}".replace("-", "\N{MINUS SIGN}")
        return shown if self.agreement is None else f"{shown}, agreement {self.agreement:.1%}"


def judge(said: Floats, answers: Floats, *, classes: bool) -> Fidelity:
    """Compare a surrogate's answers with the model's, both of shape (sample, output)."""
    agreement = float((said.argmax(axis=1) == answers.argmax(axis=1)).mean()) if classes else None
    return Fidelity(r2=_r2(said, answers), agreement=agreement, samples=len(answers))


def _r2(said: Floats, answers: Floats) -> float:
    left = float(((answers - said) ** 2).sum())
    spread = float(((answers - answers.mean(axis=0)) ** 2).sum())
    # Smaller than this, both are the rounding of numbers of this size.
    nothing = 1e-24 * float((answers**2).sum())
    if spread <= nothing:
        return float(left <= nothing)
    return 1 - left / spread


@dataclass(frozen=True, kw_only=True)
class Step:
    """A surrogate of some size, and how well it does on the samples held out and those fitted."""

    size: int
    held_out: Fidelity
    fitted: Fidelity
