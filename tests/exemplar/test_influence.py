"""Influence, against training again, formulas in matrix form, and a curvature written out."""

import copy
import functools

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import pellucid as pl
from pellucid.errors import (
    FileError,
    InputError,
    ModelError,
    PellucidWarning,
    TargetError,
    UnknownNameError,
)
from pellucid.exemplar import (
    CG,
    EKFAC,
    Checkpoint,
    Exact,
    LiSSA,
    TracIn,
    influence,
    self_influence,
)
from pellucid.exemplar.influence import blocks, ekfac, exact, iterative, solver, stage

DECAY = 0.05
DOUBLE = torch.float64


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def with_one(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], 1)


class Ridge:
    """Linear regression with weight decay, whose minimum has a formula, also without an example.

    mean (f - y)^2 + w/2 |theta|^2, where each example keeps its part 1/n of the mean
    """

    def __init__(self, rows: int = 30, columns: int = 3) -> None:
        self.x, self.tests = drawn(rows, columns), drawn(4, columns, seed=1)
        self.y = self.x @ drawn(columns, seed=2) + 0.3 * drawn(rows, seed=3)
        self.ones = torch.ones(rows, dtype=DOUBLE)
        self.net = nn.Linear(columns, 1).double()
        theta = self.fitted(self.ones)
        self.net.weight.data, self.net.bias.data = theta[:-1].unsqueeze(0), theta[-1:].clone()

    def curvature(self, weights: Tensor) -> Tensor:
        wide = with_one(self.x)
        return 2 / len(wide) * (wide.T * weights) @ wide + DECAY * torch.eye(
            wide.shape[1], dtype=DOUBLE
        )

    def fitted(self, weights: Tensor) -> Tensor:
        right = 2 / len(self.x) * (with_one(self.x).T * weights) @ self.y
        return torch.linalg.solve(self.curvature(weights), right)

    def drops(self) -> Tensor:
        """By how much each score falls without each training example: (test, train)."""
        wide = with_one(self.tests)
        found = []
        for i in range(len(self.x)):
            weights = self.ones.clone()
            weights[i] = 0
            found.append(wide @ self.fitted(self.ones) - wide @ self.fitted(weights))
        return torch.stack(found, 1)

    def leverages(self) -> Tensor:
        wide = with_one(self.x)
        return 2 / len(wide) * (wide @ self.curvature(self.ones).inverse() * wide).sum(1)

    def ask(self, how, **options):
        options = {"of": 0, "loss": "mse", "damping": DECAY, **options}
        return influence(self.net, (self.x, self.y), self.tests, how=how, **options)


def digits(classes: int = 3) -> tuple[Tensor, Tensor]:
    """A few points around a center of each class."""
    y = torch.arange(36) % classes
    return drawn(classes, 4, seed=5)[y] + 0.7 * drawn(36, 4, seed=6), y


def tiny() -> nn.Sequential:
    """A network of two layers, at no minimum, that is better than a guess."""
    return copy.deepcopy(trained())


@functools.cache
def trained() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = digits()
    step = torch.optim.Adam(net.parameters(), 0.05)
    for _ in range(40):
        step.zero_grad()
        cross_entropy(net(x), y).backward()
        step.step()
    return net.requires_grad_(False).eval()


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(2, 3, 2, padding="same", dilation=2),
        nn.Flatten(),
        nn.Linear(27, 3),
    ).double()


def pulls(net: nn.Module, x: Tensor, y: Tensor, names: list[str]) -> Tensor:
    """The gradient of each example's loss, one by one, by autograd: (sample, parameter)."""
    net = copy.deepcopy(net).requires_grad_()
    chosen = [dict(net.named_parameters())[name] for name in names]
    found = []
    for k in range(len(x)):
        loss = cross_entropy(net(x[k : k + 1]), y[k : k + 1])
        parts = torch.autograd.grad(loss, chosen)
        found.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(found)


