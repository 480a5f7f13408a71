"""Values at a layer instead of the input: `at="layer.path"` of every method on the tape."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError, UnknownNameError
from tests.autograd import gradient
from tests.zoo.network import Lambda, normal, seeded

METHODS = ["saliency", "gradient_x_input", "lrp", "guided_backprop", "deconvnet"]


class Net(nn.Module):
    """A stem, a residual block, a norm, a head; rectifiers in place, so that outputs are lost."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.stem = seeded(nn.Conv2d(2, 4, 3, padding=1, bias=bias))
        self.block = seeded(nn.Conv2d(4, 4, 3, padding=1, bias=bias), 1)
        self.pool = nn.MaxPool2d(2)
        self.dense = seeded(nn.Linear(64, 6, bias=bias), 2)
        self.head = seeded(nn.Linear(6, 3, bias=bias), 3)
        self.aside = seeded(nn.Linear(6, 3, bias=bias), 4)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu_(self.stem(x))
        h = self.pool(F.relu_(self.block(h) + h))
        self.aside(self.dense(h.flatten(1)))
        return self.head(F.relu_(self.dense(h.flatten(1))))

    def above(self, path: str, there: Tensor) -> Tensor:
        """What happens above a layer, from what it returned."""
        if path == "dense":
            return self.head(there.relu())
        return self.above("dense", self.dense(there.flatten(1)))


X = normal(3, 2, 8, 8, seed=9)
NET = Net().eval()


def explain(name: str, at: str | None, model: object = NET, x: object = X, **options: object):
    return pl.explain(model, x, name, at=at, target=1, **options)


def returned(path: str) -> Tensor:
    """What a layer returned, by the textbook."""
    found = []
    hook = NET.get_submodule(path).register_forward_hook(lambda m, i, o: found.append(o.clone()))
    with torch.no_grad():
        NET(X)
    hook.remove()
    return found[-1]


@pytest.mark.parametrize("path", ["pool", "dense"])
def test_gradients_are_those_of_the_upper_part(path):
    there = returned(path)
    expected = gradient(lambda h: NET.above(path, h), there, 1)
    assert_close(explain("saliency", path).values, expected)
    assert_close(explain("saliency", path, reduce="absolute").values, expected.abs())
    assert_close(explain("gradient_x_input", path).values, expected * there)


def test_what_goes_around_a_layer_is_not_in_its_gradient():
    h = F.relu(NET.stem(X)).detach()
    expected = gradient(
        lambda b: NET.above("pool", F.max_pool2d(F.relu(b + h), 2)), NET.block(h), 1
    )
    assert_close(explain("saliency", "block").values, expected)


def test_the_value_is_that_at_the_moment_the_layer_returned():
    """A ReLU in place has since overwritten what the stem returned."""
    there = returned("stem")
    assert there.min() < 0
    found = explain("gradient_x_input", "stem").values
    slope = explain("saliency", "stem").values
    assert_close(found, slope * there)
    assert torch.equal(slope[there < 0], torch.zeros_like(slope[there < 0]))


@pytest.mark.parametrize("path", ["stem", "pool", "dense", "head"])
@pytest.mark.parametrize("name", METHODS)
def test_everything_works_there(name, path):
    found = explain(name, path)
    there = returned(path)
    assert found.at == path
    assert found.values.shape == there.shape
    assert found.values.dtype == there.dtype
    assert not found.values.requires_grad
    assert torch.equal(found.inputs, X)
    assert (found.evaluations.forward, found.evaluations.backward) == (3, 3)
    assert found.values.abs().sum() > 0


@pytest.mark.parametrize("name", METHODS)
def test_the_batch_does_not_matter(name):
    whole = explain(name, "pool")
    assert_close(explain(name, "pool", batch_size=2).values, whole.values)
    assert_close(explain(name, "pool", x=X[1:2]).values, whole.values[1:2])


