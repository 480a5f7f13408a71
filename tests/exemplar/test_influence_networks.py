"""Influence in networks that are not plain: against sums of single examples, by autograd alone."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy
from torch.nn.utils.parametrizations import weight_norm

from pellucid.errors import ModelError
from pellucid.exemplar import CG, Exact, LiSSA, influence, self_influence
from pellucid.exemplar.influence import head, looks, objective
from tests.exemplar.test_influence import DOUBLE, Ridge, close, digits, drawn, pulls, tiny, wrong


def modest(layer: nn.Module) -> nn.Module:
    """A layer that says little, and so is no worse than a guess."""
    layer.weight.data *= 0.1
    layer.bias.data.zero_()
    return layer


class Tied(nn.Module):
    """An embedding and a last layer of one weight, which has the name of the first of them."""

    def __init__(self, first: str = "head") -> None:
        super().__init__()
        torch.manual_seed(0)
        if first == "head":
            self.head = nn.Linear(4, 7)
        self.words = nn.Embedding(7, 4)
        if first == "words":
            self.head = nn.Linear(4, 7)
        self.head.weight = self.words.weight
        modest(self.head)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.words(x).tanh().mean(1))


class Attentive(nn.Module):
    """One layer of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(7, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 3, dropout=0.0, batch_first=True)
        self.head = modest(nn.Linear(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.words(x)).mean(1))


