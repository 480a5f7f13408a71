"""Samples to label beside slow versions: every distance, every entropy, and every set."""

import itertools

import pytest
import torch
from scipy.stats import entropy
from torch import nn

import pellucid as pl
from pellucid.errors import InputError, UnknownNameError
from pellucid.exemplar import coverage
from pellucid.exemplar.labelling import choose_to_label
from pellucid.inspect import distances


def points(seed, samples, features=3):
    return torch.randn(samples, features, generator=torch.Generator().manual_seed(seed)).double()


def slow_cover(labelled, samples, count):
    """Pick the farthest, with every distance taken anew."""
    rows = []
    for _ in range(count):
        known = torch.cat([labelled, samples[rows]])
        far = [float(min((a - b).norm() for b in known)) for a in samples]
        rows.append(max((i for i in range(len(samples)) if i not in rows), key=lambda i: far[i]))
    return rows


def mean_distance(labelled, samples):
    return torch.stack([(a - labelled).norm(dim=1).min() for a in samples]).mean()


def check_coverage(seed):
    labelled, samples = points(seed, 6), points(seed + 50, 25)
    found = choose_to_label(None, labelled, samples, 6)
    rows = slow_cover(labelled, samples, 6)
    assert found.index.tolist() == rows
    steps = [mean_distance(torch.cat([labelled, samples[rows[:n]]]), samples) for n in range(7)]
    torch.testing.assert_close(found.covered, torch.stack(steps))
    torch.testing.assert_close(found.adds, -torch.stack(steps).diff())
    assert bool((found.adds >= 0).all())
    for place, row in enumerate(rows):
        known = torch.cat([labelled, samples[rows[:place]]])
        assert float(found.score[place]) == pytest.approx(
            float((samples[row] - known).norm(dim=1).min())
        )
        assert int(found.nearest[place]) == int((samples[row] - labelled).norm(dim=1).argmin())


@pytest.mark.parametrize("held", [2**22, 11])
def test_coverage_takes_the_farthest(held, monkeypatch):
    monkeypatch.setattr(distances, "HELD", held)
    for seed in range(3):
        check_coverage(seed)


MUTANTS = {
    "the nearest is taken": ("distance_to", lambda known, x: -_DISTANCE(known, x)),
    "picks do not count": ("closer", lambda far, x, row: far),
    "one pick is all": ("closer", lambda far, x, row: far * 0),
}
_DISTANCE = coverage.distance_to


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_search_is_noticed(name, monkeypatch):
    what, broken = MUTANTS[name]
    monkeypatch.setattr(coverage, what, broken)
    with pytest.raises(AssertionError):
        check_coverage(0)


def test_the_largest_distance_left_is_at_most_twice_the_best():
    for seed in range(4):
        x = points(seed, 10)
        far = torch.cdist(x, x)
        best = min(float(far[list(s)].amin(0).max()) for s in itertools.combinations(range(10), 3))
        picked = choose_to_label(None, None, x, 3)
        assert best - 1e-12 <= float(far[picked.index].amin(0).max()) <= 2 * best
        assert int(picked.index[0]) == int(far.sum(1).argmin()), "the first is in the middle"
        assert picked.nearest.tolist() == [-1] * 3


def test_uncertain_samples_have_the_largest_entropy():
    torch.manual_seed(0)
    for model in (nn.Linear(3, 4), nn.Linear(3, 1), nn.Sequential(nn.Linear(3, 4), nn.Softmax(1))):
        model = model.double()
        x = points(1, 20)
        with torch.no_grad():
            out = model(x)
        chances = torch.cat([1 - out.sigmoid(), out.sigmoid()], 1) if out.shape[1] == 1 else (
            out if isinstance(model, nn.Sequential) else out.softmax(1))  # fmt: skip
        slow = torch.from_numpy(entropy(chances.numpy(), axis=1))
        found = choose_to_label(model, points(2, 4), x, 5, "uncertainty")
        assert found.index.tolist() == slow.argsort(descending=True)[:5].tolist()
        torch.testing.assert_close(found.score, slow[found.index])


def test_those_unlike_the_labelled_ones():
    labelled, x = points(0, 8), points(1, 20)
    far = torch.cdist(x, labelled).sort(1).values[:, :5].mean(1)
    found = choose_to_label(None, labelled, x, 4, "unlike")
    assert found.index.tolist() == far.argsort(descending=True)[:4].tolist()


def test_by_their_explanations():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)).double()
    labelled, x = points(0, 5), points(1, 15)
    before = [p.clone() for p in net.parameters()]

    def directions(data, at=None):
        values = pl.explain(net, data, pl.GradientXInput(at=at)).values
        return values / values.norm(dim=1, keepdim=True).clamp(min=1e-12)

    found = choose_to_label(net, labelled, x, 4, "explanation")
    assert found.index.tolist() == slow_cover(directions(labelled), directions(x), 4)
    found = choose_to_label(net, labelled, x, 4, "explanation", layer="1", batch_size=4)
    assert found.index.tolist() == slow_cover(directions(labelled, "1"), directions(x, "1"), 4)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True))
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_random_picks_follow_the_seed():
    x, state = points(0, 30), torch.get_rng_state()
    first = [choose_to_label(None, x, x, 5, "random", seed=s).index.tolist() for s in (0, 0, 1)]
    assert first[0] == first[1] != first[2]
    assert torch.equal(state, torch.get_rng_state())


def test_what_cannot_be_used():
    x = points(0, 6)
    with pytest.raises(InputError, match="`count` must be at most the 6 samples there are; got 7"):
        choose_to_label(None, x, x, 7)
    with pytest.raises(UnknownNameError, match="Did you mean 'coverage'"):
        choose_to_label(None, x, x, 2, "coverag")
    with pytest.raises(InputError, match=r"must return scores .* got no model. Take how=.coverage"):
        choose_to_label(None, x, x, 2, "uncertainty")
    with pytest.raises(InputError, match="There must be labelled samples to be unlike; got none"):
        choose_to_label(None, None, x, 2, "unlike")
    with pytest.raises(InputError, match="There must be a model to be explained"):
        choose_to_label(None, x, x, 2, "explanation")


def test_pictures_of_what_each_adds():
    x = torch.rand(9, 1, 4, 4)
    found = choose_to_label(None, x[:4], x[4:], 3)
    figure = found.plot(dark=True)
    assert len(figure.axes) == 3 + 3 + 1
    bars = [bar.get_height() for bar in figure.axes[-1].patches]
    assert bars == pytest.approx(found.adds.tolist())
    assert len(choose_to_label(None, None, x, 3).plot().axes) == 3 + 1
    assert found.to_frame().columns.tolist() == ["row", "score", "nearest", "distance", "adds"]
    assert "3 samples to label" in repr(found)