@pytest.mark.parametrize("name", METHODS)
def test_together_they_share_a_recording(name):
    method = pl.methods()[name](at="pool")
    found = pl.compare(NET, X, [method, "saliency", method, "lrp"], target=1)
    alone = explain(name, "pool").values
    assert_close(found[0].values, alone)
    assert_close(found[2].values, alone)
    assert found[1].values.shape == X.shape
    assert_close(found[3].values, pl.explain(NET, X, "lrp", target=1).values)
    assert sum(each.evaluations.forward for each in found) == 3  # autograd follows the recorded run


# Relevance


@pytest.mark.parametrize("path", ["pool", "dense", "head"])
@pytest.mark.parametrize("rule", [pl.rules.Epsilon(), pl.rules.ZPlus()])
def test_relevance_sums_to_the_score_less_what_the_upper_part_kept(path, rule):
    found = explain("lrp", path, rules=rule, on_incomplete="raise")
    kept = found.ledger.bias + found.ledger.stabilizer
    total = float(found.values.sum())
    assert total == pytest.approx(float(found.score.sum()) - kept, rel=1e-5, abs=1e-9)
    assert found.ledger.explained == pytest.approx(total, rel=1e-6)
    assert abs(found.ledger.residual) < 1e-6 * found.ledger.largest
    assert found.ledger.stopped == 0


def test_without_biases_all_of_the_score_is_there():
    net = Net(bias=False).eval()
    for path in ("pool", "dense"):
        found = explain("lrp", path, net, composite="epsilon")
        assert_close(found.completeness.explained, found.score, rtol=1e-4, atol=1e-6)


def test_relevance_that_goes_around_a_layer_is_booked():
    """h + block(h): what the sum hands to h does not go through the block."""
    found = explain("lrp", "block", composite="epsilon", on_incomplete="raise")
    past = [row for row in found.ledger.rows if row.name == "around"]
    assert len(past) == 1
    kept = found.ledger.bias + found.ledger.stabilizer
    there = float(found.values.sum())
    assert there + kept + past[0].stopped == pytest.approx(float(found.score.sum()), rel=1e-5)
    assert any("went around `block`" in note for note in found.notes)
    whole = float(explain("lrp", "pool", composite="epsilon").values.sum())
    assert abs(past[0].stopped) > 0.01 * abs(whole)


def test_relevance_at_a_layer_goes_on_as_relevance_at_the_input():
    """A walk in two parts: the sum at the layer is what the lower part starts with."""
    net = nn.Sequential(*[seeded(nn.Linear(4, 4, bias=False), i) for i in range(3)])
    x = normal(2, 4, seed=5)
    middle = explain("lrp", "1", net, x, composite="epsilon").values
    weight = net[2].weight.detach()
    there = net[:2](x).detach()
    assert_close(middle, there * weight[1], rtol=1e-4, atol=1e-6)
    below = explain("lrp", None, net, x, composite="epsilon").values
    assert_close(below.sum(1), middle.sum(1), rtol=1e-4, atol=1e-6)


def test_no_rule_is_asked_for_below_the_layer():
    net = Lambda(lambda layer, x: layer(torch.special.i1(x)), layer=seeded(nn.Linear(3, 2)))
    net.layers["mid"] = nn.Identity()
    net.function = lambda layer, mid, x: layer(mid(torch.special.bessel_y0(x.abs() + 1)))
    x = normal(2, 3)
    with pytest.raises(pl.errors.MissingRuleError, match="bessel"):
        explain("lrp", None, net, x)
    found = explain("lrp", "layers.mid", net, x, composite="epsilon")
    assert_close(found.values, explain("gradient_x_input", "layers.mid", net, x).values,
                 rtol=1e-4, atol=1e-6)  # fmt: skip


# Which layers


@pytest.mark.parametrize("name", METHODS)
def test_a_layer_that_ran_several_times_is_that_of_its_last_run(name):
    layer, last = seeded(nn.Linear(4, 4)), seeded(nn.Linear(4, 3), 1)
    reused = Lambda(lambda a, b, x: b(a(a(x).relu()).relu()), layer=layer, last=last)
    each = Lambda(lambda a, c, b, x: b(c(a(x).relu()).relu()), layer=layer,
                  second=seeded(nn.Linear(4, 4)), last=last)  # fmt: skip
    x = normal(2, 4)
    found = explain(name, "layers.layer", reused, x)
    assert_close(found.values, explain(name, "layers.second", each, x).values)


