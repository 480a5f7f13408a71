"""Tiny networks whose explanations are known; `load(name)` builds one, `NETWORKS` names all."""

from tests.zoo import borders, closed, images, wide, written
from tests.zoo.network import NETWORKS, Network, load, to

__all__ = ["NETWORKS", "Network", "borders", "closed", "images", "load", "to", "wide", "written"]
