"""Drawing explanations: one map on given axes, or many side by side.

Figures are objects of their own: pyplot and its global state are never touched, nothing is shown.
"""

from pellucid.plot.color import Scale
from pellucid.plot.draw import draw
from pellucid.plot.examples import examples
from pellucid.plot.grid import grid
from pellucid.plot.map import Map

__all__ = ["Map", "Scale", "draw", "examples", "grid"]