def gauss_newton(net: nn.Module, x: Tensor, names: list[str]) -> Tensor:
    """1/n sum_i J_i^T (diag p - p p^T) J_i, written out."""
    net = copy.deepcopy(net).requires_grad_()
    chosen = [dict(net.named_parameters())[name] for name in names]
    total = 0
    for k in range(len(x)):
        scores = net(x[k : k + 1])[0]
        rows = [torch.autograd.grad(score, chosen, retain_graph=True) for score in scores]
        jacobian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
        p = scores.detach().softmax(0)
        total = total + jacobian.T @ (p.diag() - p.outer(p)) @ jacobian
    return total / len(x)


def names_of(net: nn.Module) -> list[str]:
    return [name for name, _ in net.named_parameters()]


def close(a: Tensor, b: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


# Laws.


def test_a_newton_step_is_ridge_regression_without_the_example():
    ridge = Ridge()
    close(ridge.ask("newton").values, ridge.drops())


def test_influence_functions_leave_out_the_leverage():
    """The first order of what leaving out does: it is 1 - h of that, exactly, in a linear model."""
    ridge = Ridge()
    close(ridge.ask("exact").values, ridge.drops() * (1 - ridge.leverages()))


@pytest.mark.parametrize("how", ["exact", "newton"])
def test_a_law_that_the_other_one_breaks(how):
    ridge = Ridge()
    wanted = ridge.drops() * (1 if how == "exact" else 1 - ridge.leverages())
    with pytest.raises(AssertionError):
        close(ridge.ask(how).values, wanted)


@pytest.mark.parametrize(
    "how",
    [
        CG(tolerance=1e-12),
        CG(tolerance=1e-12, curvature="gauss_newton"),
        Exact(curvature="gauss_newton"),
        EKFAC(draws="all"),
    ],
)
def test_all_agree_on_a_linear_model(how):
    """Its Gauss-Newton curvature is its Hessian, and one Kronecker product."""
    ridge = Ridge()
    close(ridge.ask(how).values, ridge.ask("exact").values)


def test_lissa_comes_near_and_says_how_near():
    ridge = Ridge()
    found, exact = ridge.ask(LiSSA(steps=80, batch=256)), ridge.ask("exact").values
    assert found.convergence.worst < 0.1
    assert (found.values - exact).norm() < 0.1 * exact.norm()
    few = ridge.ask(LiSSA(batch=2, steps=10))
    assert few.convergence.worst > 0.1
    assert "LiSSA has left a residual" in few.notes[-1]


def test_representer_values_sum_to_the_score():
    ridge = Ridge()
    found = ridge.ask("representer", damping=None)
    assert found.convergence.damping == pytest.approx(DECAY)
    close(found.values.sum(1), found.tested)
    close(found.tested, ridge.net(ridge.tests).detach()[:, 0])
    ridge.net.bias.data += 0.1
    moved = ridge.ask("representer", damping=DECAY)
    assert "not stationary" in moved.notes[-1]


def test_a_helpful_example_lowers_the_loss():
    """The sign, by training again: without a helpful example the loss is higher."""
    ridge = Ridge()
    far = ridge.net(ridge.tests).detach()[:, 0] + 3
    found = influence(ridge.net, (ridge.x, ridge.y), (ridge.tests, far), loss="mse", damping=DECAY)
    wide = with_one(ridge.tests)
    for place, side in enumerate(found.top(1)):
        for test, i in enumerate(side[:, 0].tolist()):
            weights = ridge.ones.clone()
            weights[i] = 0
            before = (wide[test] @ ridge.fitted(ridge.ones) - far[test]).square()
            after = (wide[test] @ ridge.fitted(weights) - far[test]).square()
            assert (after > before) == (place == 0)
    close(found.tested, torch.full_like(far, 9.0))


# Against the slow way, in a network.


@pytest.mark.parametrize("parameters", [None, "all", "0", ["2.bias", "0.weight"]])
def test_exact_is_the_formula(parameters):
    net, (x, y) = tiny(), digits()
    names = {None: ["2.weight", "2.bias"], "all": names_of(net), "0": ["0.weight", "0.bias"]}
    wanted = names[parameters] if not isinstance(parameters, list) else ["0.weight", "2.bias"]
    matrix = gauss_newton(net, x, wanted)
    gradients = pulls(net, x, y, wanted)
    found = influence(
        net, (x, y), (x[:5], y[:5]), how=Exact(curvature="gauss_newton"), parameters=parameters,
        damping=0.1,
    )  # fmt: skip
    assert found.parameters == tuple(wanted)
    damped = matrix + 0.1 * torch.eye(len(matrix), dtype=DOUBLE)
    close(found.values, gradients[:5] @ torch.linalg.solve(damped, gradients.T) / len(x))
    close(found.losses, cross_entropy(net(x), y, reduction="none"))


def test_the_hessian_is_autograd_s():
    net, (x, y) = tiny(), digits()
    state = dict(net.named_parameters())
    names = names_of(net)

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([state[name].numel() for name in names])
        made = {n: part.reshape(state[n].shape) for n, part in zip(names, parts, strict=True)}
        return cross_entropy(torch.func.functional_call(net, made, (x,)), y)

    flat = torch.cat([state[name].flatten() for name in names])
    matrix = torch.autograd.functional.hessian(loss, flat) + torch.eye(len(flat), dtype=DOUBLE)
    gradients = pulls(net, x, y, names)
    wanted = gradients[:3] @ torch.linalg.solve(matrix, gradients.T) / len(x)
    for how in (Exact(), CG(tolerance=1e-12)):
        found = influence(net, (x, y), (x[:3], y[:3]), how=how, parameters="all", damping=1.0)
        close(found.values, wanted)
    assert found.convergence.steps > 3


def test_self_influence_is_the_diagonal():
    net, (x, y) = tiny(), (each[:12] for each in digits())
    for how in ("exact", "newton", "ekfac", "cg"):
        found = self_influence(net, (x, y), how=how, damping=0.1)
        pairs = influence(net, (x, y), (x, y), how=how, damping=0.1)
        close(found.values, pairs.values.diagonal(), 1e-3 if how == "cg" else 1e-9)
        assert (found.values > 0).all()


def test_tracin_is_the_sum_over_checkpoints(tmp_path):
    net, (x, y) = tiny(), digits()
    first, names = Checkpoint.of(net, rate=0.1), names_of(net)
    wanted = 0.1 * pulls(net, x[:2], y[:2], names) @ pulls(net, x, y, names).T
    net[0].weight.data *= 0.5
    torch.save(net.state_dict(), tmp_path / "state.pt")
    wanted += 0.2 * pulls(net, x[:2], y[:2], names) @ pulls(net, x, y, names).T
    found = influence(
        net, (x, y), (x[:2], y[:2]), how="tracin",
        checkpoints=[first, (tmp_path / "state.pt", 0.2)],
    )  # fmt: skip
    close(found.values, wanted)
    alone = influence(net, (x, y), (x[:2], y[:2]), how=TracIn())
    assert alone.notes == (
        "Without checkpoints: products of gradients of the trained model alone.",
    )


@pytest.mark.parametrize("network", [tiny, convolutional])
def test_ekfac_is_its_formula(network):
    """Factors, basis, eigenvalues and inverse of each layer, from per-example gradients."""
    net = network()
    x = digits()[0][:12] if network is tiny else drawn(12, 1, 5, 5)
    y = torch.arange(12) % 3
    found = influence(
        net, (x, y), (x[:2], y[:2]), how=EKFAC(draws="all"), damping=0.01, batch_size=5
    )
    wanted = 0
    labelled = [torch.full_like(y, c) for c in range(3)]
    p = net(x).detach().softmax(1)
    for layer in [name for name, module in net.named_modules() if hasattr(module, "weight")]:
        names = [f"{layer}.weight", f"{layer}.bias"]
        size = net.get_submodule(layer).weight.shape
        cut = [size.numel(), size[0]]

        def matrices(rows: Tensor, cut=cut, size=size) -> Tensor:
            weight, bias = rows.split(cut, 1)
            return torch.cat([weight.reshape(-1, size[0], size[1:].numel()), bias[:, :, None]], 2)

        drawn_ = [matrices(pulls(net, x, each, names)) for each in labelled]
        left, right = basis_of(net, layer, x, p)
        turned = [(left.T @ each @ right).square() for each in drawn_]
        values = sum((p[:, c, None, None] * turned[c]).mean(0) for c in range(3))
        own = matrices(pulls(net, x, y, names))
        solved = left @ (left.T @ own[:2] @ right / (values + 0.01)) @ right.T
        wanted = wanted + torch.einsum("toi,noi->tn", solved, own) / len(x)
    close(found.values, wanted, 1e-7)


def basis_of(net: nn.Sequential, layer: str, x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """The eigenvectors of the two factors of a layer, place by place and class by class."""
    place = int(layer)
    below, module, above = net[:place], net[place], net[place + 1 :]
    given = below(x).detach()
    ins = outs = 0
    for k in range(len(x)):
        out = module(given[k : k + 1]).detach().requires_grad_()
        logs = above(out.clone()).log_softmax(1)[0]
        for c in range(3):
            (pull,) = torch.autograd.grad(-logs[c], out, retain_graph=True)
            flat = pull.reshape(pull.shape[1], -1)
            outs = outs + p[k, c] * flat @ flat.T
        places = [torch.cat([each, each.new_ones(1)]) for each in pieces(module, given[k])]
        ins = ins + sum(each.outer(each) for each in places)
    return torch.linalg.eigh(outs).eigenvectors, torch.linalg.eigh(ins).eigenvectors


def pieces(module: nn.Module, x: Tensor) -> list[Tensor]:
    """What a layer weighs at each place, by the gradient of its output in its weight."""
    weight = module.weight.detach().clone().requires_grad_()
    moved = copy.deepcopy(module)
    del moved.weight
    moved.weight = weight
    first = moved(x.unsqueeze(0))[0, 0].flatten()
    return [torch.autograd.grad(e, weight, retain_graph=True)[0][0].flatten() for e in first]


def test_ekfac_is_near_the_whole_curvature():
    net, (x, y) = tiny(), digits()
    names = names_of(net)
    matrix = gauss_newton(net, x, names) + 0.05 * torch.eye(43, dtype=DOUBLE)
    gradients = pulls(net, x, y, names)
    wanted = gradients[:6] @ torch.linalg.solve(matrix, gradients.T) / len(x)
    found = influence(net, (x, y), (x[:6], y[:6]), how=EKFAC(draws="all"), damping=0.05)
    plain = influence(net, (x, y), (x[:6], y[:6]), how="tracin")
    near, far = (torch.corrcoef(torch.stack([v.flatten(), wanted.flatten()]))[0, 1]
                 for v in (found.values, plain.values))  # fmt: skip
    assert near > 0.95
    assert near > far


# What holds everywhere.


@pytest.mark.parametrize("how", ["exact", "newton", "cg", "ekfac", "tracin", "representer"])
def test_batches_do_not_matter(how):
    net, (x, y) = tiny(), digits()
    options = {"how": how, "damping": 0.2, "parameters": "2"}
    whole = influence(net, (x, y), (x[:3], y[:3]), **options)
    cut = influence(net, (x, y), (x[:3], y[:3]), batch_size=7, **options)
    close(cut.values, whole.values, 1e-8)
    alone = influence(net, (x, y), (x[1:2], y[1:2]), **options)
    close(alone.values, whole.values[1:2], 1e-3 if how == "cg" else 1e-8)


@pytest.mark.parametrize("how", ["exact", "cg", "ekfac", "tracin", LiSSA(steps=20)])
def test_the_model_is_untouched(how):
    net, (x, y) = tiny(), digits()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    before, state = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    influence(net, (x, y), (x[:3], y[:3]), how=how, damping=0.2)
    assert all(torch.equal(each, before[name]) for name, each in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(each.requires_grad for each in net.parameters())
    assert torch.equal(net[0].weight.grad, torch.ones_like(net[0].weight))
    assert not any(module._forward_hooks for module in net.modules())


def test_the_model_is_untouched_after_an_error():
    net, (x, y) = tiny(), digits()

    def loss(output: Tensor, labels: Tensor) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        influence(net, (x, y), (x, y), loss=loss)
    assert not nn.modules.module._global_forward_hooks
    assert all(type(each) is nn.Parameter for each in net.parameters())


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [(DOUBLE, DOUBLE), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_precision_follows_the_model(dtype, kept):
    net, (x, y) = tiny().to(dtype), digits()
    for how in ("exact", "ekfac"):
        found = influence(net, (x.to(dtype), y), (x[:2].to(dtype), y[:2]), how=how, damping=0.1)
        wanted = influence(tiny(), (x, y), (x[:2], y[:2]), how=how, damping=0.1)
        assert found.values.dtype == kept
        error = (found.values.double() - wanted.values).norm() / wanted.values.norm()
        assert error < (0.15 if dtype is torch.bfloat16 else 0.05)


def test_a_score_of_any_kind():
    """That on a contrast is the difference of those on its scores; on a loss, its slope."""
    net, (x, y) = tiny(), digits()
    options = {"damping": 0.1}
    of = [influence(net, (x, y), x[:3], of=k, **options).values for k in range(3)]
    contrast = influence(net, (x, y), x[:3], of=(2, 0), **options)
    close(contrast.values, of[2] - of[0])
    p = net(x[:3]).softmax(1)
    slope = torch.stack([p[:, k] - (y[:3] == k).double() for k in range(3)])
    on_loss = influence(net, (x, y), (x[:3], y[:3]), **options)
    close(on_loss.values, -sum(slope[k, :, None] * of[k] for k in range(3)))
    chosen = influence(net, (x, y), x[:3], of=[0, 1, 2], **options)
    close(chosen.values, torch.stack([of[k][k] for k in range(3)]))
    inner = influence(net, (x, y), x[:3], of=pl.Target.unit("0", 2), parameters="0", **options)
    close(inner.tested, net[0](x[:3])[:, 2].detach())
    predicted = influence(net, (x, y), x[:3], of=None, **options)
    close(predicted.tested, net(x[:3]).amax(1))


def test_a_head_on_its_own_features_is_the_same_head_in_its_network():
    """The short way, of the last layer alone, against the long one: the output is passed on."""

    class Passed(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) * 1

    net, (x, y) = tiny(), digits()
    short = influence(net, (x, y), (x[:3], y[:3]), damping=0.1)
    long = influence(Passed(net), (x, y), (x[:3], y[:3]), damping=0.1, parameters="net.2")
    close(long.values, short.values)


def test_data_sets_and_loaders_are_read_in_order():
    net, (x, y) = tiny(), digits()
    wanted = influence(net, (x, y), (x[:2], y[:2]), damping=0.1)

    class Set(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(x)

        def __getitem__(self, k: int) -> tuple[Tensor, int]:
            return x[k], int(y[k])

    loaders = [
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 5, shuffle=True),
        Set(),
        torch.utils.data.TensorDataset(x, y),
    ]
    for train in loaders:
        found = influence(net, train, (x[:2], y[:2]), damping=0.1)
        close(found.values, wanted.values)
        assert found.to_frame(1)["label"].tolist() == wanted.to_frame(1)["label"].tolist()


def test_a_model_that_cannot_be_batched_is_run_row_by_row():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x) * (2 if x.sum().item() > 1e9 else 1)

    torch.manual_seed(1)
    net, (x, y) = Odd(), digits()
    net.head.weight.data *= 0.1
    plain = nn.Sequential(copy.deepcopy(net.head))
    wanted = influence(plain, (x, y), (x[:2], y[:2]), damping=0.1)
    found = influence(net, (x, y), (x[:2], y[:2]), damping=0.1)
    close(found.values, wanted.values)


@pytest.mark.parametrize("how", ["exact", "ekfac", "cg"])
def test_a_run_that_was_stopped_goes_on(tmp_path, how, monkeypatch):
    monkeypatch.setattr(stage, "STORED", 10)
    net, (x, y) = tiny(), digits()
    options = {"how": how, "damping": 0.1, "folder": tmp_path / "run"}
    wanted = influence(net, (x, y), (x[:2], y[:2]), **options)
    made = sorted(path.name for path in (tmp_path / "run").glob("*.safetensors"))
    assert "values-30.safetensors" in made
    (tmp_path / "run" / "values-20.safetensors").unlink()
    calls = count_rows(net)
    found = influence(net, (x, y), (x[:2], y[:2]), **options)
    close(found.values, wanted.values)
    assert calls() < 200  # the features, a look at the set, and ten examples
    with pytest.raises(
        InputError, match="`folder` must hold a run of the same settings: 'damping'"
    ):
        influence(net, (x, y), (x[:2], y[:2]), **{**options, "damping": 0.2})


def count_rows(net: nn.Module):
    """How many rows the first layer sees from now on."""
    seen = []
    net[0].register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    return lambda: sum(seen)


# What is said.


def test_what_is_found_is_told():
    net, (x, y) = tiny(), digits()
    found = influence(net, (x, y), (x[:2], y[:2]), damping=0.1)
    helpful, harmful = found.top(3)
    assert (found.values.gather(1, helpful)[:, 0] == found.values.amax(1)).all()
    assert (found.values.gather(1, harmful)[:, 0] == found.values.amin(1)).all()
    frame = found.to_frame(2)
    assert frame.columns.tolist() == ["test", "train", "influence", "loss", "label"]
    assert frame["train"].tolist()[:2] == helpful[0, :2].tolist()
    assert frame["label"].tolist() == y[frame["train"].tolist()].tolist()
    assert len(found.to_frame()) == 72
    assert repr(found).startswith("Influence of 36 training examples on the loss of 2, exact\n")
    own = self_influence(net, (x, y), damping=0.1)
    assert own.to_frame(1)["train"].item() == int(own.values.argmax())
    wrong = torch.zeros(36, dtype=torch.bool)
    wrong[own.order[1]] = True
    assert own.found(wrong).tolist()[:3] == [0, 1, 1]
    assert "SelfInfluence of 36 training examples, exact" in repr(own)


def test_fewer_that_help_than_asked_for():
    ridge = Ridge(rows=4, columns=1)
    found = ridge.ask("exact").top(4)
    for side in found:
        assert (side == -1).any(1).all()


def test_conjugate_gradients_say_that_they_have_not_converged():
    net, (x, y) = tiny(), digits()
    found = influence(net, (x, y), (x[:2], y[:2]), how=CG(steps=2, tolerance=1e-9), damping=0.01)
    assert "Conjugate gradients have not converged: a residual of" in found.notes[-1]


def test_parameters_that_ekfac_leaves_out_are_named():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3)).double()
    net[2].weight.data *= 0.1
    x, y = digits()
    found = influence(net, (x, y), (x[:1], y[:1]), how="ekfac")
    assert found.parameters == ("0.weight", "0.bias", "2.weight", "2.bias")
    assert found.notes[0].startswith(
        "8 of 43 parameters are of layers that EK-FAC does not know, such as '1.weight'"
    )


def test_the_default_damping_is_a_tenth_of_the_mean_eigenvalue():
    ridge = Ridge()
    matrix = ridge.curvature(ridge.ones) - DECAY * torch.eye(4, dtype=DOUBLE)
    found = ridge.ask("exact", damping=None).convergence
    assert found.damping == pytest.approx(0.1 * float(matrix.diagonal().mean()))
    assert ridge.ask("cg", damping=None).convergence.damping == pytest.approx(
        found.damping, rel=0.5
    )


# Errors.


def wrong(match: str, error=InputError, model=None, train=None, test=None, **options):
    x, y = digits()
    with pytest.raises(error, match=match):
        influence(
            tiny() if model is None else model,
            (x, y) if train is None else train,
            (x[:2], y[:2]) if test is None else test,
            **options,
        )


def test_what_cannot_be_asked():
    x, y = digits()
    wrong(
        "`how` must be one that exists; got 'exakt'. Did you mean 'exact'?",
        UnknownNameError,
        how="exakt",
    )
    wrong("`how` must be one of exact, newton, .* or an object of those; got 3", how=3)
    wrong("`loss` must be one that exists; got 'mae'.*function", UnknownNameError, loss="mae")
    wrong("`train` must be .inputs, labels., or a data set", train=x)
    wrong("`test` must be .* For the influence on a score .* of=None", test=x)
    wrong("The labels of `train` must be numbers", train=(x, ["a"] * 36))
    wrong("the labels of train` must have one entry for each of the 36", train=(x, y[:3]))
    wrong(
        "A parameter, or a layer.* got '3.weight'.*Did you mean '2.weight'",
        UnknownNameError,
        parameters="3.weight",
    )
    wrong("`parameters` must choose at least one", parameters=lambda name: False)
    wrong("`damping` must be a number from 0 on", damping=-1.0)
    wrong("`checkpoints` must be given for `tracin` alone; got 'exact'", checkpoints=[{}])
    wrong("class of the output, from 0 to 2; got 7", TargetError, test=x, of=7)
    wrong("`model` must be a torch.nn.Module with parameters", model=torch.sin)
    wrong("numbers of classes for loss='cross_entropy'", train=(x, y.double()))
    wrong(
        "A classifier must return scores before softmax",
        ModelError,
        model=nn.Sequential(tiny(), nn.Softmax(1)),
    )
    wrong(
        "must return the loss of each example", ModelError, loss=lambda output, labels: output.sum()
    )


def test_a_model_in_training_mode():
    net = nn.Sequential(nn.Linear(4, 3), nn.Dropout(), nn.Linear(3, 3)).double().train()
    wrong("must be in evaluation mode.*Dropout in training mode.*eval", ModelError, model=net)


def test_a_singular_curvature_names_the_damping():
    """Of softmax scores, a constant that is added to all changes nothing."""
    for how in ("exact", "newton"):
        wrong("positive definite; got one that goes down to .* damping of 0. Give the weight decay",
              ModelError, how=how, damping=0.0)  # fmt: skip
    wrong("must be above zero, with its damping; got none in a direction of 'the last layer'",
          how="ekfac", damping=0.0, parameters="2")  # fmt: skip
    wrong("must be positive definite", ModelError, how="lissa", damping=0.0)


def test_a_curvature_that_bends_down():
    net = tiny()
    net[2].weight.data *= -1  # confident, and wrong
    x, y = digits()
    options = {"parameters": "0", "damping": 1e-6}
    for how in ("exact", "cg"):
        with (
            pytest.warns(PellucidWarning, match="worse than a guess on `train`"),
            pytest.raises(ModelError, match="goes down to -.*the Gauss-Newton curvature"),
        ):
            influence(net, (x, y), (x[:2], y[:2]), how=how, **options)


def test_a_series_that_diverges():
    wrong("The series of LiSSA must converge.*Take a scale of ", ModelError,
          how=LiSSA(scale=0.01), damping=0.1)  # fmt: skip


def test_layers_that_ekfac_does_not_know():
    net = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3)).double()
    wrong("asked about parameters of Linear, .*got '1.weight', of LayerNorm.*known here: '0', '2'",
          ModelError, model=net, how="ekfac", parameters=["1", "2"])  # fmt: skip


