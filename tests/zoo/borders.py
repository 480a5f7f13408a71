"""What goes into a model and comes out of it, and the mode it is in."""

import torch
from torch import Tensor, nn

from tests.zoo.network import Lambda, Network, network, normal, seeded


@network
def two_inputs() -> Network:
    """A tuple of inputs: f = relu(a W) V + b U, so the part of b is linear."""
    model = Lambda(
        lambda first, last, side, a, b: last(first(a).relu()) + side(b),
        first=seeded(nn.Linear(3, 4)),
        last=seeded(nn.Linear(4, 2), 1),
        side=seeded(nn.Linear(2, 2), 2),
    )
    return Network(model=model, inputs=(normal(3, 3, seed=3), normal(3, 2, seed=4)))


@network
def keywords() -> Network:
    """Inputs by keyword, one of which is not used."""
    model = Lambda(
        lambda layer, image, context, spare: layer(torch.cat([image, context], 1)).tanh(),
        layer=seeded(nn.Linear(5, 2)),
    )
    inputs = {
        "image": normal(3, 3, seed=3),
        "context": normal(3, 2, seed=4),
        "spare": normal(3, 2, seed=5),
    }
    ignored = {key: torch.full_like(x, key == "spare", dtype=bool) for key, x in inputs.items()}
    return Network(model=model, inputs=inputs, ignored=ignored)


@network
def dict_output() -> Network:
    """The scores are one entry of a dict."""
    model = Lambda(
        lambda net, x: {"loss": None, "logits": net(x)},
        net=seeded(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))),
    )
    return Network(model=model, inputs=normal(2, 3, seed=3), target=("logits", 1))


@network
def tuple_output() -> Network:
    """The score is read from a tuple by a function; it ignores the other entry."""
    model = Lambda(
        lambda a, b, x: (a(x), b(x).relu()), a=seeded(nn.Linear(3, 2)), b=seeded(nn.Linear(3, 2), 1)
    )
    x = normal(2, 3, seed=3)
    weight = model.layers["a"].weight[1].detach().expand(2, 3)
    return Network(model=model, inputs=x, target=_second_score, gradient=weight, affine=True)


def _second_score(output: tuple[Tensor, Tensor]) -> Tensor:
    return output[0][:, 1]


@network
def regression() -> Network:
    """One number a sample, of shape (sample,)."""
    model = Lambda(
        lambda net, x: net(x).squeeze(1),
        net=seeded(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))),
    )
    return Network(model=model, inputs=normal(2, 3, seed=3), target=None)


@network
def softmax() -> Network:
    """A softmax at the end; the score before it is explained, which is linear."""
    layer, x = seeded(nn.Linear(3, 4)), normal(2, 3, seed=3)
    weight = layer.weight[2].detach().expand(2, 3)
    return Network(
        model=nn.Sequential(layer, nn.Softmax(1)),
        inputs=x,
        target=2,
        gradient=weight,
        affine=True,
        twin=layer,
    )


@network
def training() -> Network:
    """In training mode, with dropout and batch statistics; an explanation must restore both."""
    model = nn.Sequential(
        nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2)
    )
    return Network(model=seeded(model), inputs=normal(4, 3, seed=3))
