"""Local surrogate models: what a simple model says that is true near one sample."""

from pellucid.lime.lime import LIME
from pellucid.lime.pick import Pick, submodular_pick
from pellucid.lime.sweep import WidthSweep, sweep_width

__all__ = ["LIME", "Pick", "WidthSweep", "submodular_pick", "sweep_width"]
