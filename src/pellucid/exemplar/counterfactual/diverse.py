"""Several answers that differ: chains that leave different variables alone, and the choice of them.

Chosen greedily for a large determinant of similarities, each weighed with how near the answer is to
the input, as in Mothilal, Sharma & Tan 2020, "Explaining machine learning classifiers through
diverse counterfactual explanations".
"""

import torch
from torch import Tensor

from pellucid.exemplar.counterfactual.distance import Distance
from pellucid.seeding import seeded

# Chains for each answer after the first.
CHAINS = 3
# Answers that are closer than this share of the least distance are one.
SAME = 1e-3
# Of more variables than this a random half is left alone: one pixel makes no difference.
MOST = 100
OF_FROZEN = 3


def frozen(changed: Tensor, seed: int, turn: int) -> Tensor:
    """Which variables the chains of one input leave alone (chain, variable).

    Of what each answer that it has `changed` (answer, variable) at least one: the next one differs.
    """
    drawn = torch.rand(CHAINS, changed.shape[1], generator=seeded(seed, OF_FROZEN, turn))
    if changed.shape[1] > MOST:
        return drawn < 0.5
    first = torch.where(changed, drawn[:, None], -1.0).argmax(2)
    made = torch.zeros(CHAINS, changed.shape[1], dtype=torch.bool)
    return made.scatter(1, first, True)


def chosen(distance: Distance, rows: Tensor, far: Tensor, count: int) -> list[int]:
    """So many of the rows (row, element), the nearest first, that are near and differ.

        largest det (q_i K_ij q_j),  K_ij = 1 / (1 + d_ij / m),  q_i = 1 / (1 + d_i / m)

    with d the distances between rows, and to the input, and m the least of the latter. Rows that
    are nearly the same count once.
    """
    if not len(rows):
        return []
    least = far.min().clamp(min=1e-12)
    between = distance.table(rows, rows)
    quality = 1 / (1 + far / least)
    kernel = quality[:, None] * quality / (1 + between / least)
    picked = [int(far.argmin())]
    while len(picked) < count:
        free = [i for i in range(len(rows)) if bool((between[i, picked] > SAME * least).all())]
        if not free:
            break
        sizes = [float(torch.linalg.det(kernel[[*picked, i]][:, [*picked, i]])) for i in free]
        picked.append(free[sizes.index(max(sizes))])
    return picked
