"""Which module a path means, for targets inside of a model and on the tape alike."""

import pytest
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError, UnknownNameError
from pellucid.tape.paths import Paths
from tests.zoo.network import normal, seeded

X = normal(2, 3)
SMALL = nn.Sequential(seeded(nn.Linear(3, 4)), nn.ReLU(), seeded(nn.Linear(4, 3), 1))
OTHER = nn.Sequential(seeded(nn.Linear(3, 4), 2), nn.ReLU(), seeded(nn.Linear(4, 3), 3), nn.ReLU())


class Outer(nn.Module):
    """A module with parts of its own, of which one is called by two names."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = SMALL, seeded(nn.Linear(3, 3), 4)
        self.again = self.head

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.head(self.body(x)).relu())


OUTER = Outer()


def both(x: Tensor) -> Tensor:
    return OTHER(SMALL(x).tanh())


def score(model, path: str) -> Tensor:
    return pl.explain(model, X, "saliency", target=pl.Target.unit(path, (1,))).score


def at(model, path: str) -> Tensor:
    """What the model had there, as the tape knows it."""
    return pl.record(model, X).layer(path).tensor


ASKED = {
    "unit": lambda path: score(both, path),
    "gradient": lambda path: pl.explain(both, X, "saliency", at=path, target=0),
    "relevance": lambda path: pl.explain(both, X, "lrp", at=path, target=0),
    "deconvnet": lambda path: pl.explain(both, X, "deconvnet", target=pl.Target.unit(path, (1,))),
    "gate": lambda path: pl.explain(both, X, pl.LRP(through={path: 1}), target=0),
    "layer": lambda path: pl.record(both, X).layer(path),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_path_that_two_modules_of_a_function_have_is_not_chosen(name):
    with pytest.raises(
        InputError,
        match="The layer `0` must be one, in the modules that the function runs; got 2 of them "
        "that have one, Linear and Linear. Make them parts of one module",
    ):
        ASKED[name]("0")


def test_a_path_of_one_of_them_is_the_same_for_all():
    x = both(X).detach()
    assert_close(score(both, "3"), x[:, 1])
    assert_close(at(both, "3"), x)
    found = pl.explain(both, X, "deconvnet", target=pl.Target.unit("3", (1,)))
    assert_close(found.score, x[:, 1])
    one = nn.Sequential(SMALL, nn.Tanh(), OTHER)
    expected = pl.explain(one, X, "deconvnet", target=pl.Target.unit("2.3", (1,)))
    assert_close(found.values, expected.values)


# A function of which one module is reached in two ways, and the paths that lead to it.
WAYS = {
    "twice": (lambda x: SMALL(x) + SMALL(-x), ["0"]),
    "the part first": (lambda x: OUTER.body(x) + OUTER(-x), ["0", "body.0"]),
    "the part last": (lambda x: OUTER(x) + OUTER.body(-x), ["body.0"]),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_module_that_is_reached_in_two_ways_is_one(way):
    """What it returned last counts, whichever way that came."""
    model, paths = WAYS[way]
    expected = SMALL[0](-X).detach()
    for path in paths:
        assert_close(score(model, path), expected[:, 1])
        assert_close(at(model, path), expected)


@pytest.mark.parametrize("model", [OUTER, lambda x: OUTER(x)], ids=["module", "function"])
def test_a_module_of_two_names_is_found_by_both(model):
    assert pl.record(model, X).layer("again") is not None
    for ask in (score, at):
        assert_close(ask(model, "again"), ask(model, "head"))
    assert_close(score(model, "again"), OUTER(X)[:, 1].detach())
    for name in ("saliency", "lrp"):
        found = [pl.explain(model, X, name, target=0, at=path) for path in ("head", "again")]
        assert_close(found[1].values, found[0].values)
        assert found[1].at == "again"


def test_a_path_that_no_module_of_a_function_has():
    with pytest.raises(UnknownNameError, match="The layer of a unit .* got '7'. Known: 0, 1, 2"):
        score(lambda x: SMALL(x), "7")
    with pytest.raises(UnknownNameError, match="A layer must be one that exists; got '0'. "):
        at(lambda x: OUTER(x), "0")
    with pytest.raises(UnknownNameError, match="got '0'. Known: body, body.0, .*head"):
        score(lambda x: OUTER(x), "0")


def test_one_that_did_not_run_is_said_of_a_function_too():
    with pytest.raises(InputError, match="The layer `2` must run, and return a tensor that dep"):
        pl.explain(lambda x: HALF(x), X, "lrp", at="2")
    with pytest.raises(InputError, match="The layer `2` must run, and return a tensor, to have"):
        score(lambda x: HALF(x), "2")


class Half(nn.Sequential):
    """A sequence of which the last layer does not run."""

    def forward(self, x: Tensor) -> Tensor:
        return self[1](self[0](x))


HALF = Half(*SMALL)


def test_to_take_the_first_of_two_is_noticed(monkeypatch):
    """As a run did that looked for its layer in the first module, where the tape had the last."""

    def first(self, path):
        each = [root.get_submodule(path) for root in self.roots]
        return each[0] if each else None

    monkeypatch.setattr(Paths, "layer", first)
    with pytest.raises(pytest.fail.Exception):
        test_a_path_that_two_modules_of_a_function_have_is_not_chosen("unit")
