"""The tests of LIME can fail: mutants of its parts, each of which the textbook has to notice."""

import numpy as np
import pytest
import torch

import pellucid as pl
from pellucid.lime import fit, local, near, removal
from tests.lime import textbook

X = torch.randn(2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def bent(x):
    return (x[:, 0] * x[:, 1] + torch.sin(x[:, 2] + x[:, 3]) * x[:, 4] - x[:, 5] ** 2).unsqueeze(1)


def off():
    """How far the values are from those of the textbook."""
    found = pl.LIME(baseline=0.3)(bent, X)
    expected = [
        textbook.lime(
            lambda x: bent(torch.tensor(x)[None]).item(), row.numpy(), np.full(6, 0.3), 0.25
        )[0]
        for row in X
    ]
    return float((found.players - torch.tensor(np.array(expected))).abs().max())


def without_kernel(self, widths):
    return self.mass


def with_the_paper_s_sigma(self, widths):
    return self.mass * torch.exp(-((self.distance / widths.unsqueeze(1)) ** 2))


def euclidean(self, there):
    return (there[:, :1].double() - there).sqrt()


def all_alike(self, count, used):
    return torch.ones(used + 1, dtype=torch.float64)


def not_centered(features, scores, weights):
    share = weights / weights.sum(1, keepdim=True)
    zero = torch.zeros_like(features[:, 0])
    return fit.Moments(
        gram=features.mT @ (share.unsqueeze(2) * features),
        cross=((share * scores).unsqueeze(1) @ features).squeeze(1),
        spread=(share * scores**2).sum(1),
        center=zero,
        level=torch.zeros(len(scores), dtype=scores.dtype),
        total=weights.sum(1),
    )


def test_what_is_right_is_found_right():
    assert off() < 1e-7


@pytest.mark.parametrize(
    ("home", "name", "mutant"),
    [
        (near.Near, "weights", without_kernel),
        (near.Near, "weights", with_the_paper_s_sigma),
        (removal.Removal, "_distances", euclidean),
        (removal.Removal, "_mass", all_alike),
        (local.Moments, "of", staticmethod(not_centered)),
    ],
)
def test_what_is_wrong_is_noticed(home, name, mutant, monkeypatch):
    monkeypatch.setattr(home, name, mutant)
    assert off() > 1e-3
