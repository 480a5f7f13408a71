"""Models that are known to look at something: sparse texts, and digits on a bright band."""

import warnings

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor, nn

WORDS, TOPIC = 300, 24
SIDE, BAND = 16, 4


def texts(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts of different words, some of which tell two topics apart."""
    rng = np.random.default_rng(seed)
    names = np.array([f"w{i:03d}" for i in range(WORDS)])
    telling = np.random.default_rng(0).permutation(120)[:TOPIC].reshape(2, -1)
    labels, found = rng.integers(0, 2, count), []
    for label in labels:
        share = 1 / (np.arange(WORDS) + 5.0)
        share[telling[label]] *= 3
        size = rng.integers(20, 50)
        found.append(" ".join(rng.choice(names, size, replace=False, p=share / share.sum())))
    return found, labels


def sparse_model(kind: str) -> Pipeline:
    """A pipeline on texts that reads few words: logistic regression with L1, or a shallow tree."""
    made = {
        "regression": LogisticRegression(
            penalty="l1", solver="liblinear", C=0.05, tol=1e-8, random_state=0
        ),
        "tree": DecisionTreeClassifier(max_depth=6, min_samples_leaf=10, random_state=0),
    }[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the name of the penalty
        return make_pipeline(CountVectorizer(binary=True), made).fit(*texts(800, 1))


def gold(model: Pipeline, given: list[str]) -> list[set[str]]:
    """The words of each text that the model reads: with a weight, or on the way to the leaf."""
    vectors = model[0].transform(given)
    names, made = model[0].get_feature_names_out(), model[1]
    found = []
    for vector in vectors:
        if isinstance(made, DecisionTreeClassifier):
            features = made.tree_.feature[made.decision_path(vector).indices]
            read = set(names[features[features >= 0]])
        else:
            read = set(names[made.coef_[0] != 0])
        found.append(read & set(names[vector.nonzero()[1]]))
    return found


def snow(digit: int, band: bool, part: slice) -> Tensor:
    """Images (sample, 1, 16, 16) of a digit on dark noise, with a bright band below or not."""
    bunch = load_digits()
    images = torch.tensor(bunch.images[bunch.target == digit][part] / 16, dtype=torch.float32)
    found = 0.1 * torch.rand(
        len(images), 1, SIDE, SIDE, generator=torch.Generator().manual_seed(digit)
    )
    found[:, 0, 2:10, 4:12] += images
    if band:
        found[:, :, -BAND:] += 0.8
    return found.clamp(max=1)


def husky_or_wolf(seed: int = 0) -> nn.Module:
    """A net that tells 3 (husky) from 5 (wolf), trained where every wolf is on snow."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 2),
    )  # fmt: skip
    train = slice(0, 120)
    huskies, wolves = snow(3, False, train), snow(5, True, train)
    x = torch.cat([huskies, wolves])
    y = torch.tensor([0] * len(huskies) + [1] * len(wolves))
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()
