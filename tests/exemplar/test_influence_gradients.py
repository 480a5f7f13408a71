"""Gradients of examples in factors, against those written out; memory and data they need."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset, TensorDataset

from pellucid.errors import InputError, ModelError
from pellucid.exemplar import CG, EKFAC, LiSSA, influence, self_influence
from pellucid.exemplar.influence import data, plan
from pellucid.exemplar.influence import gradients as room
from pellucid.exemplar.influence.data import Labelled
from pellucid.exemplar.influence.fitted import fitted
from pellucid.exemplar.influence.gradients import Flows
from pellucid.exemplar.influence.objective import Objective
from tests.exemplar.test_influence import (
    close,
    convolutional,
    digits,
    drawn,
    mutated,
    names_of,
    pulls,
    tiny,
    wrong,
)


class Tokens(nn.Module):
    """Layers that read tokens, one of them batch first or last, and one that reads a sample."""

    def __init__(self, first: bool = True, joined: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.head = nn.Linear(3, 4), nn.Linear(4, 3)
        self.first, self.joined = first, joined

    def forward(self, x: Tensor) -> Tensor:
        if self.joined:
            found = self.inner(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        else:
            found = self.inner(x) if self.first else self.inner(x.transpose(0, 1)).transpose(0, 1)
        return self.head(found.tanh().mean(1))


def data_of(net: nn.Module) -> tuple[Tensor, Tensor]:
    if isinstance(net, Tokens):
        return drawn(12, 5, 3), torch.arange(12) % 3
    if isinstance(net[0], nn.Conv2d):
        return drawn(12, 1, 5, 5), torch.arange(12) % 3
    x, y = digits()
    return x[:12], y[:12]


def in_factors(net: nn.Module) -> tuple[Flows, Tensor]:
    """Gradients of twelve examples, as they are found and as autograd finds them one by one."""
    x, y = data_of(net)
    objective = Objective(
        fitted=fitted(net, "all", x, last=False),
        loss="cross_entropy",
        data=Labelled.of((x, y), "train"),
        rows=12,
    )
    found = objective.gradients(objective.batch(range(12)))
    assert isinstance(found, Flows)
    return found, pulls(net, x, y, names_of(net))


NETWORKS = {"dense": tiny, "places": convolutional, "tokens": lambda: Tokens().double()}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_in_factors_are_those_written_out(name):
    found, wanted = in_factors(NETWORKS[name]())
    vectors = drawn(40, wanted.shape[1], seed=9)
    close(found.rows(), wanted)
    close(found.times(vectors), vectors @ wanted.T)
    close(found.total(), wanted.sum(0))
    close(found.lengths(), wanted.norm(dim=1))


@pytest.mark.parametrize("name", NETWORKS)
def test_self_influence_is_the_diagonal_of_influence(name):
    net = NETWORKS[name]()
    x, y = data_of(net)
    how = EKFAC(draws="all")
    whole = influence(net, (x, y), (x, y), how=how, damping=0.05)
    close(self_influence(net, (x, y), how=how, damping=0.05).values, whole.values.diagonal())


@pytest.mark.parametrize("options", [{"first": False}, {"joined": True}])
def test_layers_whose_rows_are_not_samples(options):
    """Their factors would be sums over other things than places: said, and never used."""
    net = Tokens(**options).double()
    x, y = data_of(net)
    match = "Layers must have one row for each sample .*got 'inner', which does not"
    with pytest.raises(ModelError, match=match):
        influence(net, (x, y), (x[:2], y[:2]), how="ekfac")
    found = influence(net, (x, y), (x[:2], y[:2]), how="tracin").values
    wanted = pulls(net, x, y, names_of(net))
    close(found, wanted[:2] @ wanted.T)


# Memory.

LIMIT = 2**21


def most(work) -> int:
    """The most bytes of tensors that are held while something runs, beside what was before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = torch.tensor([e.nbytes() for e in sorted(events, key=lambda each: each.start_ns())])
    return int(held.cumsum(0).max())


@pytest.mark.parametrize("work", [influence, self_influence])
def test_memory_is_as_planned_and_does_not_grow_with_the_examples(work):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(60, 80), nn.ReLU(), nn.Linear(80, 10)).eval()
    x, y = torch.rand(600, 60), torch.arange(600) % 10
    found, peaks = [], []
    for rows in (300, 600):
        asked = [(x[:rows], y[:rows]), *([(x[:4], y[:4])] if work is influence else [])]
        options = {"how": "ekfac", "damping": 0.1, "memory": LIMIT}
        peaks.append(most(lambda a=asked, o=options: found.append(work(net, *a, **o))))
    assert found[1].memory - found[0].memory <= 300 * 4 * 8  # values, beside those of before
    assert found[1].memory <= LIMIT
    assert max(peaks) < 1.1 * found[0].memory + 4 * 600 * 6  # with values and losses
    assert peaks[1] < peaks[0] + 300 * 4 * 20


@pytest.mark.parametrize("how", ["exact", "newton", CG(steps=1), LiSSA(steps=1, scale=50.0)])
def test_memory_to_solve_for_each_example_is_planned(how):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(60, 80), nn.ReLU(), nn.Linear(80, 4)).eval()
    data, found = (torch.rand(100, 60), torch.arange(100) % 4), []
    peak = most(lambda: found.append(self_influence(net, data, how=how, damping=0.1)))
    assert 0.4 * found[0].memory < peak < found[0].memory


