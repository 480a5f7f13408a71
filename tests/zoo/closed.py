"""Functions small enough to explain by hand."""

import torch
from torch import nn

from tests.zoo.network import Lambda, Network, dense, network, normal, rows, seeded


@network
def linear() -> Network:
    """f = 2 x1 - x2 + x3/2. Gradient (2, -1, 1/2); each element adds weight times value."""
    weight, x = rows([2, -1, 0.5]), rows([1, 2, 3], [-1, 0.5, 4])
    return Network(
        model=dense(weight), inputs=x, gradient=weight.expand(2, 3), affine=True, biased=False
    )


@network
def affine() -> Network:
    """f = 2 x1 - x2 + x3/2 + 3. As `linear`; the bias belongs to no element."""
    weight, x = rows([2, -1, 0.5]), rows([1, 2, 3], [-1, 0.5, 4])
    return Network(model=dense(weight, [3.0]), inputs=x, gradient=weight.expand(2, 3), affine=True)


@network
def deep_linear() -> Network:
    """f = V (W x + b) + c without a nonlinearity. Gradient V W."""
    first, second = dense(normal(4, 3), [0.3, -0.2, 0.1, 0.4]), dense(normal(1, 4, seed=1), [0.5])
    weight, x = (second.weight @ first.weight).detach(), rows([1, 2, 3], [-1, 0.5, 4])
    twin = dense(weight, second(first.bias).tolist())
    return Network(
        model=nn.Sequential(first, second),
        inputs=x,
        gradient=weight.expand(2, 3),
        affine=True,
        twin=twin,
    )


@network
def product() -> Network:
    """f = x1 x2. Gradient (x2, x1); integrated from zero, each factor adds x1 x2 / 2."""
    x = rows([2, 3], [-1, 4])
    return Network(
        model=Lambda(lambda x: x[:, :1] * x[:, 1:]), inputs=x, gradient=x.flip(1), biased=False
    )


@network
def maximum() -> Network:
    """f = max(x1, x2). Gradient one at the winner."""
    x = rows([2, 3], [4, -1])
    return Network(
        model=Lambda(lambda x: x.amax(1, keepdim=True)),
        inputs=x,
        gradient=rows([0, 1], [1, 0]),
        twin=Lambda(lambda x: (x[:, :1] + x[:, 1:] + (x[:, :1] - x[:, 1:]).abs()) / 2),
        biased=False,
    )


@network
def quadratic() -> Network:
    """f = x' A x with symmetric A. Gradient 2 A x; smoothing does not change it."""
    a = rows([2, 1, 0], [1, -1, 0.5], [0, 0.5, 1])
    x = rows([1, 2, 3], [-1, 0.5, 4])
    model = Lambda(lambda layer, x: (layer(x) * x).sum(1, keepdim=True), a=dense(a))
    return Network(model=model, inputs=x, gradient=2 * x @ a, biased=False)


@network
def two_ways() -> Network:
    """f = relu(relu(x1) - 1 - relu(x2)), also written relu(relu(relu(x1) - 1) - relu(x2))."""
    x = rows([3, 1], [2.5, -1])
    return Network(
        model=Lambda(lambda x: (x[:, :1].relu() - 1 - x[:, 1:].relu()).relu()),
        inputs=x,
        gradient=rows([1, -1], [1, 0]),
        twin=Lambda(lambda x: ((x[:, :1].relu() - 1).relu() - x[:, 1:].relu()).relu()),
    )


@network
def symmetric() -> Network:
    """f treats x1 and x2 alike, so they get the same where they are the same."""
    first = dense(rows([1, 1, 2], [-1, -1, 1]), [0.5, 4.0])
    model = nn.Sequential(first, nn.ReLU(), dense(rows([1, -2])))
    return Network(model=model, inputs=rows([2, 2, 1], [0.5, 0.5, -1]))


@network
def unread() -> Network:
    """f reads x1 and x2 only; x3 is cut away before the first layer."""
    layers = seeded(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)))
    x = rows([1, 2, 3], [-1, 0.5, 4])
    ignored = torch.tensor([False, False, True]).expand(2, 3)
    return Network(
        model=Lambda(lambda net, x: net(x[:, :2]), net=layers), inputs=x, ignored=ignored
    )


@network
def zero_weight() -> Network:
    """x3 goes into the first layer, with a weight of zero."""
    layers = seeded(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    layers[0].weight.data[:, 2] = 0
    ignored = torch.tensor([False, False, True]).expand(2, 3)
    return Network(model=layers, inputs=rows([1, 2, 3], [-1, 0.5, 4]), ignored=ignored)