def test_a_training_set_that_is_not_the_model_s():
    net, (x, y) = tiny(), digits()
    with pytest.warns(PellucidWarning, match="worse than a guess on `train`: its mean loss is"):
        found = influence(net, (x, (y + 1) % 3), (x[:2], y[:2]), damping=0.1)
    assert "Is it what the model was trained on" in found.notes[0]
    assert "influence functions suppose" in found.notes[-1]


def test_memory_is_planned_before_any_work():
    wrong("What `exact` holds must be at most `memory`, 0.0 MB; got .* for the matrix of the "
          "curvature .18 parameters", how="exact", memory=4000)  # fmt: skip
    wrong("for the factors of '0'|for what is solved", how="ekfac", memory=2000)


def test_checkpoints_of_something_else(tmp_path):
    net, (x, _) = tiny(), digits()
    wrong("A checkpoint must be a state dict, the path", how="tracin", checkpoints=[3])
    wrong("A checkpoint must be a state dict of the model; got one without '0.weight'",
          how="tracin", checkpoints=[{"a": x}])  # fmt: skip
    wrong("must have the shapes of the model: '0.weight' .5, 4.", how="tracin",
          checkpoints=[{**net.state_dict(), "0.weight": x}])  # fmt: skip
    wrong("must be a state dict, by torch.save", FileError, how="tracin",
          checkpoints=[tmp_path / "none.pt"])  # fmt: skip


