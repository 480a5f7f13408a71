"""Every layer that torch.nn exports is recorded and walked, or is none and says why."""

import pytest
from torch import nn

from tests.architectures.layers import NONE, ROWS, layer_of
from tests.architectures.program import check

EXPORTED = {
    name
    for name, item in vars(nn).items()
    if isinstance(item, type) and issubclass(item, nn.Module)
}


# Layers that torch calls deprecated or unfinished are exported, so people have them.
@pytest.mark.filterwarnings("ignore:.*NLLLoss2d.* has been deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("row", ROWS)
def test_layer(row):
    check(ROWS[row](layer_of(row)), f"layer: {row}")


def test_no_layer_is_missing():
    listed = {row.split()[0] for row in ROWS} | set(NONE)
    assert EXPORTED - listed == set()
    assert listed - EXPORTED == set()


def test_no_layer_is_excused_and_handled():
    assert not {row.split()[0] for row in ROWS} & set(NONE)


@pytest.mark.filterwarnings("ignore:.nn.Container. is deprecated:FutureWarning")
@pytest.mark.parametrize("name", NONE)
def test_what_is_no_layer_cannot_run(name):
    arguments = {"RNNBase": ("LSTM", 2, 3), "RNNCellBase": (2, 3, True, 4)}.get(name, ())
    with pytest.raises((NotImplementedError, AttributeError, TypeError)):
        getattr(nn, name)(*arguments)(None)
