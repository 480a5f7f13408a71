"""Random numbers of our own: from a seed and the number of a draw, never from torch's state."""

import torch


def seeded(seed: int, *numbers: int) -> torch.Generator:
    """A generator of its own for each draw, on the CPU, so that every device gets the same.

    A seed is any whole number, `numbers` say which draw it is; other draws change nothing of it.

    >>> seeded(5).initial_seed(), seeded(2, 3).initial_seed(), seeded(2**70).initial_seed()
    (5, 2000009, 0)
    """
    mixed = seed
    for number in numbers:
        mixed = mixed * 1_000_003 + number
    return torch.Generator().manual_seed(mixed % 2**63)