# Pictures.


def test_examples_are_drawn_with_what_is_known_of_them():
    x, y = drawn(12, 1, 5, 5), torch.arange(12) % 3
    net = convolutional()
    net[4].weight.data *= 0.1
    figure = influence(net, (x, y), (x[:2], y[:2]), damping=0.1).plot(2)
    titles = [ax.get_title() for ax in figure.axes]
    assert len(titles) == 10
    assert titles[0].startswith("0\nnow ")
    assert titles[1].split("\n")[1].startswith("+")
    assert not figure.axes[0].spines["top"].get_visible()
    colors = [ax.spines["top"].get_edgecolor()[:3] for ax in figure.axes]
    assert colors[1] == colors[2] != colors[3] == colors[4]
    own = self_influence(net, (x, y), damping=0.1)
    first = own.plot(9).axes[0].get_title()
    assert first.split("\n")[0] == str(int(y[own.order[0]]))
    net_, (x, y) = tiny(), digits()
    assert len(influence(net_, (x, y), x[:1], of=0, damping=0.1).plot(1).axes) == 3


# Every law can fail.


def mutated(found, change):
    """A function whose answer is changed on the way out."""
    return lambda *args, **options: change(found(*args, **options))


MUTANTS = {
    "solutions a little too long": (
        exact.Factored, "undone", lambda v: 1.001 * v,
        test_influence_functions_leave_out_the_leverage,
    ),
    "no leverage": (
        exact.Without, "without", None,
        test_a_newton_step_is_ridge_regression_without_the_example,
    ),
    "conjugate gradients that stop early": (
        iterative.Conjugate, "_open", torch.zeros_like,
        lambda: test_all_agree_on_a_linear_model(CG()),
    ),
    "eigenvalues of another basis": (
        ekfac, "_vectors", lambda v: v.flip(0),
        lambda: test_ekfac_is_its_formula(tiny),
    ),
    "a score with the sign of a loss": (
        stage, "_of_target", lambda found: (-found[0], found[1]),
        test_representer_values_sum_to_the_score,
    ),
    "harm for help": (
        stage.Stage, "_solved", lambda made: {**made, "vectors": -made["vectors"]},
        test_a_helpful_example_lowers_the_loss,
    ),
    "pieces of a convolution in another order": (
        blocks, "patches", lambda found: found.flip(2),
        lambda: test_ekfac_is_its_formula(convolutional),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_breaks_its_law(name, monkeypatch):
    home, what, change, law = MUTANTS[name]
    law()
    if change is None:
        monkeypatch.setattr(home, what, solver.Inverse.without)
    else:
        monkeypatch.setattr(home, what, mutated(getattr(home, what), change))
    with pytest.raises((AssertionError, ModelError)):
        law()