@pytest.mark.parametrize("name", METHODS)
def test_of_several_tensors_the_first_is_explained(name):
    net = Lambda(
        lambda rnn, last, x: last(rnn(x)[0].mean(1)),
        rnn=seeded(nn.GRU(3, 4, batch_first=True)),
        last=seeded(nn.Linear(4, 2), 1),
    )
    x = normal(2, 5, 3)
    if name == "lrp":
        found = explain(name, "layers.rnn", net, x, composite="epsilon")
    else:
        found = explain(name, "layers.rnn", net, x)
    assert found.values.shape == (2, 5, 4)


@pytest.mark.parametrize("name", METHODS)
def test_a_layer_the_score_does_not_use_gets_zeros_and_a_note(name):
    found = explain(name, "aside", on_incomplete="ignore")
    assert_close(found.values, torch.zeros(3, 3, dtype=X.dtype))
    note = "The score does not depend on what `aside` returned; its values are zero."
    assert note in found.notes


@pytest.mark.parametrize("name", METHODS)
def test_several_inputs_have_one_value(name):
    net = Lambda(
        lambda a, b, x, y: b(a(x).relu() + y),
        a=seeded(nn.Linear(3, 4)),
        b=seeded(nn.Linear(4, 2), 1),
    )
    inputs = {"x": normal(2, 3), "y": normal(2, 4, seed=1)}
    found = explain(name, "layers.a", net, inputs)
    assert found.values.shape == (2, 4)
    assert set(found.inputs) == {"x", "y"}


@pytest.mark.parametrize("name", METHODS)
def test_token_ids_are_explained_at_a_layer_too(name):
    net = Lambda(
        lambda embed, first, last, ids: last(first(embed(ids)).relu().mean(1)),
        embed=seeded(nn.Embedding(10, 4)),
        first=seeded(nn.Linear(4, 5), 1),
        last=seeded(nn.Linear(5, 2), 2),
    )
    ids = torch.tensor([[1, 2, 3], [4, 4, 0]])
    found = explain(name, "layers.first", net, ids)
    assert found.values.shape == (2, 3, 5)
    assert found.values.abs().sum() > 0


def constant(first: nn.Module, side: nn.Module, x: Tensor) -> Tensor:
    return first(x) + side(torch.ones(len(x), 3, dtype=x.dtype))


