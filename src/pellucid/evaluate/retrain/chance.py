"""What is drawn in a training is decided by its seed, and nothing global is left changed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def chance(seed: int) -> Iterator[None]:
    """Seed what is drawn from torch, NumPy and Python inside, and put their states back after.

    >>> before = torch.get_rng_state()
    >>> with chance(3):
    ...     first = torch.rand(2)
    >>> bool((torch.get_rng_state() == before).all())
    True
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        # torch.manual_seed would also seed devices that are not in use yet, for good.
        torch.default_generator.manual_seed(seed % 2**63)
        if cuda:
            torch.cuda.manual_seed_all(seed % 2**63)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
