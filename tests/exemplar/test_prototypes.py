"""Prototypes and criticisms beside slow versions: whole kernels, and every choice tried."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

import pellucid as pl
from pellucid.errors import InputError, UnknownNameError
from pellucid.exemplar import selection
from pellucid.exemplar.kernel import Kernel, usual_gamma
from pellucid.exemplar.prototypes import prototypes
from pellucid.exemplar.selection import Chosen
from pellucid.inspect import distances


def points(seed, samples=14, features=2):
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.normal(size=(samples, features)))


def whole(x, gamma):
    """The kernel of every pair, one by one."""
    return np.array([[math.exp(-gamma * float(((a - b) ** 2).sum())) for a in x] for b in x])


def value(k, rows):
    """J of Kim et al., from the whole kernel."""
    rows = list(rows)
    return 2 * k[:, rows].mean() - k[np.ix_(rows, rows)].mean()


def slow_greedy(k, count):
    S = []
    for _ in range(count):
        S.append(max((i for i in range(len(k)) if i not in S), key=lambda i: value(k, [*S, i])))
    return S


def slow_weights(kernel, mu, rows):
    """The best weights above zero, by a general optimizer."""
    k, m = kernel[np.ix_(rows, rows)], mu[rows]
    found = minimize(
        lambda w: w @ k @ w / 2 - m @ w, np.full(len(m), 1 / len(m)), jac=lambda w: k @ w - m,
        bounds=[(0, None)] * len(m), method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-12},
    )  # fmt: skip
    return found.x


def slow_protodash(kernel, count):
    K = kernel
    mu, S, w = K.mean(0), [], np.zeros(0)
    for _ in range(count):
        slope = mu - K[:, S] @ w
        S.append(max((i for i in range(len(K)) if i not in S), key=lambda i: slope[i]))
        w = slow_weights(K, mu, S)
    return S, w


def slow_criticisms(kernel, chosen, count, side):
    K = kernel
    far = K.mean(0) - K[:, chosen.rows] @ np.array(chosen.weights)
    far = np.abs(far) if side == "both" else far
    C = []
    for _ in range(count):
        free = [i for i in range(len(K)) if i not in C and i not in chosen.rows]
        free = [i for i in free if far[i] > 1e-10] or free
        C.append(
            max(free, key=lambda i: far[i] + np.linalg.slogdet(K[np.ix_([*C, i], [*C, i])])[1])
        )
    return C


def check_greedy(seed):
    x = points(seed)
    gamma = usual_gamma(x)
    assert selection.greedy_mmd(Kernel(samples=x, gamma=gamma), 4).rows == slow_greedy(
        whole(x, gamma), 4
    )


def check_protodash(seed):
    x = points(seed)
    gamma = usual_gamma(x)
    found = selection.protodash(Kernel(samples=x, gamma=gamma), 4)
    rows, weights = slow_protodash(whole(x, gamma), 4)
    assert found.rows == rows
    np.testing.assert_allclose(found.weights, weights, atol=1e-5)


def check_criticisms(seed):
    x = points(seed)
    kernel = Kernel(samples=x, gamma=usual_gamma(x))
    chosen = selection.greedy_mmd(kernel, 3)
    for side in ("both", "missing"):
        found = selection.criticize(kernel, chosen, 4, side=side)
        assert found == slow_criticisms(whole(x, kernel.gamma), chosen, 4, side)


def check_mmd(seed):
    x = points(seed)
    kernel, K = Kernel(samples=x, gamma=0.7), whole(x, 0.7)
    w = np.zeros(len(x))
    w[[1, 5]] = 0.3, 0.9
    d = np.full(len(x), 1 / len(x)) - w
    found = selection.squared_mmd(kernel, Chosen([1, 5], [0.3, 0.9]))
    np.testing.assert_allclose(found, d @ K @ d, atol=1e-12)


CHECKS = (check_greedy, check_protodash, check_criticisms, check_mmd)


def check_all():
    for check, seed in itertools.product(CHECKS, range(4)):
        check(seed)


def test_searches_are_those_of_the_papers():
    check_all()


_COLUMNS, _WITHIN = Kernel.columns, Kernel.within
MUTANTS = {
    "mean of the wrong kernel": (Kernel, "mean", property(lambda k: k.columns([0])[:, 0])),
    "kernel without its square": (
        Kernel, "columns", lambda k, rows: _COLUMNS(k, rows).sqrt(),
    ),
    "within the wrong samples": (Kernel, "within", lambda k, rows: _WITHIN(k, rows[::-1]) * 2),
    "weights that add up to one": (
        selection, "best_weights", lambda k, m: np.full(len(m), 1 / len(m)),
    ),
    "the witness turned": (selection, "witness", lambda k, chosen: k.mean),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_search_is_noticed(name, monkeypatch):
    where, what, broken = MUTANTS[name]
    monkeypatch.setattr(where, what, broken)
    with pytest.raises(AssertionError):
        check_all()


def test_greedy_comes_to_the_guarantee_of_the_best():
    """At least 1 - 1/e of the optimum, which is found by trying every set."""
    for seed in range(6):
        x = points(seed, samples=11)
        kernel = Kernel(samples=x, gamma=usual_gamma(x))
        K = whole(x, kernel.gamma)
        for count in (2, 3, 4):
            best = max(value(K, S) for S in itertools.combinations(range(11), count))
            reached = value(K, selection.greedy_mmd(kernel, count).rows)
            assert (1 - 1 / math.e) * best <= reached <= best + 1e-12


def test_kmedoids_finds_the_best_of_small_data():
    for seed in range(4):
        x = torch.cat([points(seed, 5), points(seed + 50, 5) + 8, points(seed + 90, 4) - 8])
        far = torch.cdist(x, x)
        sets = itertools.combinations(range(len(x)), 3)
        best = min(sets, key=lambda rows: float(far[list(rows)].amin(0).sum()))
        assert sorted(selection.kmedoids(Kernel(samples=x, gamma=1.0), 3).rows) == list(best)


@pytest.mark.parametrize("how", ["mmd", "protodash"])
def test_the_order_of_samples_does_not_matter(how):
    x, order = points(3, 30), torch.randperm(30, generator=torch.Generator().manual_seed(1))
    first = prototypes(x, how=how, count=3)
    second = prototypes(x[order], how=how, count=3)
    assert first.gamma == pytest.approx(second.gamma, rel=1e-12)
    assert order[second.index].tolist() == first.index.tolist()
    assert order[second.criticisms].tolist() == first.criticisms.tolist()


def test_the_kernel_is_as_wide_as_the_median_of_all_pairs():
    x = torch.cat([points(0, 20), points(0, 3)])  # of which some are copies
    far = [float((a - b).square().sum()) for a, b in itertools.combinations(x, 2)]
    wanted = sorted(each for each in far if each > 0)
    assert usual_gamma(x) == pytest.approx(1 / wanted[(len(wanted) - 1) // 2])
    many = points(1, 3000)
    assert usual_gamma(many) == pytest.approx(usual_gamma(many[:2000]), rel=0.1)


def test_an_outlier_leaves_the_kernel_its_digits():
    x = torch.cat([points(0, 40) * 1e-3, torch.full((1, 2), 1e6, dtype=torch.float64)])
    kernel = Kernel(samples=x, gamma=usual_gamma(x))
    np.testing.assert_allclose(kernel.mean, whole(x, kernel.gamma).mean(0), rtol=1e-7)


def test_blocks_change_nothing(monkeypatch):
    x, labels = points(5, 40), torch.arange(40) % 3
    first = prototypes(x, labels=labels, count=3)
    monkeypatch.setattr(distances, "HELD", 7)
    second = prototypes(x, labels=labels, count=3)
    assert first.index.tolist() == second.index.tolist()
    assert first.criticisms.tolist() == second.criticisms.tolist()
    assert first.mmd == pytest.approx(second.mmd, abs=1e-12)


def test_each_class_has_its_own():
    x, labels = points(0, 30), [["b", "a", "c"][i % 3] for i in range(30)]
    found = prototypes(x, labels=labels, count=2, criticisms=1)
    assert found.classes == ("a", "a", "b", "b", "c", "c")
    assert all(labels[row] == own for row, own in zip(found.index, found.classes, strict=True))
    rows = found.criticisms.tolist()
    assert [labels[row] for row in rows] == ["a", "b", "c"] == list(found.criticism_classes)
    assert found.share.reshape(3, 2).sum(1).tolist() == pytest.approx([1, 1, 1])
    alone = prototypes(x[1::3], count=2, criticisms=1, gamma=found.gamma)
    assert (alone.index * 3 + 1).tolist() == found.index[:2].tolist()
    frame = found.to_frame()
    assert frame["kind"].tolist() == ["prototype"] * 6 + ["criticism"] * 3
    assert "3 criticisms of 3 classes" in repr(found)


def test_the_nearest_prototype_classifies():
    x, labels = points(1, 40), torch.arange(40) % 2
    x = x + 3 * labels[:, None]
    found = prototypes(x, labels=labels, count=2)
    far = torch.cdist(x, x[found.index])
    slow = [found.classes[i] for i in far.argmin(1).tolist()]
    assert found.classify(x) == slow
    assert (
        found.accuracy == found.score(x, labels) == (torch.tensor(slow) == labels).double().mean()
    )


def test_on_a_layer_of_a_model():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(),
                        nn.Linear(27, 2)).eval()  # fmt: skip
    x = torch.rand(20, 1, 5, 5)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    found = prototypes(x, net, "2", count=2, batch_size=3)
    features = net[:3](x).mean((2, 3))
    assert found.index.tolist() == prototypes(features.detach(), count=2).index.tolist()
    torch.testing.assert_close(found.features, features[found.index].detach())
    torch.testing.assert_close(found.inputs, x[found.index])
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not net[0]._forward_hooks
    assert net[0].weight.grad is None


def test_labels_that_come_with_the_data():
    x, labels = points(2, 12), torch.arange(12) % 2
    loader = [(x[:7], labels[:7]), (x[7:], labels[7:])]
    wanted = prototypes(x, labels=labels, count=1).index.tolist()
    for data in (loader, (x, labels)):
        found = prototypes(data, count=1)
        assert found.index.tolist() == wanted
        assert found.classes == (0, 1)


def test_criticisms_of_what_has_too_few_prototypes():
    x, lone = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)), torch.ones(1, 2) * 3
    data = torch.cat([x, lone])
    missing = prototypes(data, count=2, criticisms=1, diversity=0, side="missing")
    for diversity in (1, 9):
        found = prototypes(data, count=2, criticisms=5, diversity=diversity)
        assert bool((found.witness > 0).all())
        assert not found.notes
    assert (
        missing.criticisms.tolist() == prototypes(data, count=2, criticisms=1).criticisms.tolist()
    )
    both = prototypes(data, count=2, criticisms=1, diversity=0, side="both")
    assert abs(float(both.witness[0])) >= float(missing.witness[0])


def test_the_size_of_the_witness_takes_what_looks_typical():
    """Why `side` is not the one of the paper: few prototypes weigh too much where they are."""
    x = torch.cat([points(0, 40), points(1, 6) * 0.1 + 4])
    near = {}
    for side in ("missing", "both"):
        found = prototypes(x, count=1, criticisms=1, side=side, gamma=0.5)
        near[side] = float(torch.cdist(x[found.criticisms], x[found.index]).min())
    assert near["missing"] > 4, "among those far off"
    assert near["both"] < 0.5, "next to the prototype"


def test_labels_of_several_kinds_have_an_order():
    labels = np.array(["b", 1, "a"] * 10, dtype=object)
    assert list(prototypes(points(0, 30), labels=labels, count=1).mmd) == [1, "a", "b"]


def test_copies_are_no_criticisms():
    x = torch.tensor([[0.0]] * 6 + [[1.0]] * 6)
    found = prototypes(x, count=2, criticisms=3, side="both")
    assert sorted(x[found.index].flatten().tolist()) == [0, 1]
    assert len(found.criticisms) == 2, "one of each, for a third is a copy"
    assert any("copies" in note for note in found.notes)
    assert "lack no prototypes" in prototypes(x, count=2, criticisms=1).notes[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = prototypes(x, count=4, criticisms=0, how="kmedoids").index.tolist()
    assert len(set(rows)) == 4
    dash = prototypes(x, count=4, criticisms=0, how="protodash")
    assert len(dash) == 2
    assert any("no other gets a weight" in note for note in dash.notes)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_features_follow_the_input(dtype):
    found = prototypes(points(0).to(dtype), count=2)
    assert found.features.dtype is (torch.float64 if dtype is torch.float64 else torch.float32)
    assert found.inputs.dtype is dtype


def test_what_cannot_be_used():
    x = points(0)
    with pytest.raises(InputError, match="as many samples of class 1 as prototypes and criticisms"):
        prototypes(x, labels=[0] * 12 + [1] * 2)
    with pytest.raises(UnknownNameError, match="Did you mean 'mmd'"):
        prototypes(x, how="mmmd")
    with pytest.raises(InputError, match="`labels` must be one for each of the 14 samples"):
        prototypes(x, labels=[0, 1])
    with pytest.raises(InputError, match="A layer must be one of a model; got no model, and 'fc'."):
        prototypes(x, layer="fc")
    with pytest.raises(InputError, match="must be finite; got 2 values"):
        prototypes(torch.where(torch.arange(14)[:, None] == 3, torch.nan, x))
    with pytest.raises(InputError, match="`gamma` must be a number above 0"):
        prototypes(x, gamma=0)
    with pytest.raises(InputError, match="`labels` must be classes, .*; got amounts, 14 different"):
        prototypes(x, labels=x[:, 0])
    plain = prototypes(x)
    with pytest.raises(InputError, match="Prototypes must have classes .*; got .* without labels"):
        plain.score(x, [0] * 14)
    sorted_ = prototypes(x, labels=[0, 1] * 7)
    with pytest.raises(InputError, match="must have the 2 features of the prototypes; got 1 feat"):
        sorted_.classify(x[:, :1])
    with pytest.raises(InputError, match="Data must come in the same order .*; got a loader that"):
        prototypes(torch.utils.data.DataLoader(x, 5, shuffle=True))
    with pytest.raises(InputError, match="The prototypes must be at hand to be drawn"):
        prototypes(iter([x])).plot()


def test_pictures_of_them():
    x = torch.rand(12, 1, 4, 4)
    figure = prototypes(x, labels=[0, 1] * 6, count=2, criticisms=1).plot(most=1)
    assert len(figure.axes) == 4, "of two classes one prototype and one criticism"
    flat = prototypes(x.flatten(1), count=2, criticisms=0)
    drawn = flat.plot(pictures=lambda row: row.reshape(4, 4), dark=True)
    assert [len(ax.images) for ax in drawn.axes] == [1, 1]


def test_a_title_is_not_cut():
    figure = prototypes(torch.rand(5, 1, 4, 4), count=1, criticisms=0).plot()
    figure.draw_without_rendering()
    assert figure.texts[0].get_window_extent().x1 < figure.bbox.width


def test_samples_of_several_tensors_are_drawn_as_pictures_or_words():
    data = {"ids": torch.randint(9, (12, 5)), "x": torch.rand(12, 3)}
    found = prototypes(data, count=2, criticisms=0)
    with pytest.raises(InputError, match="`pictures` must say how a sample of several tensors"):
        found.plot()
    said = found.plot(pictures=lambda inputs: " ".join(map(str, inputs["ids"][0].tolist())))
    words = [ax.texts[0].get_text() for ax in said.axes]
    assert words == [" ".join(map(str, data["ids"][i].tolist())) for i in found.index]
    drawn = found.plot(pictures=lambda inputs: inputs["x"])
    assert [len(ax.images) for ax in drawn.axes] == [1, 1]


@pytest.mark.slow
def test_on_digits_they_beat_random_ones_and_come_near_to_medoids():
    """The nearest-prototype error of held-out digits, as in figure 2 of Kim et al."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = torch.from_numpy(digits.data[order]), digits.target[order]
    train, test = slice(1000), slice(1000, None)
    for count in (2, 4, 8):
        error = {
            how: 1 - prototypes(x[train], labels=y[train], count=count, criticisms=0, how=how)
            .score(x[test], y[test])
            for how in ("mmd", "protodash", "kmedoids")
        }  # fmt: skip
        chance = [
            1 - prototypes(x[train], labels=y[train], count=count, criticisms=0, how="random",
                           seed=seed).score(x[test], y[test])
            for seed in range(10)
        ]  # fmt: skip
        assert max(error.values()) < min(chance)
        assert max(error["mmd"], error["protodash"]) < error["kmedoids"] + 0.02


def test_the_room_has_them():
    assert pl.exemplar.prototypes is prototypes
