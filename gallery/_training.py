"""One way to train the small nets of the gallery, the same on every run, and to judge them."""

import torch
from torch import nn


def train(model, inputs, classes, *, epochs, rate, batch):
    """Minimize the cross-entropy by Adam; the seed is that of torch when this is called."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[rows]), classes[rows]).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


def accuracy(model, inputs, classes):
    """The share of samples whose class has the highest score."""
    return (model(inputs).argmax(1) == classes).float().mean().item()
