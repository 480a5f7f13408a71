"""Tables: a linear model with distractors, and games whose Shapley values are known."""

import torch
from torch import Tensor, nn

from pellucid.errors import InputError
from pellucid.evaluate.ground_truth.networks import Interactions
from pellucid.evaluate.ground_truth.truth import Truth
from pellucid.options import number, whole
from pellucid.seeding import seeded


def distractors(
    n: int = 2000,
    seed: int = 0,
    *,
    signals: int = 3,
    others: int = 3,
    sources: int = 3,
    strength: float = 2.0,
    noise: float = 0.8,
) -> Truth:
    """A linear model whose weights are not where the signal is: distractors.

        x = a s + D d + noise e,  s = -1 or 1 by the label,  d, e ~ N(0, 1)

    Inputs (sample, feature): `signals` features in which the label is, then `others` that hold
    distractors d (`sources` of them) alone; the distractors, of weights D ~ N(0, strength^2), are
    in all features. The exact model
    is the best there is, w = S^-1 a with S = D D' + noise^2 I, of which class 1 has w x and class
    0 has -w x. Laws: w (`facts["filter"]`) weighs the other features too, to take the distractors
    off; Cov(x) w is a times a number (`facts["pattern"]`, zero on them). Masks are true on the
    features that hold signal.
    Source: Haufe, Meinecke, Görgen, Dähne, Haynes, Blankertz and Bießmann (2014), On the
    Interpretation of Weight Vectors of Linear Models in Multivariate Neuroimaging.

    >>> truth = distractors(n=100)
    >>> truth.facts["pattern"].count_nonzero(), truth.facts["filter"].count_nonzero()
    (tensor(3), tensor(6))
    """
    n = whole(n, "n", least=10)
    whole(signals, "signals")
    whole(others, "others", least=0)
    whole(sources, "sources", least=0)
    number(strength, "strength", "a standard deviation, 0 or more", least=0)
    number(noise, "noise", "a standard deviation above 0", above=0)
    generator = seeded(whole(seed, "seed", least=None), 1)
    count = signals + others
    pattern = torch.zeros(count, dtype=torch.float64)
    pattern[:signals] = 0.5 + torch.rand(signals, generator=generator)
    mixing = strength * torch.randn(count, sources, generator=generator, dtype=torch.float64)
    covariance = mixing @ mixing.T + noise**2 * torch.eye(count, dtype=torch.float64)
    best = torch.linalg.solve(covariance, pattern)
    labels = torch.randint(2, (n,), generator=generator)
    s = 2.0 * labels.double().unsqueeze(1) - 1
    d = torch.randn(n, sources, generator=generator, dtype=torch.float64)
    e = torch.randn(n, count, generator=generator, dtype=torch.float64)
    model = nn.Linear(count, 2, bias=False, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        model.weight.copy_(torch.stack([-best, best]))
    return Truth(
        name="distractors",
        law="The pattern is zero where the label is not, and the filter is not.",
        inputs=(s * pattern + d @ mixing.T + noise * e).float(),
        labels=labels,
        masks=(pattern != 0).expand(n, count).clone(),
        classes=("minus", "plus"),
        exact=model.requires_grad_(False).eval(),
        facts={"pattern": pattern.float(), "filter": best.float(), "covariance": covariance},
    )


def interactions(
    n: int = 1000,
    seed: int = 0,
    *,
    features: int = 8,
    idle: int = 2,
    pairs: int = 3,
    triples: int = 1,
) -> Truth:
    """A table, and a model whose Shapley values are known: sums, products of two and of three.

        f(x) = sum_i a_i x_i + sum_(i, j) b_ij x_i x_j + sum_(i, j, k) c_ijk x_i x_j x_k

    Inputs (sample, feature) are normal. The exact model gives the scores [-f, f]; the label is
    the higher. The last `idle` features are in no term, and false in the masks.
    `parts["shapley"]` (sample, feature) are the Shapley values of the score of class 1 against a
    baseline of zero, and `truth.exact.shapley(x, baseline)` those against any. Laws: they sum to
    f(x) - f(baseline), and are zero for the idle. Source: Shapley (1953), A Value for n-Person
    Games; for products, the mean over all orders in closed form.

    >>> truth = interactions(n=10)
    >>> bool(truth.parts["shapley"][:, -2:].any())
    False
    """
    n = whole(n, "n", least=10)
    whole(features, "features")
    used = features - whole(idle, "idle", least=0)
    _check_terms(used, whole(pairs, "pairs", least=0), whole(triples, "triples", least=0))
    generator = seeded(whole(seed, "seed", least=None), 1)
    single = torch.zeros(features)
    single[:used] = torch.randn(used, generator=generator)
    terms = [_drawn(used, size, count, generator) for size, count in ((2, pairs), (3, triples))]
    weights = torch.randn(pairs + triples, generator=generator)
    model = Interactions(single, terms[0], terms[1], weights).eval()
    x = torch.randn(n, features, generator=generator)
    return Truth(
        name="interactions",
        law="Shapley values sum to the score, and are zero for features in no term.",
        inputs=x,
        labels=(model.value(x) > 0).long(),
        masks=(torch.arange(features) < used).expand(n, features).clone(),
        classes=("below", "above"),
        exact=model,
        parts={"shapley": model.shapley(x, torch.zeros(features))},
    )


def _check_terms(used: int, pairs: int, triples: int) -> None:
    """Raise unless so many different products can be made of the features."""
    if used < 1:
        raise InputError("`features` must be more than the `idle` ones", found=f"{used} others")
    for what, size, count in (("pairs", 2, pairs), ("triples", 3, triples)):
        most = len(torch.combinations(torch.arange(used), size))
        if count > most:
            raise InputError(f"`{what}` must be at most {most} for {used} features", got=count)


def _drawn(used: int, size: int, count: int, generator: torch.Generator) -> Tensor:
    """So many different sets of features, (count, size)."""
    every = torch.combinations(torch.arange(used), size).reshape(-1, size)
    return every[torch.randperm(len(every), generator=generator)[:count]]
