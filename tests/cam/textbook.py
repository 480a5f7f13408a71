"""Slow versions of the formulas, one position and one channel at a time, as the papers have them.

Each takes a model as head(features(x)), and returns the map at the size of the grid, before the
last rectifier: shape (batch, *grid).
"""

import math
from collections.abc import Callable, Iterator
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

Function = Callable[[Tensor], Tensor]


def taken(features: Function, head: Function, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The maps and the gradient of the score at them."""
    maps = features(x).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(head(maps)[:, k].sum(), maps)
    return maps.detach(), gradient


def each(maps: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Every sample and channel, with an index for every position."""
    for n, c in product(range(maps.shape[0]), range(maps.shape[1])):
        yield n, c, maps[n, c]


def gradcam_plus_plus(features: Function, head: Function, x: Tensor, k: int) -> Tensor:
    """Equations 10, 19 of the paper, with exp(f) divided out of all derivatives."""
    maps, gradient = taken(features, head, x, k)
    out = torch.zeros(len(x), *maps.shape[2:], dtype=x.dtype)
    for n, c, one in each(maps):
        weight = 0.0
        for place in product(*map(range, one.shape)):
            g = float(gradient[n, c][place])
            if g == 0:
                continue
            alpha = g**2 / (2 * g**2 + float(one.sum()) * g**3)
            weight += alpha * max(g, 0.0)
        out[n] += weight * one
    return out


def layercam(features: Function, head: Function, x: Tensor, k: int) -> Tensor:
    """Each position by its own positive gradient."""
    maps, gradient = taken(features, head, x, k)
    out = torch.zeros(len(x), *maps.shape[2:], dtype=x.dtype)
    for n, c, one in each(maps):
        for place in product(*map(range, one.shape)):
            out[n][place] += max(float(gradient[n, c][place]), 0.0) * one[place]
    return out


def cam(features: Function, weight: Tensor, x: Tensor, k: int) -> Tensor:
    """The last layer's weights on the maps, over the number of positions."""
    maps = features(x).detach()
    out = torch.zeros(len(x), *maps.shape[2:], dtype=x.dtype)
    for n, c, one in each(maps):
        out[n] += weight[k, c] * one / one.numel()
    return out


def scorecam(features: Function, model: Function, x: Tensor, k: int) -> Tensor:
    """One masked pass a channel, its increase over a black image, a softmax of those by hand."""
    maps = features(x).detach()
    out = torch.zeros(len(x), *maps.shape[2:], dtype=x.dtype)
    for n in range(len(x)):
        increases = {}
        for c in range(maps.shape[1]):
            large = F.interpolate(maps[n : n + 1, c : c + 1], size=x.shape[2:], mode="bilinear")
            if large.max() == large.min():
                continue
            mask = (large - large.min()) / (large.max() - large.min())
            shown, black = model(x[n : n + 1] * mask), model(torch.zeros_like(x[n : n + 1]))
            increases[c] = (shown[0, k] - black[0, k]).item()
        total = sum(math.exp(increase) for increase in increases.values())
        for c, increase in increases.items():
            out[n] += math.exp(increase) / total * maps[n, c]
    return out
