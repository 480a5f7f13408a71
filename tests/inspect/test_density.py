"""Densities beside textbook ones: sums over components and hidden states, and integrals of one."""

import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from pellucid.errors import FileError, InputError, UnknownNameError
from pellucid.inspect.dreaming import boltzmann, mixture
from pellucid.inspect.dreaming.boltzmann import BoltzmannMachine, log_partition
from pellucid.inspect.dreaming.density import Density, fit_density
from pellucid.seeding import seeded

KINDS = {
    "mixture": {"components": 2, "rank": 1},
    "rbm": {"hidden": 3, "epochs": 5, "chains": 16},
}


def rows(count=200, features=2, seed=0):
    """Two clouds that are long in one direction."""
    draw = seeded(seed)
    x = torch.randn(count, features, generator=draw, dtype=torch.float64)
    x[:, 0] *= 2
    x[: count // 2] += 3
    return x


@cache
def fitted(kind):
    return fit_density(rows(), kind, **KINDS[kind])


def slow_mixture(fitted, x):
    """log p by full covariances of all elements: those in the plane, and round ones off it."""
    plane, found = fitted.plane.numpy(), 0
    off = np.eye(plane.shape[1]) - plane.T @ plane
    for weight, mean, root in zip(fitted.weights, fitted.means, fitted.roots, strict=True):
        inner = np.linalg.inv((root @ root.T).numpy())
        covariance = plane.T @ inner @ plane + fitted.off * off
        center = fitted.center.numpy() + mean.numpy() @ plane
        found = found + float(weight) * multivariate_normal(center, covariance).pdf(x.numpy())
    return torch.from_numpy(np.log(found))


def slow_machine(machine, x):
    """log p by adding up over all states of the hidden units, elements and partition alike."""
    w, c, s = machine.weights, machine.biases, machine.scale
    u = (x - machine.center) / s
    states = [torch.tensor(h).double() for h in itertools.product((0, 1), repeat=len(c))]
    joint = torch.stack([u @ w.T @ h + c @ h - 0.5 * u.square().sum(1) for h in states])
    volume = torch.stack([c @ h + 0.5 * (h @ w).square().sum() for h in states]).logsumexp(0)
    log_z = volume + 0.5 * len(s) * math.log(2 * math.pi) + s.log().sum()
    return joint.logsumexp(0) - log_z


@pytest.mark.parametrize(("features", "rank"), [(2, 1), (4, 2), (3, 3)])
def test_a_mixture_is_that_of_full_covariances(features, rank):
    x = rows(features=features)
    found = fit_density(x, components=3, rank=rank)
    wanted = slow_mixture(found.model, x)
    torch.testing.assert_close(found(x), wanted, rtol=1e-9, atol=1e-9)


def check_machine(found, x):
    torch.testing.assert_close(found(x), slow_machine(found.model, x), rtol=0, atol=0.05)


def test_a_machine_is_the_sum_over_its_hidden_states():
    x = rows(100)
    check_machine(fit_density(x, "rbm", hidden=4, epochs=20), x)


def on_a_grid(density):
    """Points of the plane, and the mass of the density about each."""
    at = torch.linspace(-15, 18, 160, dtype=torch.float64)
    points = torch.cartesian_prod(at, at)
    return points, density(points).exp() * (at[1] - at[0]) ** 2


def check_integral(density, atol):
    assert abs(float(on_a_grid(density)[1].sum()) - 1) < atol


@pytest.mark.parametrize(("kind", "atol"), [("mixture", 1e-3), ("rbm", 0.05)])
def test_a_density_integrates_to_one(kind, atol):
    check_integral(fitted(kind), atol)


def without_volume(z, means, roots):
    return -0.5 * torch.einsum("nka,kab->nkb", z[:, None] - means, roots).square().sum(2)


def without_gauss(u, weights, biases):
    return torch.nn.functional.softplus(u @ weights.T + biases).sum(1) - 0.4 * u.square().sum(1)


@pytest.mark.parametrize(
    ("module", "name", "broken", "kind"),
    [
        (mixture, "_gaussians", without_volume, "mixture"),
        (boltzmann, "_height", without_gauss, "rbm"),
    ],
)
def test_the_laws_notice_a_broken_density(monkeypatch, module, name, broken, kind):
    found = fitted(kind)
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(AssertionError):
        check_integral(found, 0.05)


def test_the_partition_of_a_machine_with_strong_weights():
    weights = torch.randn(6, 5, generator=seeded(1), dtype=torch.float64) * 1.2
    biases = torch.randn(6, generator=seeded(2), dtype=torch.float64)
    machine = BoltzmannMachine(
        center=torch.zeros(5).double(), scale=torch.ones(5).double(),
        weights=weights, biases=biases, log_z=log_partition(weights, biases),
    )  # fmt: skip
    check_machine(machine_density(machine), torch.zeros(1, 5).double())


def machine_density(machine):
    return Density(model=machine, shape=(len(machine.center),), fitted=0.0, held_out=0.0)


def test_what_a_machine_learns_says_more_of_new_data_than_independent_elements():
    x = rows(400, 6)
    x[:, 1:] += x[:, :1]
    found = fit_density(x, "rbm", hidden=8, epochs=40)
    order = torch.randperm(400, generator=seeded(0))
    held, kept = x[order[:40]], x[order[40:]]
    alone = torch.distributions.Normal(kept.mean(0), kept.std(0)).log_prob(held).sum(1).mean()
    assert found.held_out > float(alone) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_moments_of_the_density(kind):
    found = fitted(kind)
    drawn = found.sample(1000)
    assert torch.equal(found.sample(5), found.sample(5))
    assert not torch.equal(found.sample(5), found.sample(5, seed=1))
    at, mass = on_a_grid(found)
    mass = mass / mass.sum()
    mean = mass @ at
    torch.testing.assert_close(drawn.mean(0), mean, rtol=0, atol=0.25)
    torch.testing.assert_close(drawn.std(0), (mass @ (at - mean) ** 2).sqrt(), rtol=0.1, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_differentiated_and_follows_the_input(kind):
    found = fitted(kind)
    x = rows(5, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(found, x)
    alone = torch.cat([found(each[None]) for each in x])
    torch.testing.assert_close(found(x), alone)
    for dtype in (torch.bfloat16, torch.float32):
        said = found(x.to(dtype))
        assert said.dtype == dtype
        torch.testing.assert_close(said.double(), found(x.to(dtype).double()), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_a_density(tmp_path, kind):
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    images = rows(60, 12).reshape(60, 1, 3, 4)
    found = fit_density(images, kind, **KINDS[kind])
    again = Density.load(found.save(tmp_path / "density.safetensors"))
    assert torch.equal(again(images), found(images))
    assert repr(again) == repr(found)
    assert torch.equal(fit_density(images, kind, **KINDS[kind])(images), found(images))
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()


def test_a_file_of_something_else(tmp_path):
    (tmp_path / "density").write_text("not a density")
    with pytest.raises(FileError, match="must be a file of a density that pellucid saved"):
        Density.load(tmp_path / "density")


def test_arrays_are_data():
    x = rows(50)
    assert torch.equal(fit_density(x.numpy(), components=1)(x), fit_density(x, components=1)(x))


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (rows(), {"kind": "rmb"}, "`kind` of a density must be one that exists.*'rbm'"),
        (rows(), {"component": 3}, "An option of a density by 'mixture'.*'components'"),
        (rows(), {"kind": "rbm", "rank": 3}, "An option of a density by 'rbm' must be one"),
        (rows(), {"seeds": 3}, "An option of a density by 'mixture' must be one"),
        (rows(20), {"components": 19}, "`components` must be at most the 18 samples of the fit"),
        (torch.ones(20, 3), {}, "`data` must have samples that differ"),
        (torch.ones(3, 3), {}, "`data` must have at least 10 samples"),
        (np.full((20, 3), math.nan), {}, "`data` must be finite; got 20 samples with values"),
        (torch.ones(20), {}, "`data` must have a row for each sample"),
        (["a text"] * 20, {}, "`data` must be one tensor or array"),
        ({"a": rows(), "b": rows()}, {}, "`data` must be one tensor or array"),
        (rows(), {"holdout": 1.5}, "`holdout` must be a share"),
    ],
)
def test_what_no_density_is_fitted_to(data, options, said):
    with pytest.raises(InputError, match=said):
        fit_density(data, **options)


def test_inputs_of_another_shape():
    found = fit_density(rows(), components=1)
    with pytest.raises(InputError, match=r"of samples of shape \[2\] must be given such inputs"):
        found(torch.zeros(1, 3))
    with pytest.raises(UnknownNameError):
        fit_density(rows(), "kde")
