"""Embeddings beside the formulas: affinities one by one, ranks, and a decomposition."""

import itertools
import sys

import numpy as np
import pytest
import torch
from sklearn import manifold
from torch import nn

from pellucid.errors import InputError, MissingExtraError, UnknownNameError
from pellucid.inspect import distances, embed, tsne
from pellucid.inspect.tsne import affinities, perplexities, trustworthiness


def points(seed, samples=40, features=6):
    return torch.randn(samples, features, generator=torch.Generator().manual_seed(seed)).double()


def slow_perplexity(row):
    """2^H of one row, number by number."""
    return 2 ** -sum(p * np.log2(p) for p in row.tolist() if p > 0)


def check_affinities(seed):
    x = points(seed)
    near, p = affinities(x, 8.0)
    assert near.shape == (40, 25)
    for i in range(40):
        far = ((x - x[i]) ** 2).sum(1)
        far[i] = torch.inf
        order = far.argsort()[:25]
        assert near[i].tolist() == order.tolist()
        assert slow_perplexity(p[i]) == pytest.approx(8.0, rel=1e-9)
        beta = (p[i, 0] / p[i, -1]).log() / (far[order[-1]] - far[order[0]])
        q = (-beta * far[order]).exp()
        torch.testing.assert_close(p[i], q / q.sum())
    torch.testing.assert_close(p.sum(1), torch.ones(40).double())


def check_trustworthiness(seed):
    x, y = points(seed), points(seed + 9, features=2)
    for k in (1, 5, 12):
        wanted = manifold.trustworthiness(x.numpy(), y.numpy(), n_neighbors=k)
        assert trustworthiness(x, y, k) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("held", [2**22, 90])
def test_affinities_and_ranks_are_those_of_the_papers(held, monkeypatch):
    monkeypatch.setattr(distances, "HELD", held)
    check_affinities(0)
    check_trustworthiness(0)


MUTANTS = {
    "too wide": ("perplexities", lambda p: _PERPLEXITIES(p) / 1.1),
    "entropy in nats": ("perplexities", lambda p: _PERPLEXITIES(p).log()),
    "distances not squared": ("blocks", lambda a, b: ((s, d.sqrt()) for s, d in _BLOCKS(a, b))),
    "the sample itself": ("blocks", lambda a, b: ((s, d.flip(1)) for s, d in _BLOCKS(a, b))),
}
_PERPLEXITIES, _BLOCKS = tsne.perplexities, tsne.blocks


@pytest.mark.parametrize("name", MUTANTS)
def test_broken_affinities_are_noticed(name, monkeypatch):
    what, broken = MUTANTS[name]
    monkeypatch.setattr(tsne, what, broken)
    with pytest.raises(AssertionError):
        check_affinities(0)


def test_the_perplexities_are_of_what_scikit_learn_draws():
    """Its joint probabilities, which it does not give away, are ours made symmetric."""
    from sklearn.manifold._t_sne import _joint_probabilities_nn
    from sklearn.neighbors import NearestNeighbors

    x = points(1)
    graph = NearestNeighbors(n_neighbors=25).fit(x.numpy()).kneighbors_graph(mode="distance")
    graph.data **= 2
    theirs = _joint_probabilities_nn(graph, 8.0, 0).toarray()
    near, p = affinities(x, 8.0)
    ours = torch.zeros(40, 40).double().scatter(1, near, p)
    np.testing.assert_allclose((ours + ours.T) / 80, theirs, atol=1e-6)


def test_copies_have_no_small_neighbourhood():
    _, p = affinities(torch.zeros(50, 2), 5.0)
    torch.testing.assert_close(perplexities(p), torch.full((50,), 16.0).double())


def test_principal_components():
    x = points(2)
    found = embed(None, x)
    u, s, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    wanted = (u * s)[:, :2]
    signs = (wanted * found.points).sum(0).sign()
    torch.testing.assert_close(found.points, wanted * signs)
    torch.testing.assert_close(found.explained, (s**2 / (s**2).sum())[:2])
    assert found.trustworthiness == pytest.approx(trustworthiness(x, found.points, 5))
    assert embed(None, x[:, :1]).points.shape == (40, 2)
    assert "of the variance" in repr(found)


def test_what_all_have_in_common_changes_nothing():
    x = points(2, 1500, 3) * torch.tensor([5.0, 4.0, 1.0])
    near, far = embed(None, x), embed(None, x + 1e8)
    torch.testing.assert_close(far.points, near.points, atol=1e-5, rtol=0)
    torch.testing.assert_close(far.explained, near.explained)


def test_of_a_layer_with_the_errors_of_the_model():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    x, labels = points(3), torch.arange(40) % 3
    found = embed(net, x, "1", how="tsne", labels=labels, perplexity=6)
    assert found.predicted == tuple(net(x).argmax(1).tolist())
    assert torch.equal(found.errors, net(x).argmax(1) != labels)
    again = embed(net, x, "1", how="tsne", labels=labels, perplexity=6, batch_size=7)
    assert torch.equal(found.points, again.points)
    torch.testing.assert_close(found.perplexities, torch.full((40,), 6.0).double())
    assert found.to_frame().columns.tolist() == ["x", "y", "label", "predicted"]
    words = embed(net, x, "1", labels=[["a", "b", "c"][i] for i in labels.tolist()])
    assert torch.equal(words.errors, found.errors)
    assert embed(net, x, "1", labels=["a", "b"] * 20).errors is None, "the model has three classes"


