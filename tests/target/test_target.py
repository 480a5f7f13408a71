"""A target reads one score for each sample."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import TargetError, UnknownNameError
from pellucid.target import Target

LOGITS = torch.tensor([[1.0, 5.0, 2.0], [4.0, 0.0, 3.0]], dtype=torch.float64)


def score(target: object, output: object = LOGITS) -> list[float]:
    resolved = Target.of(target).resolve(output, 2)
    return resolved.score(output, output).tolist()


def test_none_is_the_predicted_class_of_each_sample():
    assert score(None) == [5, 4]
    assert Target.of(None).resolve(LOGITS, 2).classes == (1, 0)


@pytest.mark.parametrize("index", [2, np.int64(2), torch.tensor(2), -1], ids=type)
def test_an_index_is_that_class_for_all(index):
    assert score(index) == [2, 3]


@pytest.mark.parametrize("indices", [[2, 1], torch.tensor([2, 1]), np.array([2, 1])], ids=type)
def test_a_list_is_one_class_a_sample(indices):
    assert score(indices) == [2, 0]


def test_a_pair_is_a_contrast():
    assert score((1, 2)) == [3, -3]
    assert score(Target.contrast(1, 2)) == score((1, 2))


def test_a_path_starts_with_a_string():
    nested = {"head": (None, LOGITS)}
    assert score(("head", 1, 2), nested) == [2, 3]
    assert score(("logits",), {"logits": LOGITS}) == [5, 4]
    assert score(("logits", (1, 2)), {"logits": LOGITS}) == [3, -3]


def test_a_path_that_starts_with_a_number():
    assert score(Target.path(1, target=2), (None, LOGITS)) == [2, 3]


def test_probability_and_log_odds():
    p = LOGITS.softmax(1)[:, 1]
    assert_close(torch.tensor(score(Target.probability(1))), p.float())
    assert_close(torch.tensor(score(Target.log_odds(1))), (p / (1 - p)).log().float())


def test_log_odds_stay_finite_where_the_probability_is_one():
    sure = torch.tensor([[800.0, 0.0, 0.0]] * 2)
    assert score(Target.log_odds(0), sure) == pytest.approx([800 - np.log(2)] * 2)


def test_a_callable_gets_the_output_as_it_is():
    assert score(lambda output: output["x"].sum(1), {"x": LOGITS}) == [8, 7]


def test_one_score_a_sample_needs_no_class():
    assert score(None, LOGITS[:, 0]) == [1, 4]


def test_a_softmax_at_the_end_is_left_out_but_not_for_a_callable():
    layer = torch.nn.Linear(3, 4)
    model, x = torch.nn.Sequential(layer, torch.nn.Softmax(1)), torch.randn(2, 3)
    before = pl.explain(model, x, "saliency", target=1)
    assert_close(before.score, layer(x)[:, 1].detach())
    assert any("softmax" in note for note in before.notes)
    assert_close(before.output, model(x).detach())
    asked = pl.explain(model, x, "saliency", target=lambda output: output[:, 1])
    assert_close(asked.score, model(x)[:, 1].detach())
    assert not asked.notes
    probability = pl.explain(model, x, "saliency", target=Target.probability(1))
    assert_close(probability.values, asked.values)


def test_a_sigmoid_at_the_end_stays():
    model, x = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Sigmoid()), torch.randn(2, 3)
    assert_close(pl.explain(model, x, "saliency").score, model(x).squeeze(1).detach())


def test_targets_of_batches_are_joined():
    parts = [Target.of([2, 1]), Target.of([0])]
    assert Target.of([2, 1, 0]).join(parts, [2, 1]).classes == (2, 1, 0)
    assert Target.of(1).join([Target.of(1), Target.of(1)], [2, 1]) == Target.of(1)
    assert Target().join([Target.of([1]), Target.of([2, 2])], [1, 2]).classes == (1, 2, 2)


def test_batches_that_predict_alike_still_name_one_class_a_sample():
    x = torch.tensor([[0, 5.0, 0], [0, 1, 9], [0, 5.0, 0], [0, 1, 9]])
    found = pl.explain(lambda x: x * 2, x, "saliency", batch_size=2)
    assert found.target.classes == (1, 2, 1, 2)
    assert [each.target.classes for each in found] == [(1,), (2,), (1,), (2,)]


def test_the_target_of_an_explanation_is_the_resolved_one():
    model, x = torch.nn.Linear(3, 4), torch.randn(5, 3)
    whole = pl.explain(model, x, "saliency")
    assert whole.target.classes == tuple(model(x).argmax(1).tolist())
    assert pl.explain(model, x, "saliency", batch_size=2).target == whole.target
    assert whole[3].target.classes == whole.target.classes[3:4]


@given(
    st.lists(st.integers(0, 2), min_size=2, max_size=2),
    st.lists(st.floats(-9, 9), min_size=6, max_size=6),
)
def test_a_list_reads_what_indexing_reads(classes, numbers):
    output = torch.tensor(numbers, dtype=torch.float64).reshape(2, 3)
    assert score(classes, output) == [output[i, k].item() for i, k in enumerate(classes)]


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (None, "Target.predicted(None)"),
        (3, "Target.index(3)"),
        ((3, 1), "Target.contrast(3, 1)"),
        (("logits", 3), "Target.index(3)['logits']"),
        (Target.log_odds(3), "Target.log_odds(3)"),
    ],
)
def test_repr(target, shown):
    assert repr(Target.of(target)) == shown


@pytest.mark.parametrize(
    "wrong", ["cat", 1.5, [], True, [1, "a"], torch.ones(2), {"a": 1}], ids=repr
)
def test_what_is_no_target_is_refused(wrong):
    with pytest.raises(TargetError, match=r"`target` must be a class index, .*; got "):
        Target.of(wrong)


def test_a_path_that_leads_nowhere_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"got 'logit'. Did you mean 'logits'\?"):
        score(("logit", 1), {"logits": LOGITS})


def test_a_gradient_flows_through_every_kind():
    x = LOGITS.clone().requires_grad_()
    for target in [None, 1, [0, 2], (0, 1), Target.probability(1), Target.log_odds(1)]:
        found = Target.of(target).resolve(x, 2).score(x, x)
        (gradient,) = torch.autograd.grad(found.sum(), x)
        assert isinstance(gradient, Tensor)
        assert gradient.abs().sum() > 0
