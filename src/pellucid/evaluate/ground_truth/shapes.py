"""Shapes on a small grid, with noise whose pixels hang together: suppressors."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.evaluate.ground_truth.networks import dense_network, grid_network
from pellucid.evaluate.ground_truth.truth import Truth
from pellucid.options import number, one_of, whole
from pellucid.seeding import seeded

Scenario: TypeAlias = Literal["linear", "multiplicative", "xor", "translations"]
Background: TypeAlias = Literal["white", "correlated"]

SIDE = 8
# The tetrominoes T and L, (row, column), and where they stand when they do not move.
TEE, ELL = ((0, 0), (0, 1), (0, 2), (1, 1)), ((0, 0), (1, 0), (2, 0), (2, 1))
TEE_AT, ELL_AT = (1, 1), (4, 5)
# How much of a sample is signal in white and in correlated noise: a model can learn it, and not
# so easily that the noise is of no account.
SIGNAL: dict[str, tuple[float, float]] = {
    "linear": (0.4, 0.2),
    "multiplicative": (0.7, 0.7),
    "xor": (0.5, 0.3),
    "translations": (0.75, 0.45),
}
TRAINING = {"epochs": 20, "learning_rate": 3e-3}


def shapes(
    n: int = 2000,
    seed: int = 0,
    *,
    scenario: Scenario = "linear",
    background: Background = "white",
    signal: float | None = None,
    smoothing: float = 1.0,
) -> Truth:
    """Two tetrominoes, T or L, on a grid of 8 x 8 in noise: benchmark data with suppressors.

        linear          x = s a_y + (1 - s) e        T at one place for class 0, L for class 1
        multiplicative  x = (1 - s a_y) e            the shape dims the noise
        xor             x = s (u T + v L) + (1 - s) e  signs u, v = +-1, equal for class 0
        translations    x = s a_y + (1 - s) e        at any place, turned by any quarter

    Inputs (sample, 1, 8, 8). The noise e is white, or smoothed by a Gaussian (`correlated`): then
    pixels off the shapes, which tell nothing of the label, help to take the noise off those on
    them. Masks are true on both shapes, as the absence of one tells as much as its presence; on
    the one that is there, where shapes move. Laws: the label is independent of all pixels outside
    of the mask; of `linear`, `facts["filter"]` (8, 8) is the best linear model, which is zero
    off the shapes exactly if the noise is white, and `facts["pattern"]` what it detects.
    Source: Clark, Wilming and Haufe (2024), XAI-TRIS.

    >>> shapes(n=10, scenario="xor").masks.flatten(1).sum(1)
    tensor([8, 8, 8, 8, 8, 8, 8, 8, 8, 8])
    """
    n = whole(n, "n", least=10)
    one_of(scenario, "`scenario`", SIGNAL)
    one_of(background, "`background`", ["white", "correlated"])
    number(smoothing, "smoothing", "a width in pixels, above 0", above=0)
    s = SIGNAL[scenario][background == "correlated"] if signal is None else signal
    number(s, "signal", "a share of the sample, between 0 and 1", above=0, most=1)
    mixing = smoother(smoothing) if background == "correlated" else torch.eye(SIDE**2)
    drawn = torch.randn(n, SIDE**2, generator=seeded(whole(seed, "seed", least=None), 1))
    noise = (drawn @ mixing.T).reshape(n, SIDE, SIDE)
    labels = torch.randint(2, (n,), generator=seeded(seed, 2))
    form, masks = _forms(scenario, labels, seed)
    width = {"linear": 0, "multiplicative": 64, "xor": 64, "translations": -1}[scenario]
    multiplied = scenario == "multiplicative"
    return Truth(
        name="shapes",
        law="The label is independent of all pixels outside of the mask.",
        inputs=((1 - s * form) * noise if multiplied else s * form + (1 - s) * noise).unsqueeze(1),
        labels=labels,
        masks=masks,
        classes=("T", "L") if scenario != "xor" else ("same sign", "other sign"),
        network=grid_network(2) if width < 0 else dense_network(SIDE**2, 2, width),
        training=TRAINING,
        facts=_facts(mixing) if scenario == "linear" else {},
    )


def _forms(scenario: Scenario, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The shapes a_y of each sample, and the masks, both (sample, 8, 8)."""
    n = len(labels)
    if scenario == "translations":
        form = _moved(labels, seed)
        return form, form > 0
    tee, ell = _at(TEE, TEE_AT), _at(ELL, ELL_AT)
    both = ((tee + ell) > 0).repeat(n, 1, 1)
    first = (labels == 0).reshape(n, 1, 1)
    if scenario != "xor":
        return torch.where(first, tee, ell), both
    u = 2.0 * torch.randint(2, (n, 1, 1), generator=seeded(seed, 3)) - 1
    return u * tee + torch.where(first, u, -u) * ell, both


def _facts(mixing: Tensor) -> dict[str, Tensor]:
    """What tells L from T on average, and the linear model that does so best: S^-1 a."""
    pattern = _at(ELL, ELL_AT) - _at(TEE, TEE_AT)
    covariance = (mixing @ mixing.T).double()
    best = torch.linalg.solve(covariance, pattern.flatten().double())
    return {"pattern": pattern, "filter": best.reshape(SIDE, SIDE).float()}


def smoother(width: float) -> Tensor:
    """The matrix (pixel, pixel) that smooths noise; every pixel keeps a variance of one."""
    grid = torch.arange(SIDE, dtype=torch.float64)
    line = torch.exp(-((grid.unsqueeze(1) - grid) ** 2) / (2 * width**2))
    made = torch.kron(line, line)
    return (made / made.norm(dim=1, keepdim=True)).float()


def _at(cells: tuple[tuple[int, int], ...], corner: tuple[int, int]) -> Tensor:
    made = torch.zeros(SIDE, SIDE)
    for y, x in cells:
        made[corner[0] + y, corner[1] + x] = 1
    return made


def _moved(labels: Tensor, seed: int) -> Tensor:
    """A shape (sample, 8, 8) for each label, at a random place and turned by a random quarter."""
    n = len(labels)
    turns = torch.randint(4, (n,), generator=seeded(seed, 4)).tolist()
    at = torch.rand(n, 2, generator=seeded(seed, 5)).tolist()
    made = torch.zeros(n, SIDE, SIDE)
    stamps = [_stamp(cells) for cells in (TEE, ELL)]
    for row, label in enumerate(labels.tolist()):
        stamp = torch.rot90(stamps[label], turns[row])
        height, width = stamp.shape
        y = int(at[row][0] * (SIDE - height + 1))
        x = int(at[row][1] * (SIDE - width + 1))
        made[row, y : y + height, x : x + width] = stamp
    return made


def _stamp(cells: tuple[tuple[int, int], ...]) -> Tensor:
    """The smallest grid that holds a shape."""
    made = torch.zeros(1 + max(y for y, _ in cells), 1 + max(x for _, x in cells))
    for y, x in cells:
        made[y, x] = 1
    return made
