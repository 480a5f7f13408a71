"""Which rules fit which architecture: every composite on every network, in numbers.

    conserved     share of the score that is at the input in the end, median over images: the rest
                  is what biases, stabilizers and rules kept, all of it booked
    faithful      how much faster the score falls when the pixels with the largest values are
                  removed first than when those with the smallest are: the area between the two
                  curves, of what removing all changes. Zero is chance.

Networks are trained on handwritten digits in seconds, and images are held out. See small.py.
"""

import argparse
import warnings
from dataclasses import dataclass

import torch
from small import ARCHITECTURES, digits, trained
from torch import Tensor, nn

import pellucid as pl
from pellucid.propagate.composites import COMPOSITES

# Methods that rules are held against.
OTHERS = ("gradient_x_input", "integrated_gradients")
STEPS = 16


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one composite does on one network; `None` where the method claims no such law."""

    conserved: float | None
    faithful: float


def measure(net: nn.Module, images: Tensor, method: "str | pl.Method") -> Cell:
    """Explain the predicted class of every image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pl.explain(net, images, method, on_incomplete="ignore")
    law = found.completeness
    share = None if law is None else float((law.explained / law.expected).median())
    classes = net(images).argmax(1)
    return Cell(conserved=share, faithful=faithfulness(net, images, classes, found.values))


@torch.no_grad()
def faithfulness(net: nn.Module, images: Tensor, classes: Tensor, values: Tensor) -> float:
    """The area between the curves of the least and the most relevant first, averaged."""
    order = values.sum(1).flatten(1).argsort(1, descending=True)
    most, least = (curve(net, images, classes, each) for each in (order, order.flip(1)))
    fall = (most[0] - most[-1]).mean()
    return float((least - most).mean() / fall)


def curve(net: nn.Module, images: Tensor, classes: Tensor, order: Tensor) -> Tensor:
    """The scores of shape (step, sample) as pixels become paper in this order."""
    rows, scores = torch.arange(len(images)), []
    left = images.clone().flatten(1)
    for removed in [None, *order.tensor_split(STEPS, 1)]:
        if removed is not None:
            left.scatter_(1, removed, 0.0)
        scores.append(net(left.reshape(images.shape))[rows, classes])
    return torch.stack(scores)


def table(names: list[str], count: int) -> str:
    """One row an architecture, one column a composite; in Markdown."""
    columns = ["auto", *COMPOSITES, *OTHERS]
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    images = digits()[2][:count]
    for name in names:
        net, accuracy = trained(name)
        cells = [shown(net, images, column) for column in columns]
        lines.append(f"| {name} ({accuracy:.0%}) | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def shown(net: nn.Module, images: Tensor, column: str) -> str:
    """Conserved and faithful, or why there is no answer."""
    method = column if column in OTHERS else pl.LRP(composite=column)
    try:
        cell = measure(net, images, method)
    except pl.errors.PellucidError as error:
        return type(error).__name__
    share = "-" if cell.conserved is None else f"{cell.conserved:.2f}"
    return f"{share}, {cell.faithful:.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--images", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(table(options.network, options.images))


if __name__ == "__main__":
    main()
