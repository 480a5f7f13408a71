"""Small networks of many architectures, trained in seconds on handwritten digits.

They are what relevance rules are compared on: nets that work, written as people write them.
"""

from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 16
CLASSES = 10


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images of shape (sample, 1, 16, 16) with ink at one and paper at zero; train and test."""
    bunch = load_digits()
    images = torch.as_tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
    images = F.interpolate(images, size=(SIDE, SIDE), mode="nearest")
    labels = torch.as_tensor(bunch.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, test = order[:1400], order[1400:]
    return images[train], labels[train], images[test], labels[test]


def conv(inputs: int, outputs: int, **options: int) -> nn.Conv2d:
    """A convolution of 3 by 3 that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


def vgg() -> nn.Module:
    """Convolutions, ReLUs and max-pooling, and two dense layers."""
    return nn.Sequential(
        conv(1, 16), nn.ReLU(), conv(16, 16), nn.ReLU(), nn.MaxPool2d(2),
        conv(16, 32), nn.ReLU(), conv(32, 32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, CLASSES),
    )  # fmt: skip


def mlp() -> nn.Module:
    """Three dense layers."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(SIDE * SIDE, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(),
        nn.Linear(64, CLASSES),
    )  # fmt: skip


class Staged(nn.Module):
    """A stem, three blocks with pooling in between, and the mean over all places."""

    def __init__(self, block: Callable[[int], nn.Module], width: int = 24) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(1, width), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.ModuleList(block(width) for _ in range(3))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (batch, class)."""
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = block(x)
            x = F.max_pool2d(x, 2) if i < len(self.blocks) - 1 else x
        return self.head(x.mean((2, 3)))


class Residual(nn.Module):
    """x + f(x), and a ReLU in place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(width, width), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of the input."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out += x
        return F.relu_(out)


class Dense(nn.Module):
    """Every layer reads all before it; a transition brings the width back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(width, width), conv(2 * width, width)
        self.join = nn.Conv2d(3 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of the input."""
        for layer in (self.first, self.second):
            x = torch.cat([x, F.relu(layer(x))], 1)
        return F.relu(self.join(x))


class Inverted(nn.Module):
    """Expand, filter each channel, project: with ReLU6 and without one at the end."""

    def __init__(self, width: int) -> None:
        super().__init__()
        wide = 3 * width
        self.body = nn.Sequential(
            nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
            conv(wide, wide, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
            nn.Conv2d(wide, width, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of the input."""
        return x + self.body(x)


class Squeeze(nn.Module):
    """A residual block whose channels are gated by their means, with SiLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.bn = conv(width, width), nn.BatchNorm2d(width)
        self.down, self.up = nn.Linear(width, width // 4), nn.Linear(width // 4, width)

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of the input."""
        out = F.silu(self.bn(self.conv(x)))
        gate = torch.sigmoid(self.up(F.relu(self.down(out.mean((2, 3))))))
        return x + out * gate[:, :, None, None]


class UNet(nn.Module):
    """Down, up and across; the mean over the map of each class is its score."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.enter, self.deep = conv(1, width), conv(width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.leave, self.head = conv(2 * width, width), nn.Conv2d(width, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (batch, class)."""
        above = F.relu(self.enter(x))
        below = F.relu(self.deep(F.max_pool2d(above, 2)))
        joined = torch.cat([above, F.relu(self.up(below))], 1)
        return self.head(F.relu(self.leave(joined))).amax((2, 3))


class Transformer(nn.Module):
    """Patches of 4 by 4 as tokens; the mean over tokens is classified."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 4, stride=4)
        self.position = nn.Parameter(torch.randn(1, 16, width) * 0.02)
        block = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, 3, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (batch, class)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(tokens)).mean(1))


class Recurrent(nn.Module):
    """The rows of an image read from top to bottom by an LSTM or a GRU."""

    def __init__(self, kind: type[nn.Module], width: int = 64) -> None:
        super().__init__()
        self.rnn = kind(SIDE, width, batch_first=True)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (batch, class)."""
        return self.head(self.rnn(x.squeeze(1))[0][:, -1])


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "MLP": mlp,
    "VGG": vgg,
    "ResNet": lambda: Staged(Residual),
    "DenseNet": lambda: Staged(Dense),
    "MobileNet": lambda: Staged(Inverted),
    "squeeze-excite": lambda: Staged(Squeeze),
    "U-Net": UNet,
    "transformer": Transformer,
    "LSTM": lambda: Recurrent(nn.LSTM),
    "GRU": lambda: Recurrent(nn.GRU),
}


def trained(name: str, epochs: int = 25) -> tuple[nn.Module, float]:
    """A network that was trained from a fixed seed, and its accuracy on the test images."""
    torch.manual_seed(0)
    net = ARCHITECTURES[name]()
    images, labels, held_out, truth = digits()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimizer.step()
    net.eval()
    with torch.no_grad():
        accuracy = (net(held_out).argmax(1) == truth).float().mean()
    return net, float(accuracy)
