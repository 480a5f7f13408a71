"""Drawing explanations: one map on given axes, or many side by side.

Figures are objects of their own: pyplot and its global state are never touched, nothing is shown.
"""

from pellucid.plot.bars import bar
from pellucid.plot.boxes import boxes
from pellucid.plot.cascade import Cascade, cascade
from pellucid.plot.color import Scale
from pellucid.plot.curves import Bands, curves
from pellucid.plot.draw import draw
from pellucid.plot.dreams import dreams
from pellucid.plot.examples import examples
from pellucid.plot.grid import grid
from pellucid.plot.leaderboard import leaderboard, tradeoff
from pellucid.plot.line import LocalLine, local_line
from pellucid.plot.map import Map
from pellucid.plot.parts import Parts
from pellucid.plot.seen import SeenPicture, seen
from pellucid.plot.summary import Summary
from pellucid.plot.superpixels import Superpixels, superpixels
from pellucid.plot.swarm import beeswarm, scatter
from pellucid.plot.units import patches
from pellucid.plot.waterfall import Force, force, waterfall

__all__ = [
    "Bands",
    "Cascade",
    "Force",
    "LocalLine",
    "Map",
    "Parts",
    "Scale",
    "SeenPicture",
    "Summary",
    "Superpixels",
    "bar",
    "beeswarm",
    "boxes",
    "cascade",
    "curves",
    "draw",
    "dreams",
    "examples",
    "force",
    "grid",
    "leaderboard",
    "local_line",
    "patches",
    "scatter",
    "seen",
    "superpixels",
    "tradeoff",
    "waterfall",
]
