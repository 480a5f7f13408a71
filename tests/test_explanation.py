"""The result: immutable, readable, and easy to take apart."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError, UnknownNameError
from pellucid.explanation import Completeness
from tests import zoo
from tests.zoo.network import normal, rows


def image() -> pl.Explanation:
    net = zoo.load("convolutional")
    return pl.explain(net.model, net.inputs, "integrated_gradients", target=1)


def table() -> pl.Explanation:
    net = zoo.load("linear")
    return pl.explain(net.model, net.inputs, "gradient_x_input")


def test_it_is_immutable():
    found = table()
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.values = None
    with pytest.raises(TypeError, match="unhashable"):
        hash(found)


def test_it_tells_what_it_is():
    text = repr(image())
    assert text.startswith("Explanation by IntegratedGradients(")
    assert "Target.index(1), score " in text
    assert "float64[2, 2, 8, 8] on cpu" in text
    assert " % off" in text
    assert "forward" in text
    assert "tensor(" not in text


def test_one_sample_keeps_its_batch_axis():
    found = image()
    for row in (1, -1):
        one = found[row]
        assert len(one) == 1
        assert_close(one.values, found.values[1:])
        assert_close(one.inputs, found.inputs[1:])
        assert_close(one.output, found.output[1:])
        assert_close(one.completeness.expected, found.completeness.expected[1:])
    assert [len(each) for each in found] == [1, 1]
    with pytest.raises(InputError, match="must be from 0 to 1; got 2"):
        found[2]


POOLS = {
    "sum": [2.0, -1.0],
    "max": [5.0, 1.0],
    "abs_sum": [8.0, 3.0],
    "l2": [34**0.5, 5**0.5],
    "positive": [5.0, 1.0],
    "negative": [-3.0, -2.0],
}


@pytest.mark.parametrize("how", POOLS)
def test_channels_are_pooled(how):
    values = rows([5, 1], [-3, -2]).reshape(1, 2, 2, 1)
    pooled = dataclasses.replace(image(), values=values).pool(how)
    assert pooled.values.shape == (1, 1, 2, 1)
    assert_close(pooled.values.flatten(), torch.tensor(POOLS[how]).double(), rtol=1e-6, atol=1e-6)
    assert any(how in note for note in pooled.notes)


def test_pooling_leaves_tables_and_names_the_ways():
    found = table()
    assert_close(found.pool("sum").values, found.values)
    with pytest.raises(UnknownNameError, match=r"got 'avg'\. .*sum, max, abs_sum"):
        found.pool("avg")


def test_as_arrays_and_frames():
    found = table()
    assert isinstance(found.to_numpy(), np.ndarray)
    assert np.allclose(found.to_numpy(), found.values)
    frame = found.to_frame()
    assert list(frame.columns) == ["sample", "feature", "value"]
    assert frame["value"].tolist() == found.values.flatten().tolist()
    assert list(image().to_frame().columns) == ["sample", "channel", "height", "width", "value"]


def test_several_inputs_are_several_arrays():
    net = zoo.load("keywords")
    found = pl.explain(net.model, net.inputs, "saliency", target=0)
    assert set(found.to_numpy()) == {"image", "context", "spare"}
    frame = found.to_frame()
    assert frame["input"].unique().tolist() == ["image", "context", "spare"]
    assert len(frame) == 3 * (3 + 2 + 2)


def test_the_strongest_elements_come_first():
    found = dataclasses.replace(table(), values=rows([1, -5, 3], [0, 2, -1]))
    top = found.top(2)
    assert top["sample"].tolist() == [0, 0, 1, 1]
    assert top["feature"].tolist() == [1, 2, 1, 2]
    assert top["value"].tolist() == [-5, 3, 2, -1]


@pytest.mark.parametrize("k", [-1, 1.5, None, "a", True])
def test_so_many_strongest_are_none(k):
    with pytest.raises(InputError, match="`k` must be a whole number, 0 or more; got"):
        table().top(k)


def test_channels_that_come_last_are_pooled_and_named():
    values = torch.randn(2, 6, 7, 3)
    found = dataclasses.replace(image(), values=values)
    assert_close(found.pool().values, values.sum(-1, keepdim=True))
    names = ["sample", "height", "width", "channel", "value"]
    assert list(found.to_frame().columns) == names


def test_three_axes_at_a_layer_need_to_be_told():
    values = torch.randn(2, 4, 5)
    found = dataclasses.replace(image(), values=values, at="blocks")
    with pytest.raises(InputError, match="`axis` must say which of three axes at a layer"):
        found.pool()
    assert_close(found.pool(axis=2).values, values.sum(2, keepdim=True))
    assert_close(found.pool(axis=1).values, values.sum(1, keepdim=True))
    for axis in (0, 3, True, "a"):
        with pytest.raises(InputError, match="`axis` must be from 1 to 2; got"):
            found.pool(axis=axis)


def test_a_file_to_save_must_be_a_path():
    with pytest.raises(InputError, match="`path` must be a path; got 3"):
        table().save(3)


def test_completeness_is_relative_to_what_is_expected():
    record = Completeness(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([2.0, 0.0, 1.0]))
    assert record.residual.tolist() == [1, 0, 1]
    assert record.relative.tolist() == [0.5, 0, 1]


def test_equal_results_are_equal():
    assert table() == table()
    other = table()
    assert dataclasses.replace(other, seconds=99.0) == table()
    assert dataclasses.replace(other, values=other.values + 1e-12) != table()
    assert dataclasses.replace(other, notes=("x",)) != table()
    assert table() != image()
    assert table() != "table"


def test_values_that_are_not_numbers_compare():
    values = torch.full((2, 3), torch.nan).double()
    a, b = (dataclasses.replace(table(), values=values.clone()) for _ in range(2))
    assert a == b


def test_batches_are_joined_in_every_field():
    net = zoo.load("convolutional")
    x = normal(5, 2, 8, 8, seed=11)
    whole = pl.explain(net.model, x, "lrp")
    cut = pl.explain(net.model, x, "lrp", batch_size=2)
    assert_close(cut.values, whole.values)
    assert_close(cut.output, whole.output)
    assert_close(cut.completeness.expected, whole.completeness.expected)
    assert cut.ledger.total() == pytest.approx(whole.ledger.total())
    assert [row.name for row in cut.ledger.rows] == [row.name for row in whole.ledger.rows]
    assert cut.notes == whole.notes
    assert cut.evaluations.forward == whole.evaluations.forward
    assert cut.evaluations.calls == 3
