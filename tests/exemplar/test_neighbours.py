"""Neighbours beside a search of every pair."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from pellucid.errors import InputError, UnknownNameError
from pellucid.exemplar.neighbours import neighbours
from pellucid.inspect import distances


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
    with pytest.raises(InputError, match="`rows` must be the places of the 2 inputs"):
        neighbours(None, x[:2], x, rows=[0, 30])
    net = nn.Linear(4, 3).double()
    with pytest.raises(
        InputError, match="`classes` of the inputs must be given .* 2 labels, and 3"
    ):
        neighbours(net, x, x, labels=["a", "b"] * 15)
    with pytest.raises(UnknownNameError, match="Did you mean 'fc'"):
        neighbours(nn.Sequential(OrderedDict(fc=net)), x, x, "fcc")
