"""Slow versions of the formulas, written from the papers, sharing no code with the library.

Relevance propagation works on a list of layers, each a dense matrix: a convolution or an average
pooling is unrolled into the matrix it is, so that every rule can be written down as in the papers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

EPSILON = 1e-6


@dataclass
class Dense:
    """z = W x + b, where W has shape (out, in)."""

    weight: Tensor
    bias: Tensor


def matrix_of(function: Callable[[Tensor], Tensor], shape: torch.Size) -> Dense:
    """Unroll an affine map of images into a matrix, one unit vector at a time."""
    size = shape.numel()
    origin = function(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
    columns = []
    for i in range(size):
        unit = torch.zeros(size, dtype=torch.float64)
        unit[i] = 1
        columns.append(function(unit.reshape(1, *shape)).flatten() - origin)
    return Dense(torch.stack(columns, dim=1), origin)


def epsilon_rule(layer: Dense, x: Tensor, relevance: Tensor) -> Tensor:
    """R_i = sum_j x_i w_ji / (z_j + eps sign z_j) R_j, with sign 0 = 1."""
    out = torch.zeros_like(x)
    for j, r in enumerate(relevance):
        z = float(layer.weight[j] @ x + layer.bias[j])
        z += EPSILON if z >= 0 else -EPSILON
        for i in range(len(x)):
            out[i] += x[i] * layer.weight[j, i] / z * r
    return out


def zplus_rule(layer: Dense, x: Tensor, relevance: Tensor) -> Tensor:
    """R_i = sum_j (x_i w_ji)+ / (sum_i (x_i w_ji)+ + b_j+) R_j."""
    out = torch.zeros_like(x)
    for j, r in enumerate(relevance):
        z = layer.weight[j] * x
        parts = [max(float(v), 0.0) for v in z]
        total = sum(parts) + max(float(layer.bias[j]), 0.0) + EPSILON
        for i in range(len(x)):
            out[i] += parts[i] / total * r
    return out


def flat_rule(layer: Dense, x: Tensor, relevance: Tensor, reads: Tensor) -> Tensor:
    """R_i = sum_j R_j / n_j over the n_j inputs that j reads, whatever their weights."""
    out = torch.zeros_like(x)
    for j, r in enumerate(relevance):
        read = reads[j].nonzero().squeeze(1)
        for i in read:
            out[i] += r / len(read)
    return out


def relevance(
    layers: list[nn.Module], x: Tensor, k: int, rules: dict[int, str], conv_rule: str = "epsilon"
) -> Tensor:
    """Relevance of one sample x of shape (1, ...), for class k, through a list of layers.

    `rules` names the rule of single layers by their position; all other convolutions get
    `conv_rule`, and all else with weights epsilon.
    """
    points = [x]
    for layer in layers:
        points.append(layer(points[-1]).detach())
    r = torch.zeros_like(points[-1].flatten())
    r[k] = points[-1].flatten()[k]
    for number in reversed(range(len(layers))):
        layer, point = layers[number], points[number]
        name = rules.get(number, conv_rule if isinstance(layer, nn.Conv2d) else "epsilon")
        r = through(layer, point, r, name)
    return r.reshape(x.shape)


def through(layer: nn.Module, x: Tensor, r: Tensor, rule: str) -> Tensor:
    """Relevance at the input of one layer, flat, from that at its output."""
    if isinstance(layer, nn.ReLU | nn.Flatten):
        return r
    if isinstance(layer, nn.MaxPool2d):
        return to_winners(layer, x, r)
    matrix = matrix_of(lambda t: layer(t).detach(), x.shape[1:])
    flat = x.flatten()
    if rule == "flat":
        return flat_rule(matrix, flat, r, reads_of(layer, x))
    return {"epsilon": epsilon_rule, "zplus": zplus_rule}[rule](matrix, flat, r)


def reads_of(layer: nn.Module, x: Tensor) -> Tensor:
    """Which inputs each output reads, shape (out, in): the pattern of a layer of ones."""
    ones = type(layer)(
        *(
            (layer.in_features, layer.out_features)
            if isinstance(layer, nn.Linear)
            else (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride)
        ),
        **({"padding": layer.padding} if isinstance(layer, nn.Conv2d) else {}),
        bias=False,
    ).double()
    nn.init.ones_(ones.weight)
    return matrix_of(lambda t: ones(t).detach(), x.shape[1:]).weight


def to_winners(layer: nn.MaxPool2d, x: Tensor, r: Tensor) -> Tensor:
    """All relevance of a window goes to its first maximum."""
    step, (channels, height, width) = layer.stride, x.shape[1:]
    out = torch.zeros_like(x)
    share = iter(r.tolist())
    for c in range(channels):
        for top in range(0, height - layer.kernel_size + 1, step):
            for left in range(0, width - layer.kernel_size + 1, step):
                best = max(
                    (
                        (top + i, left + j)
                        for i in range(layer.kernel_size)
                        for j in range(layer.kernel_size)
                    ),
                    key=lambda place: float(x[0, c, place[0], place[1]]),
                )
                out[0, c, best[0], best[1]] += next(share)
    return out.flatten()


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that does what a convolution and a batch norm after it do."""
    folded = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding
    ).double()
    bias = torch.zeros(conv.out_channels).double() if conv.bias is None else conv.bias
    for k in range(conv.out_channels):
        spread = (norm.running_var[k].item() + norm.eps) ** 0.5
        scale = norm.weight[k].item() / spread
        folded.weight.data[k] = conv.weight.data[k] * scale
        shift = (bias[k] - norm.running_mean[k]) * scale + norm.bias[k]
        folded.bias.data[k] = shift.detach()
    return folded


def derivative(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of the sum of f by central differences, in the shape of x."""
    out, step = torch.zeros_like(x), 1e-5
    for i in range(x.numel()):
        move = torch.zeros(x.numel(), dtype=x.dtype)
        move[i] = step
        move = move.reshape(x.shape)
        difference = f(x + move).sum() - f(x - move).sum()
        out.view(-1)[i] = float(difference) / (2 * step)
    return out


def integrated_gradients(
    f: Callable[[Tensor], Tensor], x: Tensor, baseline: Tensor, steps: int = 2000
) -> Tensor:
    """(x - x0) times the mean gradient on the line between them, by a fine Riemann sum."""
    total = torch.zeros_like(x)
    for k in range(1, steps + 1):
        point = (baseline + k / steps * (x - baseline)).detach().requires_grad_()
        f(point).sum().backward()
        total += point.grad
    return (x - baseline) * total / steps


def midpoint_sum(f: Callable[[Tensor], Tensor], x: Tensor, baseline: Tensor, steps: int) -> Tensor:
    """The same with the gradient at the middle of each of a few steps."""
    total = torch.zeros_like(x)
    for k in range(steps):
        point = (baseline + (k + 0.5) / steps * (x - baseline)).detach().requires_grad_()
        f(point).sum().backward()
        total += point.grad
    return (x - baseline) * total / steps


def gradcam(
    features: Callable[[Tensor], Tensor], head: Callable[[Tensor], Tensor], x: Tensor, k: int
) -> Tensor:
    """relu of the maps weighted by their mean gradient, for a model that is head(features(x))."""
    maps = features(x).detach().requires_grad_()
    head(maps)[:, k].sum().backward()
    out = torch.zeros(len(x), 1, *maps.shape[2:], dtype=x.dtype)
    for n in range(len(x)):
        for c in range(maps.shape[1]):
            out[n, 0] += maps.grad[n, c].mean() * maps[n, c].detach()
    return out.clamp(min=0)
