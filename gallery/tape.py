"""The tape: every operation of one run, whatever the model is made of.

Shows what a model really does: here a residual sum, a layer that is used twice, and a ReLU that no
module stands for. `rule` is what relevance propagation would do there.
Misleads nobody; but it is one run. A model that decides what to do by what it sees has another
tape for another input.
"""

from collections import Counter

import torch
from _panels import PHOTOS
from torch import nn

import pellucid as pl


class Small(nn.Module):
    """A network written as people write them."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.again = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        """Scores of shape (batch, class)."""
        x = nn.functional.relu_(self.first(x))
        for _ in range(2):
            x = x + self.again(x).clamp(min=0)
        return self.head(x.mean((2, 3)))


print(pl.record(Small(), torch.rand(1, 3, 8, 8)))

entry = pl.zoo.load("mobilenet_v2")
tape = pl.record(entry.model, entry.preprocess(PHOTOS / "chelsea.png"))
counts = Counter(operation.name for operation in tape.operations)
print(f"MobileNetV2: {len(tape.operations)} operations: {dict(counts.most_common())}")
