"""The code space of a dream: a generator g(z) of inputs, a half of an autoencoder of data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from pellucid.archive import Content, read, write
from pellucid.errors import InputError, ModelError
from pellucid.inspect.dreaming.adam import Descent
from pellucid.inspect.dreaming.real import real_pairs
from pellucid.options import number, whole
from pellucid.seeding import seeded

# Rows that are encoded at once.
ROWS = 1024


class Nets(NamedTuple):
    """Both halves: elements to the mean and log variance of codes, and codes to elements."""

    encoder: nn.Sequential
    decoder: nn.Sequential

    @classmethod
    def of(cls, elements: int, code: int, width: int) -> "Nets":
        """Two hidden layers each; they have no weights yet, and so nothing is drawn."""
        half = max(code, width // 2)
        with torch.device("meta"):
            encoder = [nn.Linear(elements, width), nn.ReLU(), nn.Linear(width, half), nn.ReLU()]
            decoder = [nn.Linear(code, half), nn.ReLU(), nn.Linear(half, width), nn.ReLU()]
            return cls(
                nn.Sequential(*encoder, nn.Linear(half, 2 * code)),
                nn.Sequential(*decoder, nn.Linear(width, elements)),
            )

    @classmethod
    def holding(cls, weights: Mapping[str, Tensor], shape: tuple[int, int, int]) -> "Nets":
        """Nets with these weights, which are not trained any more."""
        made = cls.of(*shape)
        for name, net in made._asdict().items():
            own = {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(name)}
            net.load_state_dict(own, assign=True)
            net.eval().requires_grad_(requires_grad=False)
        return made

    def weights(self) -> dict[str, Tensor]:
        """All weights of both, by name."""
        pairs = [(f"{n}.{k}", v) for n, net in self._asdict().items() for k, v in
                 net.state_dict().items()]  # fmt: skip
        return {name: value.detach().clone() for name, value in pairs}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Generator:
    """A generator of inputs: g(z) of codes (sample, code) has the shape (sample, ...) of the data.

        g(z) = low + (high - low) * sigmoid(decoder(z)),   log p(z) = log N(z; 0, I)

    `low` and `high` are the ends of the data, by channel. `classes` (class,) are the classes of the
    data it was fitted to, and `class_codes` (class, code) the mean codes of each; `error` is the
    mean squared error of data that are encoded and generated again, as a share of their variance,
    on samples held out.

    >>> generator = fit_generator(torch.rand(64, 1, 4, 4), code=2, epochs=1)
    >>> generator(torch.zeros(3, 2)).shape
    torch.Size([3, 1, 4, 4])
    """

    weights: dict[str, Tensor]
    shape: tuple[int, ...]
    code: int
    width: int
    low: Tensor
    high: Tensor
    error: float
    classes: Tensor | None = None
    class_codes: Tensor | None = None

    def __call__(self, codes: Tensor) -> Tensor:
        """The inputs of codes, in the type and on the device of these."""
        if codes.ndim != 2 or codes.shape[1] != self.code or not codes.is_floating_point():
            raise InputError(f"Codes must have the shape (sample, {self.code})", got=codes)
        nets = self._nets(codes)
        shares = nets.decoder(codes).sigmoid().reshape(-1, *self.shape)
        low, high = self.low.to(codes), self.high.to(codes)
        return low + (high - low) * shares

    def encode(self, inputs: Tensor) -> Tensor:
        """The mean codes of inputs (sample, ...), of shape (sample, code)."""
        if tuple(inputs.shape[1:]) != self.shape or not inputs.is_floating_point():
            raise InputError(
                f"Inputs to encode must have the shape (sample, {str(list(self.shape))[1:-1]})",
                got=inputs,
            )
        shares = _shares(inputs, self.low.to(inputs), self.high.to(inputs))
        found: Tensor = self._nets(inputs).encoder(shares)[:, : self.code]
        return found

    def log_prior(self, codes: Tensor) -> Tensor:
        """Log p(z), of shape (sample,)."""
        return -0.5 * (codes.square() + math.log(2 * math.pi)).sum(1)

    def codes_of(self, classes: Any) -> Tensor:
        """The mean codes of some classes, of shape (class, code)."""
        if self.classes is None or self.class_codes is None:
            raise InputError(
                "A generator must be fitted with `labels` to know codes of classes", got=self
            )
        known = self.classes.tolist()
        wanted = [int(each) for each in classes]
        missing = [each for each in wanted if each not in known]
        if missing:
            raise InputError(
                "Classes must be among those that the generator was fitted to",
                got=missing[0],
                hint=f"Those are: {', '.join(map(str, known))}.",
            )
        return self.class_codes[[known.index(each) for each in wanted]]

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Inputs of codes that are drawn from the prior, of shape (sample, ...)."""
        draw = seeded(whole(seed, "seed", least=None))
        codes = torch.randn(whole(count, "count"), self.code, generator=draw, dtype=self.low.dtype)
        with torch.no_grad():
            return self(codes)

    def save(self, path: str | Path) -> Path:
        """Write it to a safetensors file."""
        return write(GENERATOR, self, path)

    @classmethod
    def load(cls, path: str | Path) -> "Generator":
        """Read one back, the same as was saved."""
        return read(GENERATOR, path)

    @cached_property
    def _made(self) -> dict[tuple[torch.dtype, torch.device], Nets]:
        return {}

    def _nets(self, like: Tensor) -> Nets:
        """Both nets in a type and on a device, made once."""
        key = (like.dtype, like.device)
        if key not in self._made:
            with torch.inference_mode(False):  # of what was made in that mode, copies
                own = {name: value.to(like).clone() for name, value in self.weights.items()}
                made = Nets.holding(own, (math.prod(self.shape), self.code, self.width))
            self._made[key] = made
        return self._made[key]

    def __repr__(self) -> str:
        known = "" if self.classes is None else f", {len(self.classes)} classes"
        return (
            f"Generator({self.code} numbers to {list(self.shape)}{known}: "
            f"leaves {self.error:.1%} of the variance held out)"
        )


