"""What a score is not exact to says nothing: no fall, no difference, no correlation."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import pellucid as pl
from pellucid.evaluate import FaithfulnessCorrelation, MonotonicityCorrelation, SensitivityN
from pellucid.evaluate.faithfulness import Monotonicity

SAID = "In 2 of 2 samples what is compared does not vary, and there is no correlation."


def nearly_constant(x):
    """A score of 100 in single precision, of which features change the last places."""
    return 100 + (x * torch.linspace(-1, 1, x.shape[1])).sum(1, keepdim=True) * 1e-5


@pytest.mark.parametrize("kind", [SensitivityN, FaithfulnessCorrelation, MonotonicityCorrelation])
def test_what_is_rounding_has_no_correlation(kind):
    x = torch.rand(2, 6, generator=torch.Generator().manual_seed(0))
    got = kind()(nearly_constant, pl.explain(nearly_constant, x, "gradient_x_input"))
    assert bool(got.values.isnan().all())
    assert got.notes == (SAID,)


def test_features_without_effect_share_a_rank():
    """Their falls are rounding; so the map that gives them nothing has the right order."""
    weights = torch.tensor([3.0, 2.0, 1.0, *[0.0] * 40])

    def model(x):
        last = 1e-6 * (1e3 * x.sum(1)).sin()  # what sums in another order differ by
        return (x @ weights + last).unsqueeze(1)

    x = torch.rand(3, 43, generator=torch.Generator().manual_seed(1)) + 1
    values = x * weights
    found = pl.explain(model, x, "occlusion", target=0)
    stated = pl.Explanation(**{
        **vars(found), "values": values, "method": pl.GradientXInput(),
        "players": None, "features": None,
    })  # fmt: skip
    assert MonotonicityCorrelation()(model, stated).values.tolist() == pytest.approx([1.0] * 3)


def test_a_fall_by_one_unit_of_the_last_place_is_none():
    def model(x):
        odd = (x != 0).sum(1, keepdim=True) % 2
        return (1 + odd * 2**-7).to(x)

    x = torch.ones(1, 8, dtype=torch.bfloat16)
    found = pl.explain(model, x, "occlusion", target=0)
    assert float(Monotonicity()(model, found).values) == 1

    def falls(x):
        return (1 + (x != 0).sum(1, keepdim=True) % 2).to(x)

    found = pl.explain(falls, x, "occlusion", target=0)
    assert float(Monotonicity()(falls, found).values) == 0.5


class Largest(TorchDispatchMode):
    """Remembers how many elements the largest tensor had that was made."""

    most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.most = max(self.most, made.numel())
        return made


def test_one_by_one_of_many_players_takes_no_table_of_all_pairs():
    side = 64
    x = torch.rand(1, 1, side, side)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(side * side, 2))
    found = pl.explain(model, x, "gradient_x_input")
    metric = MonotonicityCorrelation(features=pl.Features.patches(1), most=20)
    with Largest() as seen:
        got = metric(model, found)
    assert float(got.values) > 0.9
    assert seen.most <= 64 * side * side
