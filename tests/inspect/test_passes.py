"""A model over a data set: every batch once, several layers at once, nothing left behind."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

import pellucid as pl
from pellucid import inside
from pellucid.errors import InputError, ModelError, TrainingModeWarning, UnknownNameError
from pellucid.run.samples import Samples
from tests.zoo.network import normal, seeded

passes = pl.inspect.passes


class Net(nn.Module):
    """A layer whose output is overwritten, and a softmax at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = seeded(nn.Linear(3, 4)), seeded(nn.Linear(4, 2), 1)
        self.ran: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.ran.append(len(x))
        return self.last(self.first(x).relu_()).softmax(1)


NET, X, Y = Net().eval(), normal(7, 3, seed=2), torch.tensor([0, 1, 1, 0, 1, 0, 0])
LOADER = DataLoader(TensorDataset(X, Y), batch_size=3)
FORMS = {
    "tensor": X,
    "pair": (X, Y),
    "batches": [X[:4], X[4:]],
    "generator": (part for part in X.split(2)),
    "loader": LOADER,
    "set": TensorDataset(X, Y),
    "samples": Samples(rows=7, read=lambda a, b: X[a:b], mark="x"),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_sample_is_run_once(name):
    NET.ran.clear()
    found = list(passes(NET, FORMS[name], ["first", "last"], batch_size=3))
    assert sum(NET.ran) == 7
    assert [(each.start, each.stop) for each in found][-1][1] == 7
    first, last = NET.first(X), NET.last(NET.first(X).relu())
    assert_close(torch.cat([each.returned["first"] for each in found]), first)  # not overwritten
    assert_close(torch.cat([each.returned["last"] for each in found]), last)
    assert_close(torch.cat([each.scores for each in found]), last)
    assert_close(torch.cat([each.output for each in found]), last.softmax(1))
    if name in ("pair", "loader", "set"):
        assert torch.equal(torch.cat([torch.as_tensor(each.labels) for each in found]), Y)
    else:
        assert all(each.labels is None for each in found)


@pytest.mark.parametrize("size", [1, 2, 7, "auto"])
def test_answers_do_not_depend_on_the_batches(size):
    found = torch.cat([each.output for each in passes(NET, X, batch_size=size)])
    assert_close(found, NET(X))


def test_some_of_it():
    found = list(passes(NET, X, batch_size=2, start=4))
    assert [(each.start, each.stop) for each in found] == [(4, 6), (6, 7)]
    assert_close(found[0].inputs, X[4:6])


def test_two_inputs_of_whole_numbers_are_no_labels():
    def both(a: Tensor, b: Tensor) -> Tensor:
        return (a + b).double()[:, None]

    (found,) = passes(both, (torch.arange(3), torch.arange(3)))
    assert found.labels is None
    assert_close(found.output[:, 0], torch.tensor([0.0, 2, 4], dtype=torch.double))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_type_is_that_of_the_input(dtype):
    net = nn.Sequential(nn.Linear(2, 2)).to(dtype)
    (found,) = passes(net, torch.ones(3, 2, dtype=dtype), "0")
    assert found.output.dtype == found.returned["0"].dtype == dtype
    assert not found.output.requires_grad


def test_nothing_is_left_on_the_model_nor_taken_from_the_caller():
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 2)).double().train()
    state = {key: each.clone() for key, each in net.state_dict().items()}
    torch.manual_seed(0)
    with pytest.warns(TrainingModeWarning):
        drawn = [
            (torch.rand(1), torch.is_grad_enabled()) for _ in passes(net, X[:6], "2", batch_size=2)
        ]
    assert all(followed for _, followed in drawn)
    torch.manual_seed(0)
    assert_close(
        torch.cat([each for each, _ in drawn]), torch.rand(3)
    )  # the caller's own draws go on
    assert all(torch.equal(state[key], each) for key, each in net.state_dict().items())
    assert not net[2]._forward_hooks
    assert all(p.grad is None for p in net.parameters())
    with pytest.raises(ModelError), pytest.warns(TrainingModeWarning):
        list(passes(net, X[:, :2]))
    assert all(torch.equal(state[key], each) for key, each in net.state_dict().items())


NONE = {
    "layer": ({"layers": "frist"}, UnknownNameError, "Did you mean 'first'"),
    "size": ({"batch_size": 0}, InputError, '`batch_size` must be "auto" or a positive whole'),
    "data": ({"data": 3}, InputError, "`data` must be tensors, Samples, or batches of them; got 3"),
    "empty": ({"data": []}, InputError, "`data` must hold at least one batch of inputs; got none"),
    "broken": ({"data": [X, "x"]}, InputError, "`inputs` must be a tensor, a tuple of tensors or"),
    "model": ({"model": "net"}, InputError, "`model` must be a torch.nn.Module or a callable"),
}


@pytest.mark.parametrize("name", NONE)
def test_what_cannot_be_run(name):
    changed, error, message = NONE[name]
    options = {"model": NET, "data": X} | changed
    with pytest.raises(error, match=message):
        list(passes(**options))


def test_a_layer_that_is_not_copied_is_found(monkeypatch):
    """A mutant: what a layer returned is kept as it is, and the model writes over it."""
    monkeypatch.setattr(inside.Tensor, "clone", lambda self, **options: self)
    (found,) = passes(NET, X, "first")
    monkeypatch.undo()
    assert not torch.allclose(found.returned["first"], NET.first(X))
