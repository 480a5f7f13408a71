"""Ready models with real weights, each with its preprocessing, and the way back to a picture.

    entry = pellucid.zoo.load("efficientnet_lite0")
    entry.model(entry.preprocess("photo.png"))

    entry = pellucid.zoo.load("minilm")
    entry.model(**entry.encode("The cat sat on the mat."))

Weights come from packages, never from the network, and are never unpickled.
"""

from pellucid.zoo.entry import Entry, load, names, register
from pellucid.zoo.factory import find, named
from pellucid.zoo.photo import open_photo
from pellucid.zoo.preprocessing import Preprocessing
from pellucid.zoo.text import TextEntry

__all__ = [
    "Entry",
    "Preprocessing",
    "TextEntry",
    "find",
    "load",
    "named",
    "names",
    "open_photo",
    "register",
]
