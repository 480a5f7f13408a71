"""What holds for every test and every documented example: one thread, fixed seeds."""

import random

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start every test and every example from the same random state."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