BAD = {
    "unknown": (NET, X, "bock", UnknownNameError, r"^A layer must be .*'bock'.*mean 'block'\?"),
    "nothing like it": (NET, X, "zzz", UnknownNameError, r"Known: .*stem, .*pellucid\.record"),
    "constant": (
        Lambda(constant, first=seeded(nn.Linear(3, 2)), side=seeded(nn.Linear(3, 2))),
        normal(2, 3), "layers.side", InputError,
        r"`layers\.side` must run, and return a tensor that depends on the inputs; got a layer "
        r"that returned none in this run\. print\(pellucid\.record",
    ),
    "indices": (
        Lambda(lambda arg, last, x: last(x) * arg(x).unsqueeze(1),
               arg=Lambda(lambda x: x.argmax(1)), last=seeded(nn.Linear(3, 2))),
        normal(2, 3), "layers.arg", InputError,
        r"`layers\.arg` must return a floating-point tensor that carries a gradient; got int64",
    ),
    "another batch": (
        Lambda(lambda first, last, x: last(first(x.reshape(-1, 2)).reshape(len(x), -1)),
               first=seeded(nn.Linear(2, 2)), last=seeded(nn.Linear(4, 2))),
        normal(2, 4), "layers.first", InputError,
        r"`layers\.first` must return the 2 samples along its first axis; got float64\[4, 2\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("what", BAD)
def test_a_layer_that_cannot_be_explained(what, name):
    model, x, path, error, message = BAD[what]
    with pytest.raises(error, match=message):
        explain(name, path, model, x)


# What one does with them


@pytest.mark.parametrize("path", ["pool", "dense"])
def test_it_is_saved_and_loaded(path, tmp_path):
    found = explain("lrp", path)
    again = pl.load(found.save(tmp_path / "found.safetensors"))
    assert again == found
    assert again.at == path
    assert explain("lrp", None) != found


def test_it_says_where_it_is():
    assert "at layer `pool`" in repr(explain("saliency", "pool"))
    assert "at layer" not in repr(explain("saliency", None))


def test_one_sample_tables_and_pools():
    found = explain("saliency", "pool")
    assert found[1].at == "pool"
    assert_close(found[1].values, found.values[1:2])
    assert found.pool().values.shape == (3, 1, 4, 4)
    frame = found.to_frame()
    assert list(frame.columns) == ["sample", "channel", "height", "width", "value"]
    assert len(found.top(2)) == 6
    assert list(explain("saliency", "dense").to_frame().columns) == ["sample", "feature", "value"]


def test_of_three_axes_nobody_knows_the_names():
    net = Lambda(
        lambda first, last, x: last(first(x).mean(1)), first=seeded(nn.Linear(3, 4)),
        last=seeded(nn.Linear(4, 2), 1),
    )  # fmt: skip
    found = explain("saliency", "layers.first", net, normal(2, 5, 3))
    assert list(found.to_frame().columns) == ["sample", "axis 1", "axis 2", "value"]


@pytest.mark.parametrize("path", ["stem", "pool", "dense"])
def test_it_is_drawn(path):
    found = explain("gradient_x_input", path)
    axes = found.plot(row=1)
    assert axes.figure is not None
    if path == "pool":
        drawn = axes.get_images()[-1].get_array()
        assert_close(torch.as_tensor(drawn.data), found.values[1].sum(0), check_dtype=False)
    html = found._repr_html_()
    assert "GradientXInput" in html
    assert f"at='{path}'" in html or f"at=&#39;{path}&#39;" in html


def test_signals_and_tokens_at_a_layer_are_drawn():
    signal = nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    found = explain("saliency", "0", seeded(signal), normal(2, 2, 8))
    found.plot()
    assert "Saliency" in found._repr_html_()
    image = nn.Sequential(
        nn.Flatten(2), nn.Linear(64, 5), nn.ReLU(), nn.Flatten(), nn.Linear(10, 2)
    )
    found = explain("saliency", "1", seeded(image), X)
    found.plot()
    assert "Saliency" in found._repr_html_()


def test_smoothed_values_stand_there_too():
    method = pl.SmoothGrad(samples=4, noise=0.0, method=pl.Saliency(at="pool"))
    found = method(NET, X, target=1)
    assert found.at == "pool"
    assert_close(found.values, explain("saliency", "pool").values)
    assert found.error.shape == found.values.shape


def test_every_method_on_the_tape_takes_it():
    have = {name for name, method in pl.methods().items() if hasattr(method(), "at")}
    assert have >= set(METHODS)


# Operations, which need no layer around them


def functional(x: Tensor) -> Tensor:
    """A network without a module."""
    h = F.conv2d(x, NET.stem.weight, NET.stem.bias, padding=1)
    h = F.max_pool2d(F.relu(F.relu(F.conv2d(h.relu(), NET.block.weight, padding=1)) + h), 2)
    return h.flatten(1) @ NET.dense.weight.T[:, :3]


OPERATIONS = {"first": "relu:0", "last": "relu:-1", "number": 3}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("place", OPERATIONS)
def test_at_an_operation(name, place):
    at = OPERATIONS[place]
    operations = pl.record(functional, X).operations
    of_name = [operation for operation in operations if operation.name == "relu"]
    operation = {"first": of_name[0], "last": of_name[-1], "number": operations[3]}[place]
    found = explain(name, at, functional)
    assert found.values.shape == operation.output.shape
    assert found.values.abs().sum() > 0
    same = [each for each in operations if each.name == operation.name]
    number = same.index(operation)
    assert found.at == (at if isinstance(at, str) else f"{operation.name}:{number}")
    again = explain(name, f"{operation.name}:{number}", functional)
    assert torch.equal(again.values, found.values)
    assert f"at operation `{found.at}`" in repr(found)


def test_the_gradient_at_an_operation_is_that_of_what_comes_after():
    h = F.conv2d(X, NET.stem.weight, NET.stem.bias, padding=1).detach()

    def above(there: Tensor) -> Tensor:
        k = F.relu(F.conv2d(there, NET.block.weight, padding=1))
        return F.max_pool2d(F.relu(k + h), 2).flatten(1) @ NET.dense.weight.T[:, :3]

    assert_close(explain("saliency", "relu:0", functional).values, gradient(above, h.relu(), 1))


def test_relevance_at_an_operation_is_that_of_the_layer_around_it():
    operations = pl.record(NET, X).operations
    number = next(op.number for op in operations if op.path == "pool")
    found = explain("lrp", number)
    layer = explain("lrp", "pool")
    assert torch.equal(found.values, layer.values)
    assert found.ledger.rows == layer.ledger.rows


def test_a_relevance_at_an_operation_books_what_goes_around_it():
    found = explain("lrp", "relu:0", functional, rules=pl.rules.Epsilon())
    around = [row for row in found.ledger.rows if row.name == "around"]
    assert len(around) == 1
    assert abs(around[0].stopped) > 0
    assert abs(found.ledger.residual) < 1e-6 * found.ledger.largest


def test_an_operation_comes_back_from_a_file(tmp_path):
    found = explain("lrp", 3, functional)
    assert pl.load(found.save(tmp_path / "found.safetensors")) == found


NO_OPERATION = {
    "a number too large": (99, InputError, r"An operation must be from 0 to \d+; got 99"),
    "a negative number": (-1, InputError, "An operation must be from 0 to .*; got -1"),
    "no such name": (
        "rleu:0",
        UnknownNameError,
        r"An operation must be one that exists; got 'rleu'. Did you mean 'relu'\?",
    ),
    "a place too far": (
        "relu:7",
        InputError,
        "among those called `relu` must be from 0 to 2, or negative .*; got 'relu:7'",
    ),
    "no place": ("relu:last", InputError, "must be from 0 to 2, .*; got 'relu:last'"),
    "no layer": ("relu", UnknownNameError, "A layer must be one that exists; got 'relu'"),
}


@pytest.mark.parametrize("name", ["lrp", "saliency", "deconvnet"])
@pytest.mark.parametrize("case", NO_OPERATION)
def test_an_operation_that_there_is_not(case, name):
    at, error, message = NO_OPERATION[case]
    with pytest.raises(error, match=message):
        explain(name, at, functional)


def test_an_operation_that_carries_no_samples():
    def model(x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] + x.mean((0, 2, 3))[:1]

    number = next(op.number for op in pl.record(model, X).operations if op.name == "mean")
    with pytest.raises(InputError, match=f"Operation {number} must return the 3 samples along its"):
        explain("saliency", number, model)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("at", [True, 1.5, ["stem"]])
def test_what_names_no_place(name, at):
    with pytest.raises(InputError, match="`at` must be the path of a layer, an operation's number"):
        explain(name, at)


def test_operations_of_a_model_that_embeds_are_named():
    """It is recorded from its embeddings on, so that numbers are not those of the plain tape."""
    net = nn.Sequential(nn.Embedding(7, 3), nn.Linear(3, 4), nn.ReLU(), nn.Flatten())
    net.append(nn.Linear(16, 2)).double()
    ids = torch.tensor([[1, 2, 3, 4], [3, 3, 0, 1]])
    found = explain("lrp", "relu:0", net, ids)
    assert torch.equal(found.values, explain("lrp", "2", net, ids).values)
    with pytest.raises(InputError, match="must be named where a model embeds integers, .*; got 4"):
        explain("lrp", 4, net, ids)
