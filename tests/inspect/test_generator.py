"""The generator: its bound beside one that is summed by hand, its codes, files and errors."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from pellucid.errors import FileError, InputError, ModelError
from pellucid.inspect.dreaming import generator
from pellucid.inspect.dreaming.generator import Generator, Nets, fit_generator
from pellucid.seeding import seeded

SHAPE = (1, 4, 5)


def images(count=120, seed=0, dtype=torch.float32):
    """Bars that stand (class 0) or lie (class 1), of some brightness, between 2 and 5."""
    draw = seeded(seed)
    labels = torch.arange(count) % 2
    x = torch.zeros(count, *SHAPE, dtype=dtype)
    x[labels == 0, :, :, 1:3] = 1
    x[labels == 1, :, 2:, :] = 1
    return 2 + 3 * x * torch.rand(count, 1, 1, 1, generator=draw, dtype=dtype), labels


@pytest.fixture(scope="module")
def fitted():
    return fit_generator(*images(), code=2, width=32, epochs=40, rate=1e-2, batch_size=16)


def slow_bound(nets, shares, prior, draw):
    """-log p(x) of samples is at most this, by torch's distributions."""
    mean, log_variance = nets.encoder(shares).chunk(2, 1)
    codes = Normal(mean, (0.5 * log_variance).exp())
    noise = torch.randn(mean.shape, generator=draw, dtype=mean.dtype)
    decoder = nets.decoder(codes.loc + codes.scale * noise)
    # A cross-entropy, for shares between black and white.
    pixels = Bernoulli(logits=decoder)
    white, black = torch.ones_like(shares), torch.zeros_like(shares)
    wrong = -(shares * pixels.log_prob(white) + (1 - shares) * pixels.log_prob(black))
    told = kl_divergence(codes, Normal(torch.zeros_like(mean), torch.ones_like(mean)))
    return (wrong.sum(1) + prior * told.sum(1)).mean()


def check_bound(prior):
    nets = generator._drawn(Nets.of(20, 3, 16), seeded(0), torch.float64)
    shares = torch.rand(7, 20, generator=seeded(1), dtype=torch.float64)
    found = generator._loss(nets, shares, prior, seeded(2))
    torch.testing.assert_close(found, slow_bound(nets, shares, prior, seeded(2)))


@pytest.mark.parametrize("prior", [0.0, 1.0, 4.0])
def test_the_loss_is_the_bound(prior):
    check_bound(prior)


def test_the_bound_notices_another_loss(monkeypatch):
    broken = generator._loss
    monkeypatch.setattr(generator, "_loss", lambda n, s, p, d: broken(n, s, 0.5 * p, d))
    with pytest.raises(AssertionError):
        check_bound(1.0)


def test_data_come_back_from_their_codes(fitted):
    x, labels = images(40, seed=5)
    again = fitted(fitted.encode(x))
    assert float((again - x).square().mean()) < 0.1 * float(x.var())
    assert fitted.error < 0.1
    by_hand = torch.stack([fitted.encode(images()[0])[images()[1] == k].mean(0) for k in (0, 1)])
    torch.testing.assert_close(fitted.codes_of([0, 1]), by_hand)
    torch.testing.assert_close(fitted.codes_of([1]), by_hand[1:])
    near = torch.cdist(fitted.encode(x), fitted.codes_of([0, 1])).argmin(1)
    assert float((near == labels).float().mean()) > 0.9


def test_what_is_generated_lies_between_the_ends_of_the_data(fitted):
    made = fitted(10 * torch.randn(50, 2, generator=seeded(0)))
    x = images()[0]
    assert made.shape == (50, *SHAPE)
    assert made.min() >= x.min()
    assert made.max() <= x.max()
    assert torch.equal(fitted.sample(4), fitted.sample(4))
    assert not torch.equal(fitted.sample(4), fitted.sample(4, seed=1))


def test_ends_are_those_of_channels():
    x = torch.rand(30, 2, 3, 3, generator=seeded(0)) * torch.tensor([1.0, 100.0])[:, None, None]
    made = fit_generator(x, code=2, width=8, epochs=1)(torch.randn(20, 2, generator=seeded(1)))
    assert made[:, 0].max() <= 1
    assert made[:, 1].mean() > 10


