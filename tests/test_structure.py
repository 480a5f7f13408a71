"""Nested inputs and outputs are taken apart once and put together again."""

from collections import OrderedDict, UserDict, defaultdict, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pellucid.errors import InputError
from pellucid.structure import Inputs, batch_axes, leaves, outline, transform


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None


def same(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if not isinstance(a, tuple | list):
        return a is b or a == b
    return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))


def structures() -> st.SearchStrategy:
    """Tensors in tuples, lists and dicts of any depth, among other things, with a batch of two."""
    one = st.builds(torch.ones, st.just(2), st.integers(1, 3))
    names = st.text("abcxyz", min_size=1, max_size=3)
    other = st.none() | st.booleans() | st.integers() | st.text(max_size=2)

    def nested(inner: st.SearchStrategy) -> st.SearchStrategy:
        several = st.lists(inner, min_size=1, max_size=3)
        return several | several.map(tuple) | st.dictionaries(names, inner, min_size=1, max_size=3)

    trees = nested(st.recursive(one | other, nested, max_leaves=6))
    return one | trees.filter(lambda tree: any(True for _ in leaves(tree)))


@given(structures())
def test_inputs_are_packed_as_they_came(given_inputs):
    taken = Inputs.of(given_inputs)
    assert same(given_inputs, taken.pack(taken.leaves))


@given(structures(), st.data())
def test_the_batch_may_be_on_any_axis(given_inputs, data):
    axes = batch_axes(given_inputs, 0)
    found = {path: data.draw(st.sampled_from([0, 1, -1, -2])) for path in axes}
    turned = _at(lambda path, x: x.movedim(0, found[path]), given_inputs)
    declared = _at(lambda path, x: found[path], given_inputs, other=0)
    taken = Inputs.of(turned, declared)
    assert all(
        torch.equal(a, b) for a, (_, b) in zip(taken.leaves, leaves(given_inputs), strict=True)
    )
    assert same(taken.pack(taken.leaves), turned)
    assert Inputs.of(turned, taken.batch_axis).axes == taken.axes
    kept = taken.select(torch.tensor([1]))
    assert all(x.shape[found[path]] == 1 for path, x in leaves(kept.pack(kept.leaves)))


