"""Samples to label beside slow versions: every distance, every entropy, and every set."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import nn

import pellucid as pl
from pellucid.errors import InputError, UnknownNameError
from pellucid.exemplar import coverage, uncertainty
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


def test_small_margins():
    torch.manual_seed(0)
    model, x = nn.Linear(3, 4).double(), points(1, 20)
    with torch.no_grad():
        best = model(x).softmax(1).sort(1, descending=True).values
    slow = 1 - (best[:, 0] - best[:, 1])
    found = choose_to_label(model, points(2, 4), x, 5, "margin")
    assert found.index.tolist() == slow.argsort(descending=True)[:5].tolist()
    torch.testing.assert_close(found.score, slow[found.index])


def check_diverse():
    """Four heaps between two classes, of which the most uncertain lie in one: one from each."""
    heaps = torch.tensor([[0.0, 0.0], [0.3, 9.0], [0.3, -9.0], [0.3, 18.0]]).double()
    x = torch.cat([points(i, 10, 2) * 0.01 + heap for i, heap in enumerate(heaps)])
    sure = torch.cat([points(9, 40, 2) + torch.tensor([40.0, 0.0])] * 1)
    model = nn.Linear(2, 1).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0]]))
        model.bias.zero_()
    data = torch.cat([sure, x])
    found = choose_to_label(model, x[:1], data, 4, features="inputs")
    assert found.how == "diverse", "where there is a model"
    assert sorted((found.index - 40).div(10, rounding_mode="floor").tolist()) == [0, 1, 2, 3]
    slow = 1 - (2 * model(data).sigmoid() - 1).abs().flatten()
    torch.testing.assert_close(found.score, slow[found.index].detach())
    assert found.score.tolist() == sorted(found.score.tolist(), reverse=True)
    plain = choose_to_label(model, x[:1], data, 4, "margin")
    assert all(40 <= row < 50 for row in plain.index), "margins alone take one heap"


def test_diverse_picks_are_uncertain_and_unlike_each_other():
    check_diverse()


@pytest.mark.parametrize("name", ["doubts", "centers"])
def test_broken_diversity_is_noticed(name, monkeypatch):
    broken = {
        "doubts": lambda scores: -_DOUBTS(scores),
        "centers": lambda x, count, seed, weights: x[:count],
    }
    monkeypatch.setattr(uncertainty, name, broken[name])
    with pytest.raises(AssertionError):
        check_diverse()


_DOUBTS = uncertainty.doubts


def test_what_is_chosen_where_nothing_is_said():
    x = points(0, 30)
    assert choose_to_label(None, x[:3], x, 2).how == "coverage"
    assert choose_to_label(nn.Linear(3, 2).double(), x[:3], x, 2).how == "diverse"
    maps = nn.Sequential(nn.Linear(3, 8), nn.Unflatten(1, (2, 2, 2))).double()
    assert choose_to_label(maps, x[:3], x, 2).how == "coverage", "it has no scores of classes"
    first = choose_to_label(nn.Linear(3, 2).double(), x[:3], x, 30)
    assert sorted(first.index.tolist()) == list(range(30))


def test_explanations_of_what_comes_in_batches():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)).double(), points(1, 15)
    wanted = choose_to_label(net, x[:5], x, 4, "explanation").index.tolist()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, torch.arange(15)), 4)
    for data in (loader, (x, torch.arange(15)), [x[:9], x[9:]]):
        assert choose_to_label(net, x[:5], data, 4, "explanation").index.tolist() == wanted


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


def test_features_of_inputs_and_scores_come_from_one_pass():
    """What comes once is enough, and no row can be taken for another."""
    torch.manual_seed(0)
    net, x = nn.Linear(3, 4).double(), points(1, 20)
    wanted = choose_to_label(net, x[:3], x, 4, features="inputs").index.tolist()
    once = choose_to_label(net, x[:3], iter([x[:9], x[9:]]), 4, features="inputs")
    assert once.index.tolist() == wanted
    with torch.no_grad():
        table = lambda rows: net(torch.from_numpy(rows)).detach().numpy()  # noqa: E731
    of_table = choose_to_label(table, x[:3].numpy(), x.numpy(), 4, features="inputs")
    assert of_table.index.tolist() == wanted


class Words(nn.Module):
    """Tokens to `logits`, as models of texts return them."""

    def __init__(self):
        super().__init__()
        self.table, self.mix, self.head = nn.Embedding(9, 5), nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, ids):
        return {"logits": self.head(self.mix(self.table(ids)).relu().mean(1))}


def test_explanations_of_what_returns_logits_among_other_things():
    torch.manual_seed(0)
    model, ids = Words(), torch.randint(9, (14, 6))
    for layer in (None, "mix"):
        values = pl.explain(
            model, ids, pl.GradientXInput(at=layer), target=pl.Target.path("logits")
        ).values
        rows = values if layer is None else values.mean(1)
        rows = rows / rows.norm(dim=1, keepdim=True)
        found = choose_to_label(model, ids[:4], ids[4:], 4, "explanation", layer=layer)
        assert found.index.tolist() == slow_cover(rows[:4], rows[4:], 4)


def test_samples_without_an_explanation_are_unlike_all_others():
    """A dead net says nothing of them: their angle to what it says of others is a right one."""
    net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0], [1.0]]))
        net[2].weight.copy_(torch.tensor([[1.0, 1.0]]))
    x = torch.tensor([[1.0], [2.0], [-1.0]])
    found = choose_to_label(net, x[:1], x, 1, "explanation")
    assert found.index.tolist() == [2]
    assert float(found.distance) == pytest.approx(2**0.5)


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
    with pytest.raises(InputError, match="must be less sure of some .* of 0 and 1 alone for 6"):
        choose_to_label(lambda rows: np.eye(2)[(rows[:, 0] > 0).astype(int)], None, x.numpy(), 2,
                        "margin")  # fmt: skip
    mixed = torch.utils.data.DataLoader(x, 2, shuffle=True)
    for what, given in (("Unlabelled", (x, mixed)), ("Labelled", (mixed, x))):
        with pytest.raises(InputError, match=f"{what} samples must come in the same order"):
            choose_to_label(None, *given, 2)
    with pytest.raises(InputError, match='`layer` must be left out with features="inputs"'):
        choose_to_label(nn.Linear(3, 2).double(), x, x, 2, features="inputs", layer="0")


def test_pictures_of_what_each_adds():
    x = torch.rand(9, 1, 4, 4)
    found = choose_to_label(None, x[:4], x[4:], 3)
    figure = found.plot(dark=True)
    assert len(figure.axes) == 3 + 3 + 1
    bars = [bar.get_height() for bar in figure.axes[-1].patches]
    assert bars == pytest.approx(found.adds.tolist())
    assert len(choose_to_label(None, None, x, 3).plot().axes) == 3 + 1
    one = choose_to_label(None, x[:4], x[4:], 1).plot()
    one.draw_without_rendering()
    said = one.axes[-1].xaxis.label.get_window_extent()
    assert 0 < said.x0 < said.x1 < one.bbox.width, "one pick has room for its words"
    assert [tick.get_text() for tick in one.axes[-1].get_xticklabels()] == ["1"]
    assert found.to_frame().columns.tolist() == ["row", "score", "nearest", "distance", "adds"]
    assert "3 samples to label" in repr(found)
