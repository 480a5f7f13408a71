"""Our modes see every ATen call, and the compiler of a model does not see our modes."""

import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch._C._dynamo import eval_frame
from torch.testing import assert_close

import pellucid as pl
from pellucid.dispatch import DispatchMode, _leave_alone
from pellucid.program import Watch
from tests.zoo.network import normal, seeded

X = normal(2, 3, seed=1)
Models = tuple[nn.Module, nn.Module]


@pytest.fixture
def models() -> Iterator[Models]:
    """A model that is watched at every run, as it is, and compiled, which it is before."""
    torch.compiler.reset()
    net = seeded(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Softmax(1))).eval()
    compiled = torch.compile(net, backend="eager")
    with torch.no_grad():
        compiled(X)
    yield net, compiled
    torch.compiler.reset()


def frames() -> int:
    """How many frames the compiler has been asked for."""
    from torch._dynamo.utils import counters

    return counters["frames"]["total"]


def check(models: Models) -> None:
    before = frames()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected, found = (pl.explain(each, X, "occlusion", target=0) for each in models)
    assert_close(found.values, expected.values)
    assert frames() == before


def test_the_compiler_of_a_model_leaves_our_modes_alone(models: Models) -> None:
    check(models)


def test_a_mode_that_the_compiler_sees_is_noticed(models: Models) -> None:
    code, action = Watch.__torch_dispatch__.__code__, eval_frame._FrameAction.DEFAULT
    eval_frame.set_code_exec_strategy(code, eval_frame._FrameExecStrategy(action, action))
    try:
        with pytest.raises((AssertionError, pl.errors.ModelError), match="Dynamo|Expected"):
            check(models)
    finally:
        torch.compiler.reset()
        _leave_alone(code)


def test_a_torch_without_that_switch_takes_modes_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(eval_frame, "set_code_exec_strategy")

    class Plain(DispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    with Plain():
        assert_close(torch.ones(2) + 1, torch.full((2,), 2.0))