def fit_generator(
    data: Any,
    labels: Any = None,
    *,
    code: int = 16,
    width: int = 512,
    epochs: int = 40,
    rate: float = 1e-3,
    prior: float = 1.0,
    batch_size: int = 64,
    holdout: float = 0.1,
    seed: int = 0,
) -> Generator:
    """Train a variational autoencoder on data of shape (sample, ...), on the CPU; keep it as g(z).

        L = mean over samples of cross-entropy(x, g(z)) + prior * KL(q(z | x), N(0, I)),
        z ~ q(z | x) = N(encoder(x))

    Elements are put between the ends of their channel (axis 1) first. `labels` (sample,), numbers
    of classes, give the mean codes of classes, from which dreams start. The more `prior`, the less
    codes tell and the more likely g of any code is.
    Source: Kingma and Welling (2014), Auto-Encoding Variational Bayes.

    >>> rows = torch.rand(64, 2)
    >>> fit_generator(rows, (rows[:, 0] > 0.5).long(), code=1, epochs=1).codes_of([1, 0]).shape
    torch.Size([2, 1])
    """
    found, classes = real_pairs(data, labels, least=10)
    found = found.cpu().to(torch.promote_types(found.dtype, torch.float32))
    low, high = _ends(found)
    if not bool((high > low).any()):
        raise InputError("`data` must have samples that differ", got=found)
    share = number(holdout, "holdout", "a share of the samples, between 0 and 1", above=0, most=0.9)
    draw = seeded(whole(seed, "seed", least=None))
    held, kept = torch.randperm(len(found), generator=draw).tensor_split(
        [max(1, round(share * len(found)))]
    )
    training = _Training(
        epochs=whole(epochs, "epochs"),
        rate=number(rate, "rate", "a number above 0", above=0),
        prior=number(prior, "prior", "a number from 0 on", least=0),
        batch_size=whole(batch_size, "batch_size"),
    )
    with torch.inference_mode(False), torch.enable_grad():
        sizes = (found[0].numel(), whole(code, "code"), whole(width, "width"))
        nets = _drawn(Nets.of(*sizes), draw, found.dtype)
        training(nets, _shares(found[kept], low, high), draw)
    made = Generator(
        weights=nets.weights(), shape=tuple(found.shape[1:]), code=code, width=width,
        low=low, high=high, error=math.nan,
    )  # fmt: skip
    return _measured(made, found, held, classes)


