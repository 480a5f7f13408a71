"""DeepLIFT as its paper writes it, neuron by neuron; it shares no code with the library.

A network is a list of layers. Differences go forwards, as a positive and a negative part of each
neuron; multipliers go backwards, one for each part. A convolution or an average pooling is unrolled
into the matrix it is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.textbook import Dense, matrix_of


@dataclass
class Neurons:
    """The values of one layer of neurons, flat: at the reference, at the input, and both parts."""

    start: Tensor
    end: Tensor
    positive: Tensor
    negative: Tensor

    @property
    def difference(self) -> Tensor:
        return self.end - self.start


# Of the parts of a layer's inputs, the multipliers: (m+, m-).
Multipliers = tuple[Tensor, Tensor]


def entry(x: Tensor, x0: Tensor) -> Neurons:
    way = (x - x0).flatten()
    return Neurons(x0.flatten(), x.flatten(), way.clamp(min=0), way.clamp(max=0))


def linear_forward(layer: Dense, h: Neurons) -> Neurons:
    """D y+ = sum of w_i D x_i over those where it is positive; section 3.5.1."""
    weight, way = layer.weight.tolist(), h.difference.tolist()
    whole = (h.positive + h.negative).tolist()
    parts: list[list[float]] = [[], []]
    for row in weight:
        sums = [0.0, 0.0]
        for w, moved, both in zip(row, way, whole, strict=True):
            sums[0 if w * moved > 0 else 1] += w * both
        for part, total in zip(parts, sums, strict=True):
            part.append(total)
    start, end = (layer.weight @ point + layer.bias for point in (h.start, h.end))
    return Neurons(start, end, *torch.tensor(parts, dtype=start.dtype))


def linear_backward(layer: Dense, h: Neurons, m: Multipliers) -> Multipliers:
    """An input whose difference is zero gets half of both; section 3.5.1."""
    up, down = (each.tolist() for each in m)
    found = []
    for way, column in zip(h.difference.tolist(), layer.weight.T.tolist(), strict=True):
        total = 0.0
        for w, above, below in zip(column, up, down, strict=True):
            if w * way == 0:
                total += 0.5 * w * (above + below)
            else:
                total += w * (above if w * way > 0 else below)
        found.append(total)
    multiplier = torch.tensor(found, dtype=h.start.dtype)
    return multiplier, multiplier


def rescale_forward(f: Callable[[Tensor], Tensor], h: Neurons) -> Neurons:
    """D y+ = D y / D x * D x+; section 3.5.2."""
    start, end = f(h.start), f(h.end)
    ratio = (end - start) / (h.end - h.start)
    return Neurons(start, end, ratio * h.positive, ratio * h.negative)


def reveal_forward(f: Callable[[Tensor], Tensor], h: Neurons) -> Neurons:
    """What a part adds first, and what it adds after the other one, averaged; section 3.5.3."""
    x0, up, down = h.start, h.positive, h.negative
    positive = (f(x0 + up) - f(x0)) / 2 + (f(x0 + down + up) - f(x0 + down)) / 2
    negative = (f(x0 + down) - f(x0)) / 2 + (f(x0 + up + down) - f(x0 + up)) / 2
    return Neurons(f(x0), f(h.end), positive, negative)


def activation_backward(h: Neurons, y: Neurons, m: Multipliers) -> Multipliers:
    """m of a part is D y of that part / D x of that part; nothing comes of a part that is zero."""
    return tuple(
        torch.where(part == 0, torch.zeros_like(part), m[sign] * grown / part)
        for sign, (part, grown) in enumerate([(h.positive, y.positive), (h.negative, y.negative)])
    )


def windows(layer: nn.MaxPool2d, shape: torch.Size) -> list[list[int]]:
    """The flat places that each output of a max-pooling reads."""
    channels, height, width = shape
    size, step, pad = layer.kernel_size, layer.stride, layer.padding
    return [
        [
            (c * height + top + i) * width + left + j
            for i in range(size)
            for j in range(size)
            if 0 <= top + i < height and 0 <= left + j < width
        ]
        for c in range(channels)
        for top in range(-pad, height + pad - size + 1, step)
        for left in range(-pad, width + pad - size + 1, step)
    ]


def pool_backward(places: list[list[int]], h: Neurons, m: Multipliers) -> Multipliers:
    """max(y, y0) - y0 to the winner at the input, y - max(y, y0) to that at the reference.

    A winner that has not moved passes half of both multipliers, as it does in a sum.
    """
    found = torch.zeros_like(h.start)
    for j, window in enumerate(places):
        winner = max(window, key=lambda i: float(h.end[i]))
        winner0 = max(window, key=lambda i: float(h.start[i]))
        y, y0 = h.end[winner], h.start[winner0]
        if y == y0:
            found[winner] += (m[0][j] + m[1][j]) / 2 * (h.difference[winner] == 0)
        elif y > y0:
            found[winner] += m[0][j] * (y - y0) / h.difference[winner]
        else:
            found[winner0] += m[1][j] * (y - y0) / h.difference[winner0]
    return found, found


def deeplift(layers: list[nn.Module], x: Tensor, x0: Tensor, k: int, rules: list[str]) -> Tensor:
    """The contributions of one sample (1, ...) to class k; `rules` are those of activations."""
    neurons, shapes = [entry(x, x0)], [x.shape[1:]]
    known: list = []
    names = iter(rules)
    for layer in layers:
        h, shape = neurons[-1], shapes[-1]
        shapes.append(layer(torch.zeros(1, *shape, dtype=x.dtype)).shape[1:])
        if isinstance(layer, nn.Flatten):
            known.append(None)
            neurons.append(h)
        elif isinstance(layer, nn.MaxPool2d):
            known.append(windows(layer, shape))
            start, end = (
                torch.stack([point[window].max() for window in known[-1]])
                for point in (h.start, h.end)
            )
            neurons.append(entry(end, start))
        elif isinstance(layer, nn.Linear | nn.Conv2d | nn.AvgPool2d):
            known.append(matrix_of(lambda t, f=layer: f(t).detach(), shape))
            neurons.append(linear_forward(known[-1], h))
        else:
            known.append(next(names))
            rule = {"rescale": rescale_forward, "reveal_cancel": reveal_forward}[known[-1]]
            neurons.append(rule(layer, h))
    one = torch.zeros_like(neurons[-1].start)
    one[k] = 1
    m: Multipliers = (one, one)
    for what, h, y in reversed(list(zip(known, neurons[:-1], neurons[1:], strict=True))):
        if isinstance(what, Dense):
            m = linear_backward(what, h, m)
        elif isinstance(what, list):
            m = pool_backward(what, h, m)
        elif isinstance(what, str):
            m = activation_backward(h, y, m)
    first = neurons[0]
    return (m[0] * first.positive + m[1] * first.negative).reshape(x.shape)