def test_the_prior_of_codes(fitted):
    codes = torch.randn(5, 2, generator=seeded(0))
    wanted = Normal(0.0, 1.0).log_prob(codes).sum(1)
    torch.testing.assert_close(fitted.log_prior(codes), wanted)


def test_it_is_differentiated_and_follows_the_codes(fitted):
    codes = torch.randn(4, 2, generator=seeded(0), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(fitted, codes)
    assert torch.autograd.gradcheck(fitted.encode, fitted(codes).detach().requires_grad_())
    torch.testing.assert_close(fitted(codes), torch.cat([fitted(each[None]) for each in codes]))
    half = fitted(codes.detach().bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), fitted(codes.detach()), rtol=0.02, atol=0.05)
    assert all(not weight.requires_grad for weight in fitted.weights.values())


def test_a_file_of_a_generator(tmp_path, fitted):
    again = Generator.load(fitted.save(tmp_path / "generator.safetensors"))
    codes = torch.randn(3, 2, generator=seeded(0))
    assert torch.equal(again(codes), fitted(codes))
    assert torch.equal(again.codes_of([1]), fitted.codes_of([1]))
    assert repr(again) == repr(fitted)
    assert "2 numbers to [1, 4, 5], 2 classes: leaves" in repr(again)


def test_a_file_that_is_not_whole(tmp_path, fitted):
    part = dict(list(fitted.weights.items())[:-1])
    dataclasses.replace(fitted, weights=part).save(tmp_path / "part")
    with pytest.raises(FileError, match="must hold a generator, and all of it"):
        Generator.load(tmp_path / "part")


def test_training_is_decided_by_its_seed_and_leaves_no_trace():
    state, x = torch.get_rng_state(), images()[0].numpy()
    first, again, other = (fit_generator(x, code=1, epochs=1, seed=k) for k in (0, 0, 1))
    codes = torch.zeros(1, 1)
    assert torch.equal(first(codes), again(codes))
    assert not torch.equal(first(codes), other(codes))
    assert torch.equal(torch.get_rng_state(), state)


def test_it_is_made_and_used_in_inference_mode():
    with torch.inference_mode():
        x = images()[0]
        made = fit_generator(x, code=1, epochs=1)
        assert made(torch.zeros(2, 1)).shape == (2, *SHAPE)
    codes = torch.zeros(2, 1).requires_grad_()
    assert torch.autograd.grad(made(codes).sum(), codes)[0].shape == (2, 1)


def test_a_table_and_double_precision():
    x = torch.randn(40, 3, generator=seeded(0), dtype=torch.float64)
    found = fit_generator(x, code=2, width=8, epochs=1)
    assert found.sample(2).dtype == torch.float64
    assert found.sample(2).shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": torch.zeros(3).long()}, "`labels` must be the number of a class for each"),
        ({"labels": np.full(120, 0.5)}, "`labels` must be the number of a class for each"),
        ({"code": 0}, "`code` must be a whole number, at least 1"),
        ({"prior": -1}, "`prior` must be a number from 0 on"),
        ({"rate": 0}, "`rate` must be a number above 0"),
    ],
)
def test_options_that_cannot_be(options, said):
    with pytest.raises(InputError, match=said):
        fit_generator(images()[0], **{"epochs": 1} | options)


def test_a_training_that_goes_wrong():
    with pytest.raises(ModelError, match="The loss of a training must stay finite.*lower `rate`"):
        fit_generator(images()[0], rate=1e30, epochs=5)
    with pytest.raises(InputError, match="`data` must have samples that differ"):
        fit_generator(torch.ones(20, 3))


def test_what_a_generator_is_not_given(fitted):
    with pytest.raises(InputError, match=r"Codes must have the shape \(sample, 2\); got float32"):
        fitted(torch.zeros(1, 3))
    with pytest.raises(InputError, match=r"Inputs to encode must have the shape \(sample, 1, 4"):
        fitted.encode(torch.zeros(1, 1, 5, 5))
    with pytest.raises(InputError, match="Classes must be among those .*; got 7. Those are: 0, 1"):
        fitted.codes_of([0, 7])
    with pytest.raises(InputError, match="must be fitted with `labels` to know codes of classes"):
        fit_generator(images()[0], code=1, epochs=1).codes_of([0])
    assert math.isfinite(fitted.error)
