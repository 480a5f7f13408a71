"""Texts with gold words, and time series with planted motifs."""

from functools import partial

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.evaluate.ground_truth.networks import BagOfWords, series_network
from pellucid.evaluate.ground_truth.truth import Truth
from pellucid.options import number, whole
from pellucid.seeding import seeded

TRAINING = {"epochs": 15, "learning_rate": 1e-2}


def gold_words(
    n: int = 2000,
    seed: int = 0,
    *,
    length: int = 20,
    vocabulary: int = 200,
    gold: int = 5,
    least: int = 1,
    most: int = 3,
) -> Truth:
    """Texts in which a few gold words of the class stand among words that tell nothing.

    Inputs are token ids (sample, token). Each of two classes has `gold` words of its own, named
    `good0` and `bad0` and so on; a text has `least` to `most` of those of its class, at random
    places, and else words of a common stock, `w0` and so on, drawn by Zipf's law. `masks` are true
    at gold words; `truth.texts()` are the strings. Laws: without its gold words a text tells
    nothing of the label; a bag of words learns nothing else.

    >>> truth = gold_words(n=10, length=5)
    >>> len(truth.texts()[0].split()), truth.inputs.shape
    (5, torch.Size([10, 5]))
    """
    n = whole(n, "n", least=10)
    gold, common = whole(gold, "gold"), whole(vocabulary, "vocabulary")
    if not whole(least, "least") <= whole(most, "most") <= whole(length, "length"):
        raise InputError(
            "`least`, `most` and `length` must be in this order", found=f"{least}, {most}, {length}"
        )
    generator = seeded(whole(seed, "seed", least=None), 1)
    labels = torch.randint(2, (n,), generator=generator)
    share = 1 / (torch.arange(common) + 5.0)
    tokens = share.expand(n, -1).multinomial(length, replacement=True, generator=generator)
    counts = torch.randint(least, most + 1, (n, 1), generator=generator)
    order = torch.rand(n, length, generator=generator).argsort(1).argsort(1)
    masks = order < counts
    own = torch.randint(gold, (n, length), generator=generator) + common
    own += gold * labels.unsqueeze(1)
    words = [f"w{i}" for i in range(common)]
    words += [f"{name}{i}" for name in ("bad", "good") for i in range(gold)]
    return Truth(
        name="gold_words",
        law="Without its gold words a text tells nothing of the label.",
        inputs=torch.where(masks, own, tokens),
        labels=labels,
        masks=masks,
        classes=("bad", "good"),
        network=partial(BagOfWords, len(words), 2),
        training=TRAINING,
        words=tuple(words),
    )


def motifs(
    n: int = 1500,
    seed: int = 0,
    *,
    channels: int = 3,
    length: int = 64,
    width: int = 12,
    noise: float = 0.3,
) -> Truth:
    """Time series of noise, with a short motif of the class in one channel, at any time.

        x = motif_y (at a random time, in a random channel) + noise e,  e ~ N(0, 1)

    Inputs (sample, channel, position); the motifs, `width` long, are a sine, a step down and a
    triangle, of equal energy. `masks` are true at the motif. Law: outside of the mask a series is
    noise, which tells nothing of the label. In the manner of Ismail, Gunady, Corrada Bravo and
    Feizi (2020), Benchmarking Deep Learning Interpretability in Time Series Predictions.

    >>> motifs(n=10).masks.flatten(1).sum(1)
    tensor([12, 12, 12, 12, 12, 12, 12, 12, 12, 12])
    """
    n = whole(n, "n", least=10)
    channels = whole(channels, "channels")
    if whole(width, "width", least=4) > whole(length, "length"):
        raise InputError(f"`width` of a motif must be at most the length, {length}", got=width)
    number(noise, "noise", "a standard deviation, 0 or more", least=0)
    generator = seeded(whole(seed, "seed", least=None), 1)
    forms = waves(width)
    labels = torch.randint(len(forms), (n,), generator=generator)
    inputs = noise * torch.randn(n, channels, length, generator=generator)
    channel = torch.randint(channels, (n, 1), generator=generator)
    start = torch.randint(length - width + 1, (n, 1), generator=generator)
    rows, at = torch.arange(n).unsqueeze(1), start + torch.arange(width)
    masks = torch.zeros(n, channels, length, dtype=torch.bool)
    masks[rows, channel, at] = True
    inputs[rows, channel, at] += forms[labels]
    return Truth(
        name="motifs",
        law="Outside of the mask a series is noise, which tells nothing of the label.",
        inputs=inputs,
        labels=labels,
        masks=masks,
        classes=("sine", "step", "triangle"),
        network=series_network(channels, len(forms)),
        training={"epochs": 10, "learning_rate": 3e-3},
        parts={"start": start.squeeze(1), "channel": channel.squeeze(1)},
        facts={"motifs": forms},
    )


def waves(width: int) -> Tensor:
    """The motifs, (class, position), each with a mean square of one."""
    t = (torch.arange(width) + 0.5) / width
    forms = torch.stack([
        torch.sin(4 * torch.pi * t), torch.where(t < 0.5, 1.0, -1.0), 1 - (2 * t - 1).abs(),
    ])  # fmt: skip
    return forms / forms.square().mean(1, keepdim=True).sqrt()
