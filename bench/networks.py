"""The networks that costs are measured on, written out: the architectures of torchvision.

VGG-16 and ResNet-18 have the layers, names, in-place activations and numbers of parameters of
torchvision's `vgg16` and `resnet18`; ViT-Tiny is the usual one (width 192, 12 blocks, 3 heads) of
`nn.TransformerEncoderLayer`. Weights are random but alive: drawn so that the size of activations
stays about the same from layer to layer, with biases and running statistics that are not trivial.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


class VGG(nn.Module):
    """Convolutions with ReLUs, and three dense layers (Simonyan and Zisserman 2015)."""

    def __init__(self, plan: tuple[int | str, ...] = VGG16, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(*_vgg_layers(plan))
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (batch, class)."""
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


def _vgg_layers(plan: tuple[int | str, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    width = 3
    for step in plan:
        if step == "M":
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        else:
            layers += [nn.Conv2d(width, int(step), 3, padding=1), nn.ReLU(inplace=True)]
            width = int(step)
    return layers


class BasicBlock(nn.Module):
    """Two convolutions and the identity; one ReLU module that is used twice, in place."""

    def __init__(self, width: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or width != planes:
            shortcut = nn.Conv2d(width, planes, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(planes))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, of shape (batch, channel, height, width)."""
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """Four stages of basic blocks (He, Zhang, Ren and Sun 2016)."""

    def __init__(self, depths: tuple[int, ...] = (2, 2, 2, 2), classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = _stage(64, 64, depths[0], stride=1)
        self.layer2 = _stage(64, 128, depths[1], stride=2)
        self.layer3 = _stage(128, 256, depths[2], stride=2)
        self.layer4 = _stage(256, 512, depths[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (batch, class)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def _stage(width: int, planes: int, depth: int, *, stride: int) -> nn.Sequential:
    rest = [BasicBlock(planes, planes) for _ in range(depth - 1)]
    return nn.Sequential(BasicBlock(width, planes, stride), *rest)


class ViT(nn.Module):
    """Patches as tokens, encoder blocks, a class token (Dosovitskiy et al. 2021)."""

    def __init__(self, width: int = 192, depth: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, kernel_size=16, stride=16)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.position = nn.Parameter(torch.randn(1, 197, width) * 0.02)
        block = nn.TransformerEncoderLayer(
            width, heads, 4 * width, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (batch, class)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], dim=1) + self.position
        return self.head(self.norm(self.blocks(tokens))[:, 0])


def _enliven(model: nn.Module) -> None:
    """Draw weights that keep the size of activations, and biases that are not zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.05)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)


def _calibrate(model: nn.Module, size: int) -> None:
    """Set the running statistics of batch norms to those of one batch of noise."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    usual = norms[0].momentum
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(8, 3, size, size))
    for norm in norms:
        norm.momentum = usual


NETWORKS: dict[str, Callable[[], nn.Module]] = {"vgg16": VGG, "resnet18": ResNet, "vit_tiny": ViT}

# The last layer with a spatial map, which peers have to be told for Grad-CAM.
LAST_CONVOLUTION = {"vgg16": "features.29", "resnet18": "layer4"}


def build(name: str, *, seed: int = 0, size: int = 224) -> nn.Module:
    """Make a network in evaluation mode, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NETWORKS[name]()
        if name != "vit_tiny":
            _enliven(model)
        _calibrate(model, size)
    return model.eval()
