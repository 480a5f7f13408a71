"""A path that leaves torch is said to be cut, or is an error; it is never plain zeros."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

import pellucid as pl
from pellucid.errors import DisconnectedError
from tests.architectures.program import net, normal

X = normal(3, 4)


def through_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(np.tanh(x.detach().numpy()))


def through_lists(x: Tensor) -> Tensor:
    return torch.tensor([[value * 2 for value in row] for row in x.tolist()], dtype=x.dtype)


def through_numbers(x: Tensor) -> Tensor:
    return torch.stack([torch.full((4,), row.sum().item(), dtype=x.dtype) for row in x])


def through_data(x: Tensor) -> Tensor:
    return x.data * 2


def without_gradients(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x * 2


def in_a_thread(x: Tensor) -> Tensor:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: x.detach() * 2).result()


def to_integers(x: Tensor) -> Tensor:
    return (x * 4).long().to(x.dtype)


CUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "numpy": through_numpy,
    "lists": through_lists,
    "numbers": through_numbers,
    "detach": lambda x: x.detach() * 2,
    "data": through_data,
    "integers": to_integers,
}
# Autograd sees these cut and the tape does not, or the other way round.
HALF_SEEN = {"no_grad": without_gradients, "thread": in_a_thread}
METHODS = ["saliency", "gradient_x_input", "lrp", "smoothgrad", "integrated_gradients"]
GRADIENT = ["saliency", "gradient_x_input"]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_path_alone_is_an_error(cut, name):
    model = net(lambda x: CUTS[cut](x))
    with pytest.raises(DisconnectedError, match=r"depend on the input .*detach.*numpy.*item"):
        pl.explain(model, X, name, target=0)


# The sum is incomplete, for a part was cut: that is announced as well.
@pytest.mark.filterwarnings("ignore::pellucid.errors.IncompleteWarning")
@pytest.mark.parametrize("name", ["saliency", "lrp"])
@pytest.mark.parametrize("cut", sorted({*CUTS} - {"lists"}))
def test_a_cut_path_beside_another_is_a_note(cut, name):
    """Lists and NumPy arrays of a tensor that is not detached are beyond what torch can see."""
    model = net(lambda x: 3 * x + CUTS[cut](x))
    found = pl.explain(model, X, name, target=0)
    assert any("cuts the path" in note for note in found.notes) or cut == "integers"


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("cut", HALF_SEEN)
def test_what_half_of_us_can_see(cut, name):
    """An answer or an error, never zeros."""
    try:
        found = pl.explain(net(HALF_SEEN[cut]), X, name, target=0)
    except DisconnectedError:
        return
    assert found.values.any()
