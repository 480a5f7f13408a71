"""Inpainting comes near to the solution of the Laplace equation, found here by linear algebra."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve
from torch.testing import assert_close

from pellucid.inpainting import inpainted


def harmonic(image: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The mean of its neighbours for every absent element, solved for all of them at once."""
    number = np.arange(image.size).reshape(image.shape)
    matrix, right = lil_matrix((image.size, image.size)), np.zeros(image.size)
    for place in product(*map(range, image.shape)):
        row = number[place]
        if there[place]:
            matrix[row, row], right[row] = 1, image[place]
            continue
        for axis, step in product(range(image.ndim), (-1, 1)):
            other = list(place)
            other[axis] += step
            if 0 <= other[axis] < image.shape[axis]:
                matrix[row, number[tuple(other)]] = -1
                matrix[row, row] += 1
    return spsolve(matrix.tocsr(), right).reshape(image.shape)


def smooth(*shape: int) -> torch.Tensor:
    """Waves, between 0 and 1."""
    axes = [torch.linspace(0, 3 + i, n, dtype=torch.float64) for i, n in enumerate(shape)]
    grid = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([g.sin() for g in grid]).mean(0).add(1) / 2


@pytest.mark.parametrize("shape", [(40,), (33, 48), (9, 12, 10)])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.8])
def test_it_is_nearly_the_solution(shape, part):
    image = smooth(*shape)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand([-(-n // 4) for n in shape], generator=generator) > part
    coarse.view(-1)[0] = True
    there = coarse
    for axis, n in enumerate(shape):
        there = there.repeat_interleave(4, axis).narrow(axis, 0, n)
    made = inpainted(image[None, None], there.double()[None, None], torch.zeros(1, 1).double())
    exact = torch.from_numpy(harmonic(image.numpy(), there.numpy()))
    wrong = (made[0, 0] - exact).abs()[~there] / (image.max() - image.min())
    assert wrong.mean() < 0.01
    assert wrong.max() < 0.05
    assert torch.equal(made[0, 0][there], image[there])


def test_rows_and_channels_have_nothing_to_do_with_each_other():
    image = torch.rand(3, 2, 11, 7)
    there = (torch.rand(3, 2, 11, 7) > 0.5).float()
    whole = inpainted(image, there, torch.zeros(3, 2))
    for row, channel in product(range(3), range(2)):
        one = image[row, channel][None, None], there[row, channel][None, None]
        assert_close(whole[row, channel], inpainted(*one, torch.zeros(1, 1))[0, 0])


def test_nothing_of_what_is_absent_is_seen():
    image, there = torch.rand(1, 1, 16, 16), (torch.rand(1, 1, 16, 16) > 0.5).float()
    other = torch.where(there.bool(), image, torch.rand(1, 1, 16, 16) * 100)
    empty = torch.zeros(1, 1)
    assert torch.equal(inpainted(image, there, empty), inpainted(other, there, empty))


def test_where_nothing_is_there_it_is_the_value_for_that():
    made = inpainted(
        torch.rand(2, 2, 5, 6), torch.zeros(2, 1, 5, 6), torch.tensor([[1.0, 2], [3, 4]])
    )
    assert_close(made, torch.tensor([[1.0, 2], [3, 4]])[:, :, None, None].expand(2, 2, 5, 6))


def test_the_type_of_the_input_is_followed():
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        image = torch.rand(1, 1, 8, 8).to(dtype)
        assert inpainted(image, torch.ones_like(image), torch.zeros(1, 1)).dtype == dtype
