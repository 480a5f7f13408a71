"""LIME on a net that cheats: it tells wolves from huskies by the snow behind them.

Shows, rebuilt with digits, why LIME became known: the net is right on every image of its own data,
and the strongest patch of an image that it gets wrong lies in the bright band, not on the digit.
Misleads where the kernel is narrow or the players are small, so that few draws are near: the second
picture has the same answer for every width, fitted to the same draws, and says which stay.
"""

import torch
from _panels import panels, save
from _training import accuracy, train
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import pellucid as pl


def images(digit, snow):
    """Digits on dark noise; below them a bright band, or nothing."""
    bunch = load_digits()
    shown = torch.tensor(bunch.images[bunch.target == digit] / 16, dtype=torch.float32)
    found = 0.1 * torch.rand(len(shown), 1, 16, 16)
    found[:, 0, 2:10, 4:12] += shown
    found[:, :, 12:] += 0.8 * snow
    return found.clamp(max=1)


torch.manual_seed(0)
net = torch.nn.Sequential(
    torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
    torch.nn.Conv2d(8, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
    torch.nn.Flatten(), torch.nn.Linear(256, 2),
)  # fmt: skip
huskies, wolves, strays = images(3, snow=0), images(5, snow=1), images(3, snow=1)
x = torch.cat([huskies[:120], wolves[:120]])
y = torch.arange(2).repeat_interleave(120)
train(net, x, y, epochs=15, rate=2e-3, batch=32)

affected = strays[120:][net(strays[120:]).argmax(1) == 1]
patches = pl.Features.patches(4)
found = {
    "LIME": pl.explain(net, affected, "lime", features=patches, target=1),
    "occlusion": pl.explain(net, affected, "occlusion", features=patches, target=1),
}
gray = affected[0].permute(1, 2, 0).expand(-1, -1, 3)
save(panels({name: each[0] for name, each in found.items()}, picture=gray), "lime_husky")

figure = Figure(figsize=(6.4, 3.8), layout="constrained", facecolor="white")
sweep = pl.sweep_width(found["LIME"][:1])
sweep.plot(figure.add_subplot(), most=6)
save(figure, "lime_widths")

right = accuracy(net, huskies[120:], torch.zeros(63, dtype=torch.long))
print(f"right on new images of its own data: {right:.0%} of huskies")
print(f"huskies on snow that are taken for wolves: {len(affected)} of {len(strays[120:])}")
for name, each in found.items():
    first = each.players.argmax(1) // 4 == 3
    print(f"{name}: the strongest patch is snow in {first.float().mean():.0%} of them")
steady = (sweep.flips()[0] == 0).sum()
print(f"patches whose sign is the same at every width: {steady} of 16")