@dataclass(frozen=True, kw_only=True)
class _Training:
    """How both halves are trained."""

    epochs: int
    rate: float
    prior: float
    batch_size: int

    def __call__(self, nets: Nets, shares: Tensor, draw: torch.Generator) -> None:
        """Train by Adam on samples in an order that is drawn anew in each epoch."""
        weights = [*nets.encoder.parameters(), *nets.decoder.parameters()]
        descent = Descent(weights)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(shares), generator=draw).split(self.batch_size):
                loss = _loss(nets, shares[rows], self.prior, draw)
                if not bool(loss.isfinite()):
                    raise ModelError(
                        "The loss of a training must stay finite",
                        found=f"{loss.item()}",
                        hint=f"Take a lower `rate` than {self.rate}.",
                    )
                descent.step(torch.autograd.grad(loss, weights), self.rate)


def _measured(made: Generator, data: Tensor, held: Tensor, classes: Tensor | None) -> Generator:
    """The generator with its error on samples held out, and the mean codes of classes."""
    with torch.no_grad():
        codes = torch.cat([made.encode(part) for part in data.split(ROWS)])
        wrong = (made(codes[held]) - data[held]).square().mean()
        error = float(wrong / (data[held] - data.mean(0)).square().mean())
        if classes is None:
            return replace(made, error=error)
        known = classes.unique()
        means = torch.stack([codes[classes == each].mean(0) for each in known])
    return replace(made, error=error, classes=known, class_codes=means)


def _loss(nets: Nets, shares: Tensor, prior: float, draw: torch.Generator) -> Tensor:
    """The mean bound on -log p(x) of samples."""
    mean, log_variance = nets.encoder(shares).chunk(2, 1)
    noise = torch.randn(mean.shape, generator=draw, dtype=mean.dtype)
    made = nets.decoder(mean + (0.5 * log_variance).exp() * noise)
    wrong = binary_cross_entropy_with_logits(made, shares, reduction="sum")
    told = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
    return (wrong + prior * told) / len(shares)


def _drawn(nets: Nets, draw: torch.Generator, dtype: torch.dtype) -> Nets:
    """Nets whose weights are drawn by a generator of ours, as wide as their inputs allow."""
    for net in nets:
        net.to(dtype).to_empty(device="cpu")
        for layer in net:
            if isinstance(layer, nn.Linear):
                bound = math.sqrt(1 / layer.in_features)
                nn.init.uniform_(layer.weight, -bound, bound, generator=draw)
                nn.init.zeros_(layer.bias)
    return nets


def _ends(data: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest value of each channel (axis 1), to be broadcast to a sample."""
    beyond = [0, *range(2, data.ndim)]
    low, high = data.amin(beyond), data.amax(beyond)
    shape = (-1, *[1] * (data.ndim - 2))
    return low.reshape(shape), high.reshape(shape)


def _shares(data: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Elements as shares of the way from low to high, of shape (sample, element)."""
    way = torch.where(high > low, high - low, 1)
    return ((data - low) / way).clamp(0, 1).flatten(1)


def _check(made: Generator) -> None:
    """Raise for a generator of which parts are missing, or do not fit together."""
    made.encode(made(torch.zeros(1, made.code, dtype=made.low.dtype)))


GENERATOR = Content(
    kind=Generator,
    name="a generator",
    how="generator.save(path)",
    key="pellucid-generator",
    format=1,
    check=_check,
)
