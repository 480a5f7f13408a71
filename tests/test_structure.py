"""Nested inputs and outputs are taken apart once and put together again."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pellucid.errors import InputError
from pellucid.structure import Inputs, leaves, outline, transform


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None


def same(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))


def structures() -> st.SearchStrategy:
    one = st.builds(torch.ones, st.just(2), st.integers(1, 3))
    several = st.lists(one, min_size=1, max_size=3)
    names = st.text("abcxyz", min_size=1, max_size=3)
    return one | several.map(tuple) | st.dictionaries(names, one, min_size=1, max_size=3)


@given(structures())
def test_inputs_are_packed_as_they_came(given_inputs):
    taken = Inputs.of(given_inputs)
    assert same(given_inputs, taken.pack(taken.leaves))


def test_inputs_call_by_position_or_keyword():
    a, b = torch.ones(2, 1), torch.zeros(2, 1)
    assert same(Inputs.of((a, b)).call(lambda x, y: (x, y)), (a, b))
    assert same(Inputs.of({"y": a, "x": b}).call(lambda x, y: (x, y)), (b, a))
    assert same(Inputs.of(a).call(lambda x: x), a)


def test_labels_are_what_a_user_would_write():
    a = torch.ones(2, 1)
    assert Inputs.of(a).labels() == ("inputs",)
    assert Inputs.of((a, a)).labels() == ("inputs[0]", "inputs[1]")
    assert Inputs.of({"image": a}).labels() == ("image",)


def test_select_keeps_the_structure_and_some_rows():
    taken = Inputs.of({"a": torch.arange(3.0)[:, None], "b": torch.arange(6.0).reshape(3, 2)})
    kept = taken.select(slice(1, 3))
    assert kept.names == ("a", "b")
    assert kept.leaves[1].tolist() == [[2, 3], [4, 5]]
    assert kept.rows == 2


def test_leaves_name_the_path_to_every_tensor():
    tree = {"a": (torch.ones(1), [torch.zeros(1)]), "b": Output(torch.ones(2)), "c": None}
    assert [path for path, _ in leaves(tree)] == [("a", 0), ("a", 1, 0), ("b", "logits")]


def test_transform_reaches_every_tensor():
    tree = {"a": (torch.ones(1), [torch.ones(1)]), "b": Output(torch.ones(1)), "c": None}
    doubled = transform(lambda t: 2 * t, tree)
    assert [leaf.item() for _, leaf in leaves(doubled)] == [2, 2, 2]
    assert doubled["b"] == {"logits": torch.full((1,), 2.0), "loss": None}


def test_outline_describes_without_numbers():
    text = outline((Output(torch.zeros(2, 5)), [torch.zeros(1, dtype=torch.long)]))
    assert text == "(Output(logits=float32[2, 5] on cpu, loss=None), [int64[1] on cpu])"


@pytest.mark.parametrize(
    "wrong",
    [[], {}, (), None, "photo.png", torch.tensor(1.0), torch.ones(0, 3), [[1.0, 2.0]], (1.0,)],
    ids=repr,
)
def test_what_is_no_batch_of_tensors_is_refused(wrong):
    with pytest.raises(InputError, match=r"must be|must have"):
        Inputs.of(wrong)
