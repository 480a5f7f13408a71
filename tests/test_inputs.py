"""Explanations of models whose inputs are nested, shared, or have their batch on another axis."""

from collections import UserDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.explanation import input_name

METHODS = ["saliency", "gradient_x_input", "smoothgrad", "integrated_gradients", "lrp"]


class Recurrent(nn.Module):
    """A net of steps that come first, called with two states; one score a sample and class."""

    def __init__(self, kind: type[nn.RNNBase] = nn.RNN) -> None:
        super().__init__()
        options = {"nonlinearity": "relu"} if kind is nn.RNN else {}
        self.steps = kind(3, 4, bias=False, **options)
        self.head = nn.Linear(4, 2, bias=False)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor], scale: float = 1.0) -> Tensor:
        assert x.is_contiguous()
        assert state[0].is_contiguous()
        if isinstance(self.steps, nn.LSTM):
            found, _ = self.steps(x, state)
        else:
            found = self.steps(x, state[0])[0] + state[1]
        return self.head(found[-1]) * scale


class Graph(nn.Module):
    """Features (sample, node, feature) on one graph (node, node) for all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 3)

    def forward(self, *, nodes: Tensor, graph: Tensor, deep: bool) -> Tensor:
        assert deep is True
        return self.head(torch.relu(graph @ nodes).mean(1))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(5)


def recurrent(kind: type[nn.RNNBase] = nn.RNN) -> tuple[nn.Module, Any, Any]:
    """Model, inputs and where their batch is."""
    shapes = [(6, 3, 3), (1, 3, 4), (1, 3, 4)]
    x, h, c = (torch.randn(*shape, dtype=torch.float64) for shape in shapes)
    return Recurrent(kind).double(), (x, (h, c), 2.0), (1, (1, 1), 0)


def of_autograd(model: nn.Module, inputs: Any) -> tuple[Tensor, Any]:
    """Scores of class 1 and their gradient, with no code of ours."""
    x, h, c = (t.clone().requires_grad_() for t in (inputs[0], *inputs[1]))
    score = model(x, (h, c), inputs[2])[:, 1]
    gx, gh, gc = torch.autograd.grad(score.sum(), (x, h, c))
    return score.detach(), (gx, (gh, gc), None)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.RNN])
@pytest.mark.parametrize("size", ["auto", 1, 2])
def test_the_states_of_a_recurrent_net_have_their_batch_on_axis_one(size, kind):
    model, inputs, axes = recurrent(kind)
    found = pl.explain(model, inputs, "saliency", target=1, batch_axis=axes, batch_size=size)
    score, gradient = of_autograd(model, inputs)
    assert_close(found.score, score)
    assert_close(found.values, gradient)
    assert found.values[2] is None
    assert_close(found.inputs, inputs)


def test_the_values_of_the_steps_of_another_axis_would_be_others():
    """The test above can fail: the same call with the batch on the first axis is refused."""
    model, inputs, _ = recurrent()
    with pytest.raises(pl.errors.InputError, match=r"same length along the batch"):
        pl.explain(model, inputs, "saliency", target=1)
    square = (torch.randn(3, 3, 3), (torch.randn(3, 3, 4), torch.randn(3, 3, 4)))
    net = nn.LSTM(3, 4, num_layers=3)
    aim = pl.Target.path(0, target=pl.Target.token(1), batch_axis=1)
    right = pl.explain(net, square, "saliency", target=aim, batch_axis=1, batch_size=1)
    whole = pl.explain(net, square, "saliency", target=aim, batch_axis=1)
    wrong = pl.explain(net, square, "saliency", target=aim)
    assert_close(right.values, whole.values)
    assert not torch.allclose(right[0].inputs[0], wrong[0].inputs[0].mT)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_nested_inputs_in_batches(method, tmp_path):
    model, inputs, axes = recurrent()
    options = {"target": 1, "batch_axis": axes, "on_incomplete": "ignore"}
    whole = pl.explain(model, inputs, method, **options)
    cut = pl.explain(model, inputs, method, batch_size=2, **options)
    assert_close(cut.values, whole.values)
    assert whole.values[0].shape == (6, 3, 3)
    assert whole.values[1][1].shape == (1, 3, 4)
    (compared,) = pl.compare(model, inputs, [method], **options)
    assert_close(compared.values, whole.values)
    made = pl.methods()[method]()(model, inputs, **options)
    assert_close(made.values, whole.values)
    assert pl.load(whole.save(tmp_path / "e.safetensors")) == whole


def test_a_layout_is_that_of_the_usual_one():
    """The same net with its batch first explains alike."""
    model, (x, (h, c), scale), axes = recurrent()

    def usual(x: Tensor, h: Tensor, c: Tensor) -> Tensor:
        return model(x.transpose(0, 1).contiguous(), (h[None], c[None]), scale)

    aside = pl.explain(model, (x, (h, c), scale), "lrp", target=1, batch_axis=axes)
    first = pl.explain(usual, (x.transpose(0, 1), h[0], c[0]), "lrp", target=1)
    assert_close(aside.values[0].transpose(0, 1), first.values[0])
    assert_close(aside.values[1][0][0], first.values[1])


def test_one_sample_of_a_nested_explanation():
    model, inputs, axes = recurrent()
    whole = pl.explain(model, inputs, "integrated_gradients", target=1, batch_axis=axes)
    one = whole[1]
    assert_close(one.values[0], whole.values[0][:, 1:2])
    assert_close(one.values[1][1], whole.values[1][1][:, 1:2])
    assert_close(one.inputs[1][0], inputs[1][0][:, 1:2])
    again = pl.explain(
        model, one.inputs, "integrated_gradients", target=one.target, batch_axis=one.batch_axis
    )
    assert_close(again.values, one.values, rtol=1e-3, atol=1e-5)


def test_a_reference_for_each_sample_follows_its_layout():
    model, (x, state, scale), axes = recurrent()
    baseline = pl.Baseline.per_sample((x * 0.5, (state[0] * 0.5, state[1])))
    found = pl.explain(
        model,
        (x, state, scale),
        "integrated_gradients",
        target=1,
        batch_axis=axes,
        batch_size=2,
        baseline=baseline,
    )
    expected = (
        model(x, state, scale)[:, 1] - model(x * 0.5, (state[0] * 0.5, state[1]), scale)[:, 1]
    )
    assert_close(found.completeness.expected, expected.detach())
    total = found.values[0].sum((0, 2)) + sum(v.sum((0, 2)) for v in found.values[1])
    assert_close(total, expected.detach(), rtol=0.02, atol=1e-6)
    assert [list(t.shape) for t in found[2].baseline.tensors] == [[6, 1, 3], [1, 1, 4], [1, 1, 4]]


def test_tables_and_pictures_of_nested_values():
    model, inputs, axes = recurrent()
    found = pl.explain(model, inputs, "saliency", target=1, batch_axis=axes)
    frame = found.to_frame()
    assert frame["input"].unique().tolist() == [0, "1.0", "1.1"]
    assert frame["sample"].nunique() == 3
    row = frame[(frame["sample"] == 2) & (frame["input"] == "1.1")]
    assert row["value"].tolist() == found.values[1][1][0, 2].tolist()
    assert len(found.top(2)) == 6
    pooled = found.pool("abs_sum")
    assert_close(pooled.values[0], found.values[0].abs().sum(0, keepdim=True))
    arrays = found.to_numpy()
    assert arrays[1][0].shape == (1, 3, 4)
    assert arrays[2] is None
    for part in (0, "1.0", 2):
        assert found.plot(row=1, part=part).get_figure() is not None
    assert "<" in found._repr_html_()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", ["auto", 2])
def test_what_all_samples_share_is_context(method, size, tmp_path):
    model = Graph().double()
    nodes, graph = torch.rand(3, 4, 2).double(), torch.rand(4, 4).double()
    inputs = UserDict(nodes=nodes, graph=graph, deep=True)
    found = pl.explain(
        model, inputs, method, target=2, batch_axis={"graph": None}, batch_size=size,
        on_incomplete="ignore",
    )  # fmt: skip
    alone = pl.explain(
        lambda x: model(nodes=x, graph=graph, deep=True), nodes, method, target=2,
        on_incomplete="ignore",
    )  # fmt: skip
    assert_close(found.values["nodes"], alone.values)
    assert_close(found.values["graph"], torch.zeros_like(graph))
    assert found.values["deep"] is None
    assert found.inputs["deep"] is True
    assert "`graph` is shared by the samples; its values are zero." in found.notes
    assert_close(found[2].inputs["graph"], graph)
    assert found.to_frame()["input"].unique().tolist() == ["nodes"]
    assert pl.load(found.save(tmp_path / "e.safetensors")) == found


def test_record_takes_a_batch_axis():
    model, inputs, axes = recurrent()
    tape = pl.record(model, inputs, batch_axis=axes)
    assert [entry.tensor.shape[0] for entry in tape.entries] == [3, 3, 3]


def test_the_name_of_an_input():
    assert input_name(("state", 1, "h")) == "state.1.h"
    assert input_name((0,)) == 0


def test_a_language_model_of_hugging_face_in_one_call(tmp_path):
    """Keywords in a mapping of its own, an output of its own, which holds a cache of its own."""
    transformers = pytest.importorskip("transformers")
    options = {"bos_token_id": 0, "eos_token_id": 0}
    config = transformers.GPT2Config(
        vocab_size=20, n_positions=16, n_embd=8, n_layer=1, n_head=2, **options
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.randint(0, 20, (2, 5))
    given = transformers.BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    aim = ("logits", pl.Target.token(7, position=[4, 2]))
    found = pl.explain(model, given, "saliency", target=aim)
    assert_close(found.score, model(**given).logits[[0, 1], [4, 2], 7].detach())
    assert list(found.values) == ["input_ids", "attention_mask"]
    assert found.values["input_ids"].shape == ids.shape
    assert found.output["past_key_values"] is None
    assert pl.load(found.save(tmp_path / "e.safetensors")) == found
    cut = pl.explain(model, given, "saliency", target=aim, batch_size=1)
    assert_close(cut.values["input_ids"], found.values["input_ids"])
