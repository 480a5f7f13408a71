"""Running means and covariances of what neurons read and answer, and the patterns they give.

With y = w'x + b, E over all positions, E+ over those with y > 0, and
cov+[x, y] = E+[x y] - E+[x] E[y]:

    a  = cov[x, y]  / w' cov[x, y]       linear: best where the answer is handed on as it is
    a+ = cov+[x, y] / w' cov+[x, y]      positive: best where a rectifier follows

Biases are no weights: only the regime depends on them. As E[y] is that of all positions, a+ also
depends on where the zero of x is, and a does not.

Source: Kindermans, Schütt, Alber, Müller, Erhan, Kim, Dähne (2018), Learning How to Explain Neural
Networks: PatternNet and PatternAttribution.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.propagate.patterns.neurons import Neurons, Wiring


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums over positions: of one and y for each neuron; of x and x times y for each weight."""

    count: Tensor
    y: Tensor
    yy: Tensor
    x: Tensor
    xy: Tensor

    def plus(self, other: "Sums") -> "Sums":
        """Of the positions of both."""
        return Sums(**{name: own + getattr(other, name) for name, own in vars(self).items()})

    def minus(self, other: "Sums") -> "Sums":
        """Of the positions that the other does not have."""
        return Sums(**{name: own - getattr(other, name) for name, own in vars(self).items()})

    def mean(self, name: str) -> Tensor:
        """The mean of a number of each neuron; zero where there are no positions."""
        sums: Tensor = getattr(self, name)
        return sums / self.count.clamp(min=1)

    def means(self, name: str, wiring: Wiring) -> Tensor:
        """The mean of a number of each weight."""
        sums: Tensor = getattr(self, name)
        return sums / wiring.spread(self.count.clamp(min=1))


@dataclass(kw_only=True)
class Moments:
    """What one set of neurons has read and answered so far.

    y is counted from `shift`, its mean in the first batch: the patterns do not depend on it, and
    so no large numbers are taken from each other. `floor` is the variance that rounding alone can
    make.
    """

    shift: Tensor
    floor: Tensor
    whole: Sums
    positive: Sums

    @classmethod
    def of(cls, neurons: Neurons) -> "Moments":
        """Those of a first batch."""
        shift = neurons.center()
        whole, positive = _sums(neurons, shift)
        power = neurons.total(neurons.y.square()) / whole.count.clamp(min=1)
        floor = power * (16 * torch.finfo(neurons.y.dtype).eps) ** 2
        return cls(shift=shift, floor=floor, whole=whole, positive=positive)

    def add(self, neurons: Neurons) -> None:
        """Take in another batch."""
        whole, positive = _sums(neurons, self.shift)
        self.whole, self.positive = self.whole.plus(whole), self.positive.plus(positive)

    @property
    def varies(self) -> Tensor:
        """Which neurons do not always answer the same."""
        return _variance(self.whole) > self.floor

    def linear(self, wiring: Wiring, weight: Tensor | None) -> Tensor:
        """cov[x, y] / w' cov[x, y]; zero for a neuron that always answers the same."""
        found = self._covariance(self.whole, wiring)
        scale = self._scale(found, self.whole, wiring, weight)
        alive = self.varies & (scale > 0)
        return _ratio(found, scale, alive, wiring)

    def positive_regime(self, wiring: Wiring, weight: Tensor | None) -> Tensor:
        """cov+[x, y] / w' cov+[x, y], and the linear pattern where that is not sound."""
        return self._regime(self.positive, wiring, weight)

    def negative_regime(self, wiring: Wiring, weight: Tensor | None) -> Tensor:
        """The same of the positions at which a neuron answers with zero or less."""
        return self._regime(self.whole.minus(self.positive), wiring, weight)

    def _regime(self, part: Sums, wiring: Wiring, weight: Tensor | None) -> Tensor:
        """Without a bias w' cov+ is at least the variance of y in the regime.

        A large bias can make it vanish, and the pattern boundless: then it is the linear one, as
        for a neuron that is never in this regime.
        """
        found = self._covariance(part, wiring)
        scale = self._scale(found, part, wiring, weight)
        sound = (part.count > 0) & (scale > self.floor) & (scale > _variance(part) / 2)
        linear = self.linear(wiring, weight)
        return torch.where(wiring.spread(sound), _ratio(found, scale, sound, wiring), linear)

    def _covariance(self, part: Sums, wiring: Wiring) -> Tensor:
        mean = wiring.spread(self.whole.mean("y"))
        return part.means("xy", wiring) - part.means("x", wiring) * mean

    def _scale(self, found: Tensor, part: Sums, wiring: Wiring, weight: Tensor | None) -> Tensor:
        """W' cov[x, y]; of a sum, whose weights are all one, the same from the moments of y."""
        if weight is None:
            return part.mean("yy") - part.mean("y") * self.whole.mean("y")
        return wiring.gather(weight.to(found) * found)


def _sums(neurons: Neurons, shift: Tensor) -> tuple[Sums, Sums]:
    """Over all positions, and over those with a positive answer."""
    y, on = neurons.y - shift, (neurons.y > 0).to(neurons.y)
    active = y * on
    whole = Sums(
        count=neurons.total(torch.ones_like(y)),
        y=neurons.total(y),
        yy=neurons.total(y.square()),
        x=neurons.presence(),
        xy=neurons.correlate(y),
    )
    positive = Sums(
        count=neurons.total(on),
        y=neurons.total(active),
        yy=neurons.total(active.square()),
        x=neurons.correlate(on),
        xy=neurons.correlate(active),
    )
    return whole, positive


def _variance(part: Sums) -> Tensor:
    return part.mean("yy") - part.mean("y").square()


def _ratio(found: Tensor, scale: Tensor, alive: Tensor, wiring: Wiring) -> Tensor:
    safe = torch.where(alive, scale, torch.ones_like(scale))
    kept = found / wiring.spread(safe) * wiring.spread(alive.to(found))
    return kept.expand(wiring.shape).contiguous()
