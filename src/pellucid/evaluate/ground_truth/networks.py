"""Small networks that learn known data in seconds."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def picture_network(channels: int, classes: int, width: int = 16) -> Callable[[], nn.Module]:
    """Three convolutions, the highest of each map, one linear layer: the place does not matter."""

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, classes),
        )

    return make


def grid_network(classes: int, width: int = 16) -> Callable[[], nn.Module]:
    """Convolutions for grids of a few pixels, which keep their size until the highest counts."""

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, width, 4, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * width, classes),
        )

    return make


def dense_network(features: int, classes: int, width: int = 64) -> Callable[[], nn.Module]:
    """One hidden layer; none for a width of 0, which is a linear model."""

    def make() -> nn.Module:
        if width == 0:
            return nn.Sequential(nn.Flatten(), nn.Linear(features, classes))
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(features, width),
            nn.ReLU(),
            nn.Linear(width, classes),
        )

    return make


def series_network(channels: int, classes: int, width: int = 16) -> Callable[[], nn.Module]:
    """Two convolutions along time, the highest of each map, one linear layer."""

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv1d(channels, width, 9, padding=4),
            nn.ReLU(),
            nn.Conv1d(width, 2 * width, 9, padding=4),
            nn.ReLU(),
            nn.AdaptiveMaxPool1d(1),
            nn.Flatten(),
            nn.Linear(2 * width, classes),
        )

    return make


class BagOfWords(nn.Module):
    """The mean of the embeddings of a text's tokens, and one linear layer: a sum over tokens."""

    def __init__(self, words: int, classes: int, width: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores (sample, class) of token ids (sample, token)."""
        found: Tensor = self.head(self.embedding(tokens).mean(1))
        return found


class Interactions(nn.Module):
    """Sums of features, and of products of two and three of them: [-f(x), f(x)].

        f(x) = sum_i a_i x_i + sum_(i, j) b_ij x_i x_j + sum_(i, j, k) c_ijk x_i x_j x_k

    `pairs` (pair, 2) and `triples` (triple, 3) hold the features of each product.
    """

    def __init__(self, single: Tensor, pairs: Tensor, triples: Tensor, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("single", single)
        self.register_buffer("pairs", pairs)
        self.register_buffer("triples", triples)
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (sample, 2)."""
        found = self.value(x)
        return torch.stack([-found, found], 1)

    def value(self, x: Tensor) -> Tensor:
        """f, of shape (sample,)."""
        single, pairs, triples, weights = self._tables(x)
        products = [x[:, pairs].prod(2), x[:, triples].prod(2)]
        found: Tensor = x @ single + torch.cat(products, 1) @ weights
        return found

    def shapley(self, x: Tensor, baseline: Tensor) -> Tensor:
        """The Shapley values of f (sample, feature) against a baseline (feature,), in closed form.

        Of a product of two, i gets (x_i - b_i) (x_j + b_j) / 2; of one of three, it gets
        (x_i - b_i) (x_j x_k / 3 + (x_j b_k + b_j x_k) / 6 + b_j b_k / 3).
        """
        single, pairs, triples, weights = self._tables(x)
        b = baseline.to(x).expand_as(x)
        found = (x - b) * single
        for (i, j), weight in zip(pairs.tolist(), weights.tolist()[: len(pairs)], strict=True):
            for one, other in ((i, j), (j, i)):
                found[:, one] += weight * (x - b)[:, one] * (x + b)[:, other] / 2
        for row, weight in zip(triples.tolist(), weights.tolist()[len(pairs) :], strict=True):
            for one in row:
                j, k = (each for each in row if each != one)
                mixed = (x[:, j] * b[:, k] + b[:, j] * x[:, k]) / 6
                both = (x[:, j] * x[:, k] + b[:, j] * b[:, k]) / 3
                found[:, one] += weight * (x - b)[:, one] * (both + mixed)
        return found

    def _tables(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        buffers = dict(self.named_buffers())
        single, weights = buffers["single"].to(x), buffers["weights"].to(x)
        return single, buffers["pairs"], buffers["triples"], weights
