"""Neighbours beside a search of every pair."""

import itertools
from collections import OrderedDict

import pandas as pd
import pytest
import torch
from torch import nn

from pellucid.errors import InputError, UnknownNameError
from pellucid.exemplar.neighbours import neighbours
from pellucid.inspect import distances
from pellucid.plot.color import number


def data(seed=0, samples=30, features=4):
    return torch.randn(samples, features, generator=torch.Generator().manual_seed(seed)).double()


def brute(x, data, k, allowed):
    """The nearest allowed rows of each input, one pair at a time."""
    found = []
    for i, a in enumerate(x):
        far = sorted((float((a - b).norm()), j) for j, b in enumerate(data) if allowed(i, j))
        found.append([j for _, j in far[:k]])
    return found


@pytest.mark.parametrize("held", [2**22, 17])
def test_they_are_those_of_a_search_of_every_pair(held, monkeypatch):
    monkeypatch.setattr(distances, "HELD", held)
    known, x = data(), data(1, 5)
    labels, classes = [i % 3 for i in range(30)], [0, 1, 2, 0, 1]
    found = neighbours(None, x, known, labels=labels, classes=classes, k=4)
    assert found.nearest.index.tolist() == brute(x, known, 4, lambda i, j: True)
    assert found.same.index.tolist() == brute(x, known, 4, lambda i, j: labels[j] == classes[i])
    assert found.other.index.tolist() == brute(x, known, 4, lambda i, j: labels[j] != classes[i])
    far = (x[:, None] - known[found.nearest.index]).norm(dim=2)
    torch.testing.assert_close(found.nearest.distance, far)
    near = torch.tensor(labels)[found.nearest.index]
    share = (near == torch.tensor(classes)[:, None]).float().mean(1)
    torch.testing.assert_close(found.support, share)
    margin = found.other.distance[:, 0] / found.same.distance[:, 0]
    torch.testing.assert_close(found.margin, margin)
    assert len(found.to_frame()) == 3 * 4 * 5


def test_by_the_angle():
    known, x = data(), data(1, 5)
    found = neighbours(None, x, known, k=30, metric="cosine")
    cos = nn.functional.cosine_similarity(x[:, None], known[None], dim=2)
    torch.testing.assert_close(found.nearest.distance, 1 - cos.sort(descending=True).values)
    assert found.same is None
    assert found.support is None


def test_no_sample_is_its_own_neighbour():
    known = data()
    rows = [3, 8]
    found = neighbours(None, known[rows], known, k=5, rows=rows)
    assert found.nearest.index.tolist() == brute(known[rows], known, 5, lambda i, j: j != rows[i])
    assert neighbours(None, known[rows], known, k=1).nearest.index.flatten().tolist() == rows


def test_the_class_is_what_the_model_says():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    known, x = data(), data(1, 4)
    predicted = net(x).argmax(1)
    words = ["cat" if i % 2 == 0 else "dog" for i in range(30)]
    found = neighbours(net, x, known, "1", words, k=3)
    assert found.classes == tuple(["cat", "dog"][i] for i in predicted.tolist())
    with torch.no_grad():
        features, queries = net[:2](known), net[:2](x)
    wanted = brute(queries, features, 3, lambda i, j: words[j] == found.classes[i])
    assert found.same.index.tolist() == wanted
    assert neighbours(net, x, known, "1", [0, 1] * 15, k=3).classes == tuple(predicted.tolist())
    assert net[0].weight.grad is None


def test_copies_are_at_no_distance():
    known = data() * 1e4 + 1e7
    found = neighbours(None, known[:3], torch.cat([known, known[:1]]), k=2, labels=[0] * 30 + [1],
                       classes=[0] * 3)  # fmt: skip
    assert found.nearest.distance[:, 0].tolist() == [0, 0, 0]
    assert float(found.margin[0]) == 1, "as near to one class as to the other"


def test_labels_that_come_with_the_inputs():
    x, labels = data(), [i % 2 for i in range(30)]
    found = neighbours(None, (x[:4], torch.tensor(labels[:4])), (x, torch.tensor(labels)), k=2)
    assert found.classes == (0, 1, 0, 1)
    with pytest.raises(InputError, match="must both be numbers, or both words; got"):
        neighbours(None, x[:1], x, labels=labels, classes=["a"])


