"""Curves of metrics: means and intervals over samples, and how they are drawn."""

import numpy as np
import pytest
import torch

import pellucid as pl
from pellucid.errors import InputError, UnknownNameError
from pellucid.evaluate import Curve, Measurement
from pellucid.plot.curves import Bands, curves


def measured(methods=("gradient_x_input", "saliency"), metric="selectivity", samples=12, **options):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(samples, 5, generator=generator)
    model = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.Tanh(), torch.nn.Linear(6, 2))
    found = pl.compare(model, x, list(methods), target=0)
    metric = pl.evaluate.named_metric(metric, **options)
    return pl.evaluate.measure(model, list(found), metric)


def own(y):
    """A measurement with one curve."""
    curve = Curve(x=torch.arange(float(y.shape[1])), y=y, xlabel="steps", ylabel="score")
    return Measurement(
        metric=pl.evaluate.AOPC(),
        method=pl.Saliency(),
        values=torch.zeros(len(y)).double(),
        curves={"morf": curve},
    )


def test_a_band_is_the_mean_over_samples_and_its_interval():
    y = torch.randn(200, 3, generator=torch.Generator().manual_seed(1)).double()
    (line,) = Bands.of(own(y)).lines
    assert np.allclose(line.mean, y.mean(0))
    error = (y.std(0) / 200**0.5).numpy()
    assert np.allclose(line.high - line.mean, 1.96 * error, rtol=0.2)
    assert np.allclose(line.mean - line.low, 1.96 * error, rtol=0.2)
    (narrow,) = Bands.of(own(y), level=0.5).lines
    assert ((narrow.high - narrow.low) < 0.5 * (line.high - line.low)).all()


def test_samples_without_a_curve_do_not_count():
    y = torch.tensor([[1.0, 2.0], [3.0, 4.0], [torch.nan, torch.nan]])
    (line,) = Bands.of(own(y)).lines
    assert line.samples == 2
    assert line.mean.tolist() == [2, 3]


def test_one_sample_has_no_band():
    (line,) = Bands.of(own(torch.tensor([[1.0, 2.0]]))).lines
    assert np.isnan(line.low).all()
    ax = curves(own(torch.tensor([[1.0, 2.0]])))
    assert len(ax.collections) == 0
    assert ax.get_xlabel().splitlines() == ["steps", "one sample"]


@pytest.mark.parametrize("dark", [False, True])
def test_methods_have_a_color_each_and_share_the_line_of_chance(dark):
    found = measured()
    ax = curves(found, dark=dark)
    drawn = {line.get_label(): line for line in ax.get_lines()}
    assert list(drawn) == ["GradientXInput", "Saliency", "random orders"]
    assert len({line.get_color() for line in drawn.values()}) == 3
    mean = found[1].curves["morf"].y.mean(0).numpy()
    assert np.allclose(drawn["Saliency"].get_ydata(), mean)
    assert len(ax.collections) == 3
    assert ax.get_xlabel().splitlines() == [
        "features removed", "mean of 12 samples; bands: 95 % interval over samples",
    ]  # fmt: skip
    assert ax.get_title() == "selectivity"


def test_two_curves_of_a_method_differ_in_their_dashes():
    ax = curves(measured(metric="abpc"))
    labels = [line.get_label() for line in ax.get_lines()]
    assert labels == [
        "GradientXInput, morf", "GradientXInput, lerf", "Saliency, morf", "Saliency, lerf",
    ]  # fmt: skip
    styles = [line.get_linestyle() for line in ax.get_lines()]
    assert styles == ["-", "--", "-", "--"]
    only = curves(measured(metric="abpc"), curve="lerf")
    assert [line.get_label() for line in only.get_lines()] == ["GradientXInput", "Saliency"]


def test_methods_of_one_name_are_told_apart():
    chosen = [pl.Saliency(), pl.Saliency(reduce="squared")]
    labels = [line.get_label() for line in curves(measured(chosen, "aopc")).get_lines()]
    assert labels == ["Saliency, reduce='signed'", "Saliency, reduce='squared'"]


def test_on_axes_of_the_user():
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    assert curves(measured(), ax, title="mine") is ax
    assert ax.get_title() == "mine"


def test_what_cannot_be_drawn():
    with pytest.raises(InputError, match="must be one or several, by one metric"):
        curves([])
    with pytest.raises(InputError, match="must be by one metric") as info:
        curves([*measured(), *measured(metric="aopc")])
    assert "AOPC" in str(info.value)
    with pytest.raises(InputError, match="must have curves to be drawn so"):
        curves(measured(metric="effective_features"))
    with pytest.raises(UnknownNameError, match="morf"):
        curves(measured(), curve="most")
    with pytest.raises(InputError, match="`level` must be a probability"):
        curves(measured(), level=2)
    with pytest.raises(InputError, match="`ax` must be axes"):
        curves(measured(), ax=3)


def test_methods_have_the_names_that_are_given():
    found = measured()
    ax = curves(found, titles=["mine", "yours"])
    assert [line.get_label() for line in ax.get_lines()] == ["mine", "yours", "random orders"]
    for few in (["mine"], "ab"):
        with pytest.raises(InputError, match="`titles` must have a name for each of the 2 meas"):
            curves(found, titles=few)
