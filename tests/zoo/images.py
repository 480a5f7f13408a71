"""Networks with feature maps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.network import Lambda, Network, network, normal, seeded


def _convolutional(bias: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=bias),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, bias=bias),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(6, 3, bias=bias),
    )


@network
def convolutional() -> Network:
    """Convolution, max-pooling, convolution, average pooling, dense; no biases."""
    model = seeded(_convolutional(bias=False))
    inputs = normal(2, 2, 8, 8, seed=3)
    return Network(model=model, inputs=inputs, maps=True, pooled=True, biased=False)


@network
def convolutional_biased() -> Network:
    """The same with biases."""
    model = seeded(_convolutional(bias=True))
    return Network(model=model, inputs=normal(2, 2, 8, 8, seed=3), maps=True, pooled=True)


@network
def batch_norm() -> Network:
    """Batch normalization after a convolution; the twin has it folded into the weights."""
    conv = seeded(nn.Conv2d(2, 4, 3, padding=1))
    norm = seeded(nn.BatchNorm2d(4), 1).eval()
    norm.running_mean = normal(4, seed=5)
    norm.running_var = normal(4, seed=6).square() + 0.5
    rest = seeded(nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2)))
    folded = seeded(nn.Conv2d(2, 4, 3, padding=1))
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    folded.weight.data.copy_(conv.weight * scale[:, None, None, None])
    folded.bias.data.copy_((conv.bias - norm.running_mean) * scale + norm.bias)
    return Network(
        model=nn.Sequential(conv, norm, *rest),
        inputs=normal(2, 2, 6, 6, seed=3),
        twin=nn.Sequential(folded, *rest),
        maps=True,
    )


def _residual_image(stem: nn.Module, block: nn.Module, head: nn.Module, x: Tensor) -> Tensor:
    h = F.relu(stem(x))
    out = block(h)
    out += h
    h = torch.cat([F.relu(out, inplace=True), F.max_pool2d(h, 3, 1, 1)], dim=1)
    return head(h.mean((2, 3)))


@network
def residual_image() -> Network:
    """A residual block, a dense connection and a mean over positions."""
    model = Lambda(
        _residual_image,
        stem=seeded(nn.Conv2d(2, 4, 3, padding=1, bias=False)),
        block=seeded(
            nn.Sequential(
                nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(4, 4, 1, bias=False)
            ),
            1,
        ),
        head=seeded(nn.Linear(8, 3, bias=False), 2),
    )
    inputs = normal(2, 2, 6, 6, seed=3)
    return Network(model=model, inputs=inputs, maps=True, pooled=True, biased=False)