def test_a_plan_for_ekfac_has_no_gradients_of_examples():
    """All examples of a batch are worked on within less than the gradients of half of them."""
    net = nn.Sequential(nn.Linear(60, 80), nn.ReLU(), nn.Linear(80, 10)).eval()
    x, y = torch.rand(plan.ROWS, 60), torch.arange(plan.ROWS) % 10
    found = influence(net, (x, y), (x[:1], y[:1]), how="ekfac", damping=0.1)
    count = sum(each.numel() for each in net.parameters())
    assert found.memory < plan.ROWS * 4 * count / 2


# Data.


def test_a_data_set_that_differs_later_on_is_another_one(tmp_path):
    net, (x, y) = tiny(), digits()

    class Set(Dataset):
        def __init__(self, labels: Tensor) -> None:
            self.labels = labels

        def __len__(self) -> int:
            return len(x)

        def __getitem__(self, k: int) -> tuple[Tensor, int]:
            return x[k], int(self.labels[k])

    options = {"damping": 0.1, "folder": tmp_path / "run"}
    influence(net, Set(y), (x[:2], y[:2]), **options)
    influence(net, Set(y), (x[:2], y[:2]), **options)
    other = y.clone()
    other[-1] = (other[-1] + 1) % 3
    with pytest.raises(InputError, match="must hold a run of the same settings: 'train'"):
        influence(net, Set(other), (x[:2], y[:2]), **options)


def test_no_data_are_read_for_a_mark_that_nobody_needs(monkeypatch):
    monkeypatch.setattr(data, "mark_of", None)
    net, (x, y) = tiny(), digits()
    influence(net, (x, y), (x[:2], y[:2]), damping=0.1)


def test_tensors_of_inference_mode():
    net, (x, y) = tiny(), digits()
    wanted = influence(net, (x, y), (x[:2], y[:2]), how="ekfac", damping=0.1).values
    with torch.inference_mode():
        x, y = x.clone(), y.clone()
        within = influence(net, (x, y), (x[:2], y[:2]), how="ekfac", damping=0.1).values
    close(within, wanted)
    close(influence(net, (x, y), (x[:2], y[:2]), how="ekfac", damping=0.1).values, wanted)


@pytest.mark.parametrize("how", ["exact", "newton", EKFAC(draws="all")])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_a_score_without_an_axis_is_one_score(how, loss):
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.inner, self.head = nn.Linear(4, 3).double(), nn.Linear(3, 1).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.inner(x).tanh())[:, 0]

    net, (x, y) = Flat(), digits(2)
    column = nn.Sequential(net.inner, nn.Tanh(), net.head)
    if loss == "mse":
        y = column(x).detach()[:, 0] + 0.1 * drawn(36, seed=7)
    asked = {"train": (x, y), "test": (x[:3], y[:3]), "how": how, "loss": loss, "damping": 0.1}
    close(influence(net, **asked).values, influence(column, **asked).values)


def test_a_loader_to_test_with_needs_no_labels_for_a_score():
    net, (x, y) = tiny(), digits()
    wanted = influence(net, (x, y), x[:5], of=1, damping=0.1)
    loader = DataLoader(TensorDataset(x[:5], y[:5]), 2)
    close(influence(net, (x, y), loader, of=1, damping=0.1).values, wanted.values)
    wrong("`test` must be inputs alone, like those of `train`.*without their labels", of=1)


def test_labels_that_cannot_be():
    x, y = digits()
    wrong("Labels must be classes of the model, from 0 to 2; got 3", train=(x, y + 1))
    late = torch.where(torch.arange(36) == 30, -1, y)
    wrong("Labels must be classes of the model, from 0 to 2; got -1", train=(x, late))
    wrong("Labels must be classes .* got 7", test=(x[:2], y[:2] + 7 - y[:2]))
    wrong("one class for each sample.*labels.squeeze.1.", train=(x, y[:, None]))
    wrong("one class for each sample.*labels.argmax.1.", train=(x, torch.eye(3)[y].long()))
    wrong("one for each of the 1 examples.*labels.unsqueeze.0.", test=(x[:1], y[0]))


def test_a_layer_that_does_not_run():
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.idle = tiny(), nn.Linear(4, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    wrong("must run; got 'idle', which did not", ModelError, model=Idle(), how="ekfac")
    for how in ("exact", "cg"):
        wrong("positive on average", ModelError, model=Idle(), how=how, parameters="idle")


# Every law can fail.

MUTANTS = {
    "the matrices of one place for all": ("is_one_place", lambda found: True, "places"),
    "sums where there are squares": ("squares", lambda found: found.sqrt(), "dense"),
    "a part of the vectors": ("products", lambda found: found * 1.001, "tokens"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_breaks_the_factors(name, monkeypatch):
    what, change, network = MUTANTS[name]
    monkeypatch.setattr(room, what, mutated(getattr(room, what), change))
    with pytest.raises(AssertionError):
        test_gradients_in_factors_are_those_written_out(network)


def test_a_mutant_that_writes_gradients_out_breaks_the_plan(monkeypatch):
    kept: list[Tensor] = []
    plain = Objective.gradients

    def held(self, batch):
        found = plain(self, batch)
        kept.append(found.rows())
        return found

    monkeypatch.setattr(Objective, "gradients", held)
    with pytest.raises(AssertionError):
        test_memory_is_as_planned_and_does_not_grow_with_the_examples(influence)


def test_the_loss_of_places_is_their_mean():
    """A network with a class for each pixel: labels (sample, height, width)."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1)).double()
    x = drawn(6, 1, 4, 4)
    y = (x[:, 0] > 0).long()
    found = influence(net, (x, y), (x[:2], y[:2]), how="tracin")
    wanted = pulls(net, x, y, names_of(net))
    close(found.values, wanted[:2] @ wanted.T)
    losses = cross_entropy(net(x), y, reduction="none").mean((1, 2)).detach()
    close(found.losses, losses)