def _at(function, tree, path=(), other="same"):
    """Another walk over a structure than the one under test."""
    if isinstance(tree, Tensor):
        return function(path, tree)
    if isinstance(tree, dict):
        return {k: _at(function, v, (*path, k), other) for k, v in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(_at(function, v, (*path, i), other) for i, v in enumerate(tree))
    return tree if other == "same" else other


def test_inputs_call_by_position_or_keyword():
    a, b = torch.ones(2, 1), torch.zeros(2, 1)
    assert same(Inputs.of((a, b)).call(lambda x, y: (x, y)), (a, b))
    assert same(Inputs.of({"y": a, "x": b}).call(lambda x, y: (x, y)), (b, a))
    assert same(Inputs.of(a).call(lambda x: x), a)


Pair = namedtuple("Pair", "a b")


@dataclass(frozen=True)
class Batch:
    ids: Tensor
    mask: Tensor | None = None
    deep: bool = True


def test_a_model_gets_the_user_s_own_types():
    a, b = torch.ones(2, 1), torch.zeros(2, 1)
    inner = [Pair(a, b), Batch(b), UserDict(k=a), OrderedDict(k=b), defaultdict(list, k=a), None, 3]
    got = Inputs.of((inner, "train")).call(lambda x, y: (x, y))
    assert got[1] == "train"
    assert [type(each) for each in got[0]] == [type(each) for each in inner]
    assert torch.equal(got[0][0].b, b)
    assert torch.equal(got[0][1].ids, b)
    assert got[0][1].deep is True
    assert torch.equal(got[0][2]["k"], a)
    assert got[0][4]["new"] == []
    assert inner[2]["k"] is a  # the user's own object is as it was


@pytest.mark.parametrize("kind", [Batch, UserDict, OrderedDict, dict])
def test_a_mapping_or_a_dataclass_is_keywords(kind):
    ids = torch.ones(2, 3)
    taken = Inputs.of(kind(ids=ids, mask=None, deep=False))
    assert taken.names == ("ids", "mask", "deep")
    got = taken.replace([ids * 2]).call(lambda **kwargs: kwargs)
    assert same(got, {"ids": ids * 2, "mask": None, "deep": False})
    assert same(taken.pack_values([ids * 3]), {"ids": ids * 3, "mask": None, "deep": None})


def test_what_all_samples_share_is_passed_whole():
    x, graph = torch.randn(4, 3), torch.randn(3, 3)
    taken = Inputs.of({"x": x, "graph": graph}, {"graph": None})
    assert taken.rows == 4
    got = taken.select(torch.tensor([3, 1, 1])).call(lambda x, graph: (x, graph))
    assert same(got, (x[[3, 1, 1]], graph))
    assert same(taken.pack([x]), {"x": x, "graph": graph})
    assert same(taken.pack_values([x]), {"x": x, "graph": torch.zeros(3, 3)})
    assert taken.notes() == ["`graph` is shared by the samples; its values are zero."]
    copied = taken.copied()
    copied.call(lambda x, graph: graph.zero_())
    assert same(copied.call(lambda x, graph: graph), graph)


def test_what_is_declared_must_have_the_structure_of_the_inputs():
    x, h = torch.ones(2, 5, 3), torch.ones(1, 2, 4)
    inputs = {"x": x, "state": (h, h)}
    axes = batch_axes(inputs, {"state": 1})
    assert axes == {("x",): 0, ("state", 0): 1, ("state", 1): 1}
    assert batch_axes(inputs, {"state": [1, None]})["state", 1] is None
    for wrong in [(0, 1), {"state": (1,)}, {"states": 1}, {"x": "first"}, True, 1.5, {"x": (0, 0)}]:
        with pytest.raises(InputError) as caught:
            Inputs.of(inputs, wrong)
        assert str(caught.value) == (
            "`batch_axis` must be a whole number, None, or these in the structure of the inputs; "
            f"got {wrong!r} for {{'x': float32[2, 5, 3] on cpu, 'state': (float32[1, 2, 4] on cpu, "
            "float32[1, 2, 4] on cpu)}."
        )


@pytest.mark.parametrize(
    ("inputs", "axis", "message"),
    [
        ({"x": torch.ones(2, 3)}, 2, r"^`x` must have an axis 2, its `batch_axis`; got float32\[2"),
        (
            {"x": torch.ones(2, 3)},
            None,
            r"^At least one of the inputs must have a batch axis; got N",
        ),
        (
            (torch.ones(2, 3), {"t": torch.tensor(1.0)}),
            0,
            r"^`inputs\[1\]\['t'\]` must have a batch axis .*batch_axis=None for `inputs\[1\]",
        ),
        (
            (torch.ones(2, 3), (torch.ones(1, 2, 4),)),
            0,
            r"\{'inputs\[0\]': float32\[2, 3\] on cpu, 'inputs\[1\]\[0\]': float32\[1, 2, 4\].*"
            r"batch_axis=None for what has no batch axis, its number for one that is not first\.$",
        ),
        (
            (torch.ones(2, 3), [np.ones(2)]),
            0,
            r"^`inputs\[1\]\[0\]` must be a tensor; got float64\[2\].*from_numpy",
        ),
        (
            {1: torch.ones(2, 3)},
            0,
            r"^A dict of inputs must be one of keyword arguments, .*got \[1\]",
        ),
        ((True, "text", None), 0, r"^`inputs\[0\]` must be a tensor; got True\."),
    ],
    ids=range(7),
)
def test_inputs_that_cannot_be_used_are_named(inputs, axis, message):
    with pytest.raises(InputError, match=message):
        Inputs.of(inputs, axis)


def test_labels_are_what_a_user_would_write():
    a = torch.ones(2, 1)
    assert Inputs.of((a, {"h": [a]})).labels() == ("inputs[0]", "inputs[1]['h'][0]")
    assert Inputs.of({"state": (a, a)}).labels() == ("state[0]", "state[1]")
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
    assert outline(UserDict(a=torch.zeros(1))) == "{'a': float32[1] on cpu}"
    assert text == "(Output(logits=float32[2, 5] on cpu, loss=None), [int64[1] on cpu])"


@pytest.mark.parametrize(
    "wrong",
    [[], {}, (), None, "photo.png", torch.tensor(1.0), torch.ones(0, 3), [[1.0, 2.0]], (1.0,)],
    ids=repr,
)
def test_what_is_no_batch_of_tensors_is_refused(wrong):
    with pytest.raises(InputError, match=r"must be|must have"):
        Inputs.of(wrong)
