"""What part of the relevance has moved between two models."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pellucid as pl
from pellucid.evaluate import diff, moved


def line(*weights):
    """A linear model of one score."""
    w = torch.tensor(weights)
    return lambda x: (x * w).sum(1, keepdim=True)


ONES = torch.ones(1, 3)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ((1.0, 2.0, 1.0), (1.0, 2.0, 1.0), 0.0),
        ((1.0, 2.0, 1.0), (3.0, 6.0, 3.0), 0.0),
        ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), 1.0),
        ((1.0, 1.0, 0.0), (1.0, -1.0, 0.0), 0.5),
        ((1.0, 1.0, 0.0), (1.0, 0.0, 1.0), 0.5),
        ((1.0, 1.0, 0.0), (0.0, 0.0, 0.0), 1.0),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0),
    ],
)
def test_it_is_half_the_sum_of_differences_of_shares(a, b, distance):
    found = diff(line(*a), line(*b), ONES, "gradient_x_input", target=0)
    assert found.distance.tolist() == pytest.approx([distance])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.floats(-9, 9), min_size=4, max_size=4), min_size=3, max_size=3))
def test_it_is_a_distance(weights):
    found = [pl.explain(line(*w), torch.ones(1, 4), "gradient_x_input", target=0) for w in weights]
    ab, bc, ac, ba = (float(moved(found[i], found[j])) for i, j in ((0, 1), (1, 2), (0, 2), (1, 0)))
    assert ab == pytest.approx(ba)
    assert 0 <= ac <= ab + bc + 1e-9
    assert ac <= 1 + 1e-9


def nets():
    """A net of two classes, and the same with its second class turned."""
    torch.manual_seed(0)
    a = torch.nn.Linear(4, 2)
    b = torch.nn.Linear(4, 2)
    b.load_state_dict(a.state_dict())
    with torch.no_grad():
        b.weight[1] *= torch.tensor([1.0, -1.0, 1.0, -1.0])
    return a, b


def test_samples_that_changed_are_counted_by_class_and_the_worst_come_first():
    a, b = nets()
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(1))
    found = diff(a, b, x, "gradient_x_input", tolerance=0.2)
    ones = a(x).argmax(1) == 1
    assert found.changed.tolist() == (ones & (found.distance > 0.2)).tolist()
    assert float(found.distance[~ones].max()) < 1e-6  # class 0 is the same in both
    worst = found.distance[found.worst]
    assert worst.tolist() == sorted(worst.tolist(), reverse=True)
    table = found.by_class().set_index("class")
    assert table.changed.to_dict() == {0: 0, 1: int(found.changed.sum())}
    other = (a(x).argmax(1) != b(x).argmax(1)).sum()
    assert table.other_class.sum() == other
    assert f"{int(found.changed.sum())} of 30 explained differently: more than 20%" in repr(found)


def test_both_are_asked_for_the_class_of_the_first():
    a, b = nets()
    found = diff(a, b, torch.randn(9, 4), "saliency")
    assert found.b.target == found.a.target


def test_labels_group_where_a_model_has_no_classes():
    x = torch.rand(4, 3)
    plain = diff(line(1.0, 2.0, 3.0), line(1.0, 2.0, 0.0), x, "gradient_x_input", target=0)
    with pytest.raises(pl.errors.InputError, match=r"must have classes.*Pass labels="):
        plain.by_class()
    labels = torch.tensor([0, 1, 1, 0])
    told = diff(
        line(1.0, 2.0, 3.0), line(1.0, 2.0, 0.0), x, "gradient_x_input", target=0, labels=labels
    )
    assert told.by_class()["samples"].tolist() == [2, 2]
    with pytest.raises(pl.errors.InputError, match="one class for each of 4 samples"):
        diff(line(1.0), line(1.0), torch.rand(4, 1), "saliency", target=0, labels=[1])


def test_maps_are_drawn_side_by_side():
    x = torch.rand(5, 3, 4, 4)
    torch.manual_seed(0)
    a, b = (
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2)).eval() for _ in range(2)
    )
    figure = diff(a, b, x, "gradient_x_input").plot([3, 1])
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[1:3] == titles[4:6] == ["A", "B"]
    assert titles[0].startswith("sample 3: ")


def test_a_map_that_is_not_finite_has_moved():
    """A model that gives no numbers must not pass for one that has not changed."""

    def broken(x):
        return (x * torch.tensor([1.0, 2.0, 3.0])).sum(1, keepdim=True) * x[:, :1].log()

    x = torch.ones(3, 3)
    x[1, 0] = -1.0  # of which there is no logarithm
    for first, second in ((broken, line(1.0, 2.0, 3.0)), (broken, broken)):
        found = diff(first, second, x, "gradient_x_input", target=0)
        assert found.distance[1] == 1
        assert bool(found.changed[1])
    assert found.distance.tolist() == [0, 1, 0]


def test_labels_may_be_names():
    found = diff(line(1.0, 2.0), line(1.0, 0.0), torch.rand(3, 2), "saliency", labels=list("aba"))
    assert found.by_class()["class"].tolist() == ["a", "b"]
    assert found.by_class()["samples"].tolist() == [2, 1]


def test_a_tolerance_is_a_part_and_samples_are_as_many():
    with pytest.raises(pl.errors.InputError, match="`tolerance` must be a part of the relevance"):
        diff(line(1.0), line(1.0), torch.rand(4, 1), "saliency", target=0, tolerance=10)
    found = pl.explain(line(1.0, 2.0), torch.rand(3, 2), "saliency", target=0)
    with pytest.raises(pl.errors.InputError, match="as many samples .*; got 3 and 2"):
        moved(found, found[:2])
