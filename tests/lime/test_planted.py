"""What LIME is for: it finds the words that sparse models read, and the snow behind the husky."""

import numpy as np
import pytest
import torch

import pellucid as pl
from pellucid.features import Features
from tests.lime.planted import BAND, SIDE, gold, husky_or_wolf, snow, sparse_model, texts


def recall(found, wanted):
    """The share of the gold words of each text that are among those with a value."""
    shares = []
    for row, words in enumerate(wanted):
        names = found.features.named(row)
        values = found.players[row, : len(names)]
        told = {names[i] for i in values.nonzero().squeeze(1).tolist()}
        if words:
            shares.append(len(words & told) / len(words))
    return float(np.mean(shares))


@pytest.mark.parametrize("select", ["forward", "lasso", "weights"])
@pytest.mark.parametrize("kind", ["regression", "tree"])
def test_the_words_that_a_sparse_model_reads_are_found(kind, select):
    model, (given, _) = sparse_model(kind), texts(20, 2)
    wanted = gold(model, given)
    assert 1.5 < np.mean([len(words) for words in wanted]) < 10
    found = pl.LIME(k=10, samples=1000, runs=0, select=select)(model, given)
    assert (found.players != 0).sum(1).max() <= 10
    assert recall(found, wanted) >= 0.9
    # What any ten words would be.
    shuffled = recall(found, wanted[1:] + wanted[:1])
    assert shuffled < 0.6


@pytest.mark.parametrize(
    ("method", "options"), [("lime", {"samples": 150, "runs": 0}), ("occlusion", {})]
)
def test_the_snow_behind_the_husky_is_ranked_first(method, options):
    net, rest = husky_or_wolf(), slice(120, None)
    huskies, plain = snow(3, True, rest), snow(3, False, rest)
    with torch.no_grad():
        assert (net(plain).argmax(1) == 0).all()
        affected = huskies[net(huskies).argmax(1) == 1]
    assert len(affected) > 50

    def share(x, target):
        """Of images, how many have the strongest patch in the lowest row, where the snow is."""
        features = Features.patches(BAND)
        found = pl.explain(net, x, method, features=features, target=target, **options)
        lines = SIDE // BAND
        return (found.players.argmax(1) // lines == lines - 1).double().mean()

    assert share(affected, 1) >= 0.9
    assert share(plain, 0) < 0.3  # where there is no snow, there is nothing to find below
