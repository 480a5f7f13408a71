"""How strong each spatial frequency is in images and signals, whatever their contrast."""

import torch
from torch import Tensor


def spectra(images: Tensor) -> Tensor:
    """The logarithm of the share of the power at each radius, in decibels, (sample, radius).

        P(r) = mean over channels and |f| = r of |FFT(w (x - mean))|^2,   10 log10 P(r) / sum_r P(r)

    `images` are of shape (sample, channel, *position), w is a Hann window, and radii are periods in
    the shortest side, from 1 to its half.
    Source: van der Schaaf and van Hateren (1996), Modelling the Power Spectra of Natural Images.

    >>> spectra(torch.rand(2, 3, 16, 12)).shape
    torch.Size([2, 6])
    """
    real = images.double()
    axes = tuple(range(2, real.ndim))
    sides = real.shape[2:]
    real = real - real.mean(axes, keepdim=True)
    for axis, side in zip(axes, sides, strict=True):
        window = torch.hann_window(side, periodic=True, dtype=real.dtype, device=real.device)
        real = real * window.reshape(-1, *[1] * (real.ndim - 1 - axis))
    power = torch.fft.fftn(real, dim=axes).abs().square().mean(1).flatten(1)
    shortest = min(sides)
    steps = [torch.fft.fftfreq(side, dtype=real.dtype) * shortest for side in sides]
    radius = torch.cartesian_prod(*steps).reshape(-1, len(sides)).norm(dim=1).round().long()
    kept = (radius >= 1) & (radius <= shortest // 2)
    rings = torch.nn.functional.one_hot(radius[kept] - 1, shortest // 2).to(power)
    by_radius = power[:, kept.to(power.device)] @ rings / rings.sum(0)
    shares = by_radius / by_radius.sum(1, keepdim=True).clamp(min=1e-30)
    return 10 * shares.clamp(min=1e-12).log10()


def slope(spectrum: Tensor) -> Tensor:
    """The exponent a of power ~ 1 / frequency^a, by least squares of logarithms, (sample,).

    >>> radii = torch.arange(1, 9).double()
    >>> round(float(slope(-20 * radii.log10()[None])), 6)
    2.0
    """
    octaves = torch.arange(1, spectrum.shape[1] + 1).to(spectrum).log10()
    away = octaves - octaves.mean()
    return -(spectrum @ away) / away.square().sum() / 10