class Branched(nn.Module):
    """It takes one way or the other, for all of a batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.other = modest(nn.Linear(4, 3)), modest(nn.Linear(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) if x.sum() > 0 else self.other(x)


def tokens(classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = 2 * classes
    return torch.randint(7, (rows, 5), generator=generator), torch.arange(rows) % classes


def by_hand(net: nn.Module, x: Tensor, y: Tensor, names: list[str], damping: float) -> Tensor:
    """The values of all for the first two, of gradients and a Hessian that single examples add."""
    rows = pulls_of(net, x, y, names)
    matrix = hessian(net, x, y, names) + damping * torch.eye(rows.shape[1], dtype=DOUBLE)
    return rows[:2] @ torch.linalg.solve(matrix, rows.T) / len(x)


def pulls_of(net: nn.Module, x: Tensor, y: Tensor, names: list[str]) -> Tensor:
    """As `pulls`, where a parameter may have no part in an example."""
    net = copy.deepcopy(net).requires_grad_()
    chosen = [dict(net.named_parameters())[name] for name in names]
    return torch.stack([slope(net, chosen, x[k : k + 1], y[k : k + 1]) for k in range(len(x))])


def slope(net: nn.Module, chosen: list[Tensor], x: Tensor, y: Tensor, graph=False) -> Tensor:
    options = {"allow_unused": True, "materialize_grads": True, "create_graph": graph}
    found = torch.autograd.grad(cross_entropy(net(x), y), chosen, **options)
    return torch.cat([each.flatten() for each in found])


def hessian(net: nn.Module, x: Tensor, y: Tensor, names: list[str]) -> Tensor:
    net = copy.deepcopy(net).requires_grad_()
    chosen = [dict(net.named_parameters())[name] for name in names]
    options = {"allow_unused": True, "materialize_grads": True, "retain_graph": True}
    with sdpa_kernel(SDPBackend.MATH):
        mean = sum(slope(net, chosen, x[k : k + 1], y[k : k + 1], True) for k in range(len(x)))
    rows = [torch.autograd.grad(each, chosen, **options) for each in mean / len(x)]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


# Laws.


@pytest.mark.parametrize("first", ["head", "words"])
def test_all_that_a_shared_weight_does_counts(first):
    net, (x, y) = Tied(first).double().eval(), tokens(7)
    names = [name for name, _ in net.named_parameters()]
    found = influence(net, (x, y), (x[:2], y[:2]), damping=5.0)
    assert set(found.parameters) == set(names)  # the last layer, by the names that it has
    close(found.values, by_hand(net, x, y, list(found.parameters), 5.0))
    plain = influence(net, (x, y), (x[:2], y[:2]), how="tracin", parameters="head").values
    rows = pulls(net, x, y, list(found.parameters))
    close(plain, rows[:2] @ rows.T)


def test_a_shared_weight_is_seen_where_the_loss_is_flat():
    """No label is known of the examples that are looked at, so that their losses have no slope."""
    net, (x, y) = Tied().double().eval(), tokens(7)
    y[:7] = -100
    found = influence(net, (x, y), (x[7:], y[7:]), how="tracin").values
    rows = pulls(net, x[7:], y[7:], ["head.weight", "head.bias"])
    close(found[:, 7:], rows @ rows.T)
    wrong("Parameters must be used by their layers alone, for `ekfac`", ModelError,
          model=net, train=(x, y), test=(x[7:], y[7:]), how="ekfac")  # fmt: skip


def test_attention_has_a_curvature():
    net, (x, y) = Attentive().double().eval(), tokens(3)
    names = ["layer.self_attn.in_proj_bias", "head.bias"]
    found = influence(net, (x, y), (x[:2], y[:2]), parameters=names, damping=5.0)
    close(found.values, by_hand(net, x, y, names, 5.0), 1e-8)


def test_examples_that_depend_on_their_batch_run_alone():
    net, (x, y) = Branched().double().eval(), (each[:9] for each in digits())
    names = [name for name, _ in net.named_parameters()]
    found = influence(net, (x, y), (x[:2], y[:2]), parameters="all", damping=0.5)
    close(found.values, by_hand(net, x, y, names, 0.5))
    assert found.notes[0].startswith("What the network says of an example depends on the others")


def test_the_mean_gradient_of_a_newton_step_is_that_of_the_loss():
    """At the minimum it vanishes, however far the examples that are left out would move it."""
    ridge = Ridge()
    assert ridge.ask("newton").convergence.slope < 1e-9
    assert ridge.ask("exact").convergence.slope < 1e-9


def test_self_influence_says_how_well_it_was_solved():
    net, (x, y) = tiny(), digits()
    found = self_influence(net, (x, y), how=CG(steps=1), damping=1e-3)
    assert found.convergence.residual.shape == (36,)
    assert found.convergence.steps == 1
    assert any(note.startswith("Conjugate gradients have not converged") for note in found.notes)
    well = self_influence(net, (x, y), how=CG(tolerance=1e-9), damping=1e-3)
    assert well.convergence.worst < 1e-9
    assert not any("converged" in note for note in well.notes)


def test_conjugate_gradients_of_an_example_do_not_hang_on_others():
    net, (x, y) = tiny(), digits()
    how = CG(tolerance=0.1, curvature="gauss_newton")
    options = {"how": how, "damping": 1e-3, "parameters": "all"}
    whole = influence(net, (x, y), (x[:8], y[:8]), **options)
    assert whole.convergence.steps > 1
    rows = [0, 5, 6]
    alone = [influence(net, (x, y), (x[k : k + 1], y[k : k + 1]), **options) for k in rows]
    assert len({each.convergence.steps for each in alone}) == 3
    close(whole.values[rows], torch.cat([each.values for each in alone]), 1e-4)  # far below 0.1


def test_places_without_a_label_do_not_count():
    """What is padded is as if it were not there."""
    torch.manual_seed(0)
    net, x = modest(nn.Conv1d(2, 3, 1)).double(), drawn(6, 2, 4)
    y = torch.arange(24).reshape(6, 4) % 3
    wide = torch.cat([x, drawn(6, 2, 3, seed=1)], 2)
    labels = torch.cat([y, torch.full((6, 3), -100)], 1)
    for how in ("exact", "ekfac"):
        found, wanted = (
            influence(net, each, each, how=how, damping=0.1) for each in ((wide, labels), (x, y))
        )
        close(found.losses, wanted.losses)
        if how == "exact":  # draws and factors are of all places
            close(found.values, wanted.values)


# What is worked on.


def test_the_layer_that_ends_a_network_is_whole():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), weight_norm(nn.Linear(5, 3))).double().eval()
    x, y = digits()
    net[2].parametrizations.weight.original0.data *= 0.1
    net[2].bias.data.zero_()
    found = influence(net, (x, y), (x[:2], y[:2]), damping=1.0)
    kept = "2.parametrizations.weight.original"
    assert set(found.parameters) == {"2.bias", f"{kept}0", f"{kept}1"}


@pytest.mark.parametrize("how", ["exact", "ekfac", LiSSA(steps=2, batch=16, scale=9.0)])
def test_batches_are_no_larger_than_asked_for_or_than_fit(how):
    """Where memory runs out, batches are halved, in all of the work."""

    class Small(nn.Module):
        def __init__(self, most: int, error: type[Exception]) -> None:
            super().__init__()
            self.net, self.most, self.error = tiny(), most, error

        def forward(self, x: Tensor) -> Tensor:
            if len(x) > self.most:
                raise self.error("out of memory")
            return self.net(x)

    (x, y), options = (
        (each[:18] for each in digits()),
        {"how": how, "damping": 0.2, "parameters": "net.0"},
    )
    test = (x[:2], y[:2])
    wanted = influence(Small(99, MemoryError), (x, y), test, **options).values
    halved = influence(Small(8, torch.OutOfMemoryError), (x, y), test, **options).values
    close(halved, wanted)
    close(influence(Small(8, ValueError), (x, y), test, batch_size=5, **options).values, wanted)


def test_features_that_do_not_fit_are_not_held():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 200), nn.Tanh(), nn.Linear(200, 2)).double().eval()
    net[2].weight.data *= 0.01
    x, y = drawn(300, 4), torch.arange(300) % 2
    options = {"how": "representer", "damping": 0.1, "parameters": "2.bias"}
    wide = influence(net, (x, y), (x[:2], y[:2]), **options)
    assert wide.memory > 2 * 300 * 200 * 8
    narrow = influence(net, (x, y), (x[:2], y[:2]), memory=2**19, **options)
    assert narrow.memory < 2**19
    close(narrow.values, wide.values)


# What is said.


def test_a_network_that_answers_at_random():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)
            self.head = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.inner(x, x, x)[0].mean(1))

    wrong("must be in evaluation mode.* two answers to the same example", ModelError,
          model=Odd().double().train(), train=(drawn(12, 3, 4), torch.arange(12) % 3),
          test=(drawn(2, 3, 4), torch.arange(2)))  # fmt: skip


def test_networks_that_cannot_be_asked():
    batches = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False)).eval()
    wrong("not depend on the others of their batch; got BatchNorm1d without running statistics",
          ModelError, model=batches)  # fmt: skip
    with pytest.warns(DeprecationWarning, match="jit"):
        script = torch.jit.script(tiny())
    wrong("must be one of Python.* got TorchScript", ModelError, model=script)
    bags = nn.Sequential(nn.EmbeddingBag(7, 4), nn.Tanh(), modest(nn.Linear(4, 3))).double()
    x, y = tokens(3)
    wrong("must have second derivatives .*embedding_bag.* is not implemented. Take `ekfac`",
          ModelError, model=bags, train=(x, y), test=(x, y), parameters="all")  # fmt: skip
    wrong("`parameters` must be names of parameters or layers.* got 3", parameters=3)


@pytest.mark.parametrize("how", ["exact", "ekfac", "tracin"])
def test_a_class_that_is_ruled_out_is_no_sign_of_training(how):
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = tiny()

        def forward(self, x: Tensor) -> Tensor:
            scores = self.net(x)
            return torch.cat([scores, torch.full_like(scores[:, :1], -torch.inf)], 1)

    x, y = digits()
    asked = {"how": how, "damping": None if how == "tracin" else 0.1}
    wanted = influence(tiny(), (x, y), (x[:3], y[:3]), **asked)
    found = influence(Masked(), (x, y), (x[:3], y[:3]), **asked)
    close(found.values, wanted.values)
    assert found.notes == wanted.notes


def test_a_score_that_does_not_use_the_parameters_has_no_influence():
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.spare = tiny(), nn.Linear(4, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    x, y = digits()
    found = influence(Spare(), (x, y), x[:2], of=0, how="tracin", parameters="spare")
    assert not found.values.any()
    close(found.tested, tiny()(x[:2])[:, 0].detach())


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_no_guess_is_better_where_all_labels_are_alike(loss):
    """One answer for all has no loss there: no model is below it."""
    x, y = digits()
    same = torch.zeros_like(y) if loss == "cross_entropy" else torch.ones(36, 3, dtype=DOUBLE)
    found = influence(tiny(), (x, same), (x[:2], same[:2]), damping=0.1, loss=loss)
    assert not any("worse than a guess" in note for note in found.notes)


def test_layers_are_looked_at_once(monkeypatch):
    seen, right = [], objective.Objective._is_all
    monkeypatch.setattr(
        objective.Objective, "_is_all", lambda *given: seen.append(1) or right(*given)
    )
    x, y = digits()
    influence(tiny(), (x, y), (x[:3], y[:3]), how="tracin")
    assert len(seen) == objective.LOOKS


def test_classes_that_take_turns_are_no_reason_for_a_warning():
    """Every second example of these is of the same class."""
    net = nn.Linear(3, 2).double()
    net.weight.data.zero_(), net.bias.data.zero_()
    x, y = drawn(512, 3), torch.arange(512) % 2
    assert len(influence(net, (x, y), (x[:1], y[:1]), how="tracin").notes) == 1


def test_damping_that_nobody_needs_is_told():
    net, (x, y) = tiny(), digits()
    found = influence(net, (x, y), (x[:2], y[:2]), how="tracin", damping=0.1)
    assert found.notes[0] == "There is no curvature to damp: `tracin` makes no use of `damping`."


def test_a_way_of_one_s_own_is_called_what_it_is():
    class Mine(Exact):
        """Another factor."""

    net, (x, y) = tiny(), digits()
    assert influence(net, (x, y), (x[:1], y[:1]), how=Mine(), damping=0.1).how == "exact"


# Every law can fail.

MUTANTS = {
    "a head that is all": (
        head.Head,
        "_is_all",
        lambda: test_all_that_a_shared_weight_does_counts("head"),
    ),
    "layers that are all": (
        objective.Objective,
        "_is_all",
        test_a_shared_weight_is_seen_where_the_loss_is_flat,
    ),
    "answers that never differ": (
        looks,
        "_same",
        test_examples_that_depend_on_their_batch_run_alone,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_that_looks_at_nothing_breaks_its_law(name, monkeypatch):
    home, what, law = MUTANTS[name]
    monkeypatch.setattr(home, what, lambda *given: True)
    with pytest.raises(AssertionError):
        law()