def test_where_there_are_fewer_than_wanted():
    found = neighbours(None, data(1, 1), data(0, 6), labels=[0, 0, 1, 1, 1, 1], classes=[0], k=3)
    assert (found.same.index >= 0).sum() == 2
    assert found.same.index[0, 2] == -1
    assert found.same.distance[0, 2] == torch.inf
    assert len(found.to_frame().query("kind == 'same class'")) == 2
    assert len(found.plot(pictures=lambda row: row.reshape(2, 2)).axes) == 1 + 2 + 3


def test_what_cannot_be_used():
    x = data()
    with pytest.raises(InputError, match="`k` must be at most 30, the samples there are; got 31"):
        neighbours(None, x, x, k=31)
    with pytest.raises(InputError, match="`k` must be at most 29"):
        neighbours(None, x, x, k=30, rows=range(30))
    with pytest.raises(InputError, match="must have the same features; got 3 and 4 of them"):
        neighbours(None, x[:, :3], x)
    with pytest.raises(UnknownNameError, match="Did you mean 'cosine'"):
        neighbours(None, x, x, metric="cosin")
    for rows in ([0, 30], [0.0, 1.0], torch.tensor([True, False])):
        with pytest.raises(InputError, match="`rows` must be the places of the 2 inputs"):
            neighbours(None, x[:2], x, rows=rows)
    mixed = torch.utils.data.DataLoader(x, 5, shuffle=True)
    for what, given in (("Data", (x, mixed)), ("Inputs", (mixed, x))):
        with pytest.raises(InputError, match=f"{what} must come in the same order .*; got a load"):
            neighbours(None, *given)
    net = nn.Linear(4, 3).double()
    with pytest.raises(
        InputError, match="`classes` of the inputs must be given .* 2 labels, and 3"
    ):
        neighbours(net, x, x, labels=["a", "b"] * 15)
    with pytest.raises(UnknownNameError, match="Did you mean 'fc'"):
        neighbours(nn.Sequential(OrderedDict(fc=net)), x, x, "fcc")


def test_an_outlier_takes_no_digits_from_those_that_lie_together():
    """Squares of lengths of 1e12 leave none to distances of 1e-3."""
    near = data(samples=60) * 1e-3
    known = torch.cat([near, torch.full((1, 4), 1e6, dtype=torch.float64)])
    found = neighbours(None, near[:8], known, k=4)
    assert found.nearest.index.tolist() == brute(near[:8], known, 4, lambda i, j: True)


def test_zeros_have_no_angle():
    known = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1e-30, 1e-30], [-1.0, 0.0]])
    found = neighbours(None, torch.tensor([[1e-25, 0.0], [0.0, 0.0]]), known, k=4, metric="cosine")
    first, second = found.nearest.index.tolist()
    assert (first[0], set(first[1:3]), first[3], second[0]) == (2, {0, 1}, 3, 0)
    wanted = torch.tensor([[1 - 0.5**0.5, 1, 1, 2], [0, 1, 1, 1]], dtype=torch.float64)
    torch.testing.assert_close(found.nearest.distance, wanted)


def test_copies_come_in_their_order():
    known = torch.tensor([[0.0], [3.0], [0.0], [3.0], [0.0], [9.0]])
    found = neighbours(None, torch.tensor([[1.0]]), known, k=5)
    assert found.nearest.index.tolist() == [[0, 2, 4, 1, 3]]


def test_figures_of_long_names():
    x, names = torch.rand(6, 1, 4, 4), ["a class with a very long name", "b"] * 3
    figure = neighbours(None, x[:1], x, labels=names, classes=names[:1], k=2).plot()
    figure.draw_without_rendering()
    titles = [ax.title.get_window_extent() for ax in figure.axes]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(titles, 2))
    frame = pd.DataFrame(data(), columns=[f"a_column_with_a_long_name_{i}" for i in range(4)])
    drawn = neighbours(None, frame.iloc[:1], frame, k=1).plot()
    for line, value in zip(
        drawn.axes[0].texts[0].get_text().split("\n"), frame.iloc[0], strict=True
    ):
        assert line.startswith("a_col")
        assert line.endswith(f": {number(value)}"), "a value is not cut"


def test_amounts_are_no_classes():
    net, x = nn.Linear(4, 1).double(), data()
    found = neighbours(net, x[:2], x, labels=x[:, 0], k=3)
    assert found.classes is found.same is found.other is None
    assert found.to_frame()["label"].tolist() == [
        found.labels[row] for row in found.nearest.index.flatten().tolist()
    ]