def test_drawn_as_points_and_as_pictures():
    x, labels = torch.rand(40, 1, 4, 4), [0, 1] * 20
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    found = embed(net, x, labels=labels)
    ax = found.plot()
    rings = ax.collections[-1].get_offsets()
    np.testing.assert_allclose(rings, found.points[found.errors].numpy(), rtol=1e-5)
    assert [words.get_text() for words in ax.texts] == ["0", "1"]
    assert f"red: {int(found.errors.sum())} of 40" in ax.get_xlabel()
    ax = found.plot(images=12, names=["even", "odd"], dark=True)
    assert 0 < len(ax.artists) <= 12
    assert [words.get_text() for words in ax.get_legend().get_texts()] == ["even", "odd"]
    flat = embed(None, x.flatten(1))
    with pytest.raises(InputError, match="Samples must be images to be drawn"):
        flat.plot(images=5)
    assert flat.plot(images=5, pictures=lambda row: row.reshape(4, 4)).artists


def test_many_classes_and_long_names_leave_room_for_the_points():
    x, long = points(5, 80), "a name that goes on and on and on and on"
    found = embed(None, x, labels=list(range(40)) * 2)
    ax = found.plot()
    said = [words.get_text() for words in ax.get_legend().get_texts()]
    assert said == [*map(str, range(23)), "and 17 more"]
    ax.figure.draw_without_rendering()
    assert ax.get_window_extent().width > 0.6 * ax.figure.bbox.width
    boxes = [words.get_window_extent() for words in ax.texts]
    assert 1 < len(boxes) < 40
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    ax = embed(None, x, labels=[long, "b"] * 40).plot()
    assert max(len(words.get_text()) for words in (*ax.texts, *ax.get_legend().get_texts())) < 40


def test_names_of_classes():
    x = points(5)
    for labels, wanted in (
        ([0.0, 2.0] * 20, ["p", "r"]), ([-1, 1, 2, 3] * 10, None), (["u", "v", "w"] * 13 + ["u"],
        ["p", "q", "r"]), ([1, 2, 3] * 13 + [1], ["p", "q", "r"]),
    ):  # fmt: skip
        found = embed(None, x, labels=labels)
        if wanted is None:
            with pytest.raises(InputError, match=r"`names` must be one for each of the 4 classes;"):
                found.plot(names=["p", "q", "r"])
        else:
            key = found.plot(names=["p", "q", "r"]).get_legend()
            assert [words.get_text() for words in key.get_texts()] == wanted


def test_labels_that_are_amounts_have_a_scale():
    x = points(4)
    found = embed(None, x, labels=x[:, 0])
    ax = found.plot()
    assert ax.get_legend() is None
    assert [each.get_ylabel() for each in ax.figure.axes] == ["", "label"]
    np.testing.assert_allclose(ax.collections[0].get_array(), x[:, 0])
    assert embed(None, x, labels=[0.0, 1.0] * 20).plot().get_legend() is not None


def test_what_cannot_be_used():
    x = points(0)
    with pytest.raises(UnknownNameError, match="Did you mean 'tsne'"):
        embed(None, x, how="tsen")
    with pytest.raises(InputError, match="`perplexity` must be at most 13 for 40 samples"):
        embed(None, x, how="tsne", perplexity=30)
    with pytest.raises(InputError, match="There must be at least 12 samples .*; got 8 samples"):
        embed(None, x[:8])
    for how in ("pca", "tsne"):  # of which scikit-learn's does not come back
        with pytest.raises(InputError, match="Samples must differ .*; got 20 that are all alike"):
            embed(None, torch.ones(20, 3), how=how)
    words = [f"text {i}" for i in range(20)]
    found = embed(lambda given: np.array([[len(t), int(t[5:])] for t in given]), words)
    with pytest.raises(InputError, match="Samples must be images to be drawn .*; got 'text 0'"):
        found.plot(images=3)
    with pytest.raises(InputError, match="`labels` must be one for each of the 40 samples"):
        embed(None, x, labels=[1])


def test_an_extra_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(MissingExtraError, match=r"Install pellucid\[embedding\]"):
        embed(None, points(0), how="opentsne")


@pytest.mark.slow
def test_on_features_of_digits_neighbours_stay_together():
    """Trustworthiness of at least 0.95, and every row at the perplexity that was asked for."""
    from sklearn.datasets import load_digits

    from pellucid.evaluate.retrain import Examples, Trainer

    digits = load_digits()
    x, y = torch.from_numpy(digits.data[:900]).float() / 16, torch.from_numpy(digits.target[:900])
    make = lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))  # noqa: E731
    net = Trainer(epochs=20, learning_rate=0.01)(make, Examples(x, y))
    for model, layer in ((net, "1"), (None, None)):
        found = embed(model, x, layer, how="tsne", labels=y)
        assert found.trustworthiness >= 0.95
        torch.testing.assert_close(
            found.perplexities, torch.full((900,), 30.0).double(), rtol=1e-6, atol=0
        )
        assert found.trustworthiness > embed(model, x, layer).trustworthiness + 0.05


@pytest.mark.slow
def test_with_open_tsne():
    pytest.importorskip("openTSNE")
    x = torch.cat([points(0, 60), points(1, 60) + 12])
    found = embed(None, x, how="opentsne", perplexity=10)
    assert found.trustworthiness > 0.9
    torch.testing.assert_close(found.perplexities, torch.full((120,), 10.0).double())
