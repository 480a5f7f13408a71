"""Scores and maps on the line from the baseline to the input."""

import pytest
import torch
from torch import nn

import pellucid as pl
from pellucid.diagnose import diagnose_noise
from pellucid.diagnose.findings import saturated
from tests.diagnose import planted

FEW = {"distances": [0.1], "fractions": [0.5], "points": 4, "target": 0}
ALPHAS = [k / 20 for k in range(21)]


def walked(model, x, methods=("saliency",), **options):
    return diagnose_noise(model, x, methods=methods, **{**FEW, **options})


def test_a_linear_score_rises_evenly():
    model, x = nn.Linear(5, 2).double(), torch.randn(3, 5).double()
    found = walked(model, x, alphas=ALPHAS)
    part = found.saturation
    torch.testing.assert_close(part.shares, part.alphas.expand(3, -1))
    torch.testing.assert_close(part.carried, torch.ones(3).double())
    torch.testing.assert_close(part.reaches(0.5), torch.full((3,), 0.5).double())
    torch.testing.assert_close(part.sizes[:, 0], part.sizes[:, 0, :1].expand(-1, 21))
    torch.testing.assert_close(part.lengths_before()[:, 0], part.alphas.expand(3, -1))
    assert (part.correlation == 1).all()
    assert not any(saturated(found, row) for row in range(3))


def test_a_saturated_score():
    """y = 1 - relu(1 - sum of x), as in the paper on DeepLIFT, with a sum of 4 at the input."""

    def model(x):
        return 1 - (1 - x.sum(1, keepdim=True)).relu()

    found = walked(model, torch.ones(1, 4).double(), methods=["saliency", "integrated_gradients"],
                   alphas=ALPHAS)  # fmt: skip
    part = found.saturation
    expected = (4 * part.alphas).clamp(max=1)
    torch.testing.assert_close(part.scores[0], expected)
    assert part.carried.item() == 0
    assert part.reaches(0.5).item() == pytest.approx(0.125)
    assert part.reaches(0.9).item() == pytest.approx(0.225)
    assert part.sizes[0, 0, -1] == 0  # the gradient has nothing to show
    assert part.sums[0, 1, -1].item() == pytest.approx(1, rel=0.02)  # integrated, it has
    assert saturated(found, 0)
    assert "it shows what is left of a saturated score" in found.findings()[0].split(";")[0]
    assert "saturated" not in found.findings()[0].split(";")[1]  # which shares out all of it
    assert "accounts for 0 % of the rise" in found.findings()[4]


def test_slopes_are_those_of_autograd_and_add_up_to_the_rise():
    torch.manual_seed(0)
    model, x = planted.perceptron(2), torch.randn(2, 4).double()
    start = torch.full((4,), 0.3).double()
    alphas = torch.linspace(0, 1, 401).double()
    part = walked(model, x, baseline=start, alphas=alphas).saturation
    for k in (0, 77, 400):
        point = (start + alphas[k] * (x - start)).requires_grad_()
        score = model(point)[:, 0]
        slope = torch.autograd.grad(score.sum(), point)[0]
        torch.testing.assert_close(part.scores[:, k], score.detach())
        torch.testing.assert_close(part.slopes[:, k], (slope * (x - start)).sum(1))
        torch.testing.assert_close(part.sizes[:, 0, k], slope.norm(dim=1))
    means = (part.slopes[:, 1:] + part.slopes[:, :-1]).mean(1) / 2
    torch.testing.assert_close(means, part.scores[:, -1] - part.scores[:, 0], rtol=0.02, atol=0.01)


def test_maps_on_the_line_are_those_of_the_methods_there():
    torch.manual_seed(0)
    model, x = planted.perceptron(2), torch.randn(2, 4).double()
    part = walked(model, x, ["lrp", "gradient_x_input"], alphas=[0, 0.3, 1]).saturation
    for m, method in enumerate(("lrp", "gradient_x_input")):
        there = pl.explain(model, 0.3 * x, method, target=0, on_incomplete="ignore").values
        here = pl.explain(model, x, method, target=0, on_incomplete="ignore").values
        torch.testing.assert_close(part.sizes[:, m, 1], there.norm(dim=1))
        torch.testing.assert_close(part.sums[:, m, 1], there.sum(1))
        pairs = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(here, there, strict=True)]
        torch.testing.assert_close(part.correlation[:, m, 1], torch.stack(pairs))
    torch.testing.assert_close(part.expected[:, 0], model(x)[:, 0].detach())


def test_a_score_that_does_not_change_is_not_judged():
    model = lambda x: x[:, :1] * 0 + x[:, 1:].abs() - x[:, 1:].abs()  # noqa: E731
    found = walked(model, torch.randn(1, 2))
    assert found.saturation.reaches(0.5).isnan().all()
    assert not saturated(found, 0)
    assert "so that nothing can be said" in found.findings()[4]


def test_a_score_that_comes_back_reaches_a_share_when_it_stays_there():
    """It is above a half of its way at 0.2 and below it at 0.6 again: it has it at 0.7."""

    def model(x):
        y = x.sum(1, keepdim=True)
        return y.relu() - 2 * (y - 0.5).relu() + 2 * (y - 0.8).relu() + (y - 0.8).relu() * 2

    found = walked(model, torch.tensor([[0.5, 0.5]]).double(), alphas=ALPHAS).saturation
    share = found.shares[0]
    crossing = found.reaches(0.5).item()
    later = share[found.alphas > crossing + 1e-9]
    before = share[found.alphas < crossing - 1e-9]
    assert (later >= 0.5).all()
    assert before[-1] < 0.5
    assert (before[:-1] >= 0.5).any()  # it had been there before
