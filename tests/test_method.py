"""The registry, `explain` and `compare`."""

import dataclasses
import gc
import inspect
import warnings
import weakref
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

import pellucid as pl
from pellucid.answer import _unknown
from pellucid.errors import IncompleteWarning, InputError
from pellucid.method import named
from pellucid.propagate.linear import Linear
from pellucid.remarks import Share, Span, joined, sentences
from tests import zoo
from tests.counting import Counting

# The names and options that callers may rely on, with their defaults.
CONTRACT = {
    "saliency": {"reduce": "signed"},
    "gradient_x_input": {},
    "smoothgrad": {"samples": ..., "noise": ..., "reduce": "mean", "method": ..., "seed": ...},
    "integrated_gradients": {"baseline": ..., "steps": None, "tolerance": 0.01},
    "interior_gradient": {"alpha": ...},
    "cam": {"layer": None, "relu": False, "upsample": True},
    "gradcam": {"layer": None, "relu": True, "upsample": True},
    "gradcam_plus_plus": {"layer": None, "relu": True, "upsample": True},
    "guided_gradcam": {"layer": None, "relu": True, "upsample": True},
    "layercam": {"layer": None, "relu": True, "upsample": True},
    "scorecam": {"layer": None, "relu": True, "upsample": True, "channels": None},
    "lrp": {"composite": "auto", "rules": None},
    "lime": {
        "features": None,
        "baseline": ...,
        "samples": ...,
        "width": None,
        "k": None,
        "seed": ...,
    },
    "occlusion": {"window": None, "stride": None, "baseline": ..., "features": None},
    "deeplift": {"baseline": ..., "rule": "rescale"},
    "deep_shap": {"baseline": ...},
}
CLASSES = {
    "saliency": "Saliency",
    "gradient_x_input": "GradientXInput",
    "smoothgrad": "SmoothGrad",
    "integrated_gradients": "IntegratedGradients",
    "interior_gradient": "InteriorGradient",
    "cam": "CAM",
    "gradcam": "GradCAM",
    "gradcam_plus_plus": "GradCAMPlusPlus",
    "guided_gradcam": "GuidedGradCAM",
    "layercam": "LayerCAM",
    "scorecam": "ScoreCAM",
    "lrp": "LRP",
    "lime": "LIME",
    "occlusion": "Occlusion",
    "deeplift": "DeepLIFT",
    "deep_shap": "DeepSHAP",
}


@pytest.mark.parametrize("name", CONTRACT)
def test_names_options_and_defaults(name):
    method = pl.methods()[name]
    assert method is getattr(pl, CLASSES[name])
    assert method.name == name
    made = method()
    for option, default in CONTRACT[name].items():
        assert hasattr(made, option)
        assert default is ... or getattr(made, option) == default


@pytest.mark.parametrize("name", pl.methods())
def test_methods_are_frozen_data(name):
    method = pl.methods()[name]
    made = method()
    assert dataclasses.is_dataclass(method)
    assert made == method()
    assert hash(made) == hash(method())
    assert all(field.kw_only for field in dataclasses.fields(method))
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.anything = 1
    assert repr(made).startswith(method.__name__)
    assert dataclasses.replace(made) == made


@pytest.mark.parametrize("name", pl.methods())
def test_every_method_says_what_it_is(name):
    method = pl.methods()[name]
    assert method.__doc__
    for word in ("Axes:", "Laws:", "Source:", ">>> "):
        assert word in method.__doc__, f"{name} has no {word}"


def test_a_function_is_one_line_of_the_class():
    net = zoo.load("perceptron")
    a = pl.explain(net.model, net.inputs, "saliency", target=1, reduce="squared")
    b = pl.Saliency(reduce="squared")(net.model, net.inputs, target=1)
    c = pl.explain(net.model, net.inputs, pl.Saliency(reduce="squared"), target=1)
    assert_close(a.values, b.values, rtol=0, atol=0)
    assert_close(a.values, c.values, rtol=0, atol=0)
    assert a.method == b.method == c.method == named("saliency", reduce="squared")


def test_what_is_compared_shares_one_recording_and_one_gradient():
    net = zoo.load("convolutional")

    class Image(Counting):
        pass

    model = Image(net.model)
    names = ["saliency", "gradient_x_input", "gradcam", "lrp"]
    found = pl.compare(model, net.inputs, names, target=1)
    assert [each.method.name for each in found] == names
    # Autograd follows the run that is recorded, for the two that read the gradient.
    assert model.calls == [len(net.inputs)]
    assert [each.evaluations.forward for each in found] == [len(net.inputs), 0, 0, 0]
    assert [each.evaluations.backward for each in found] == [len(net.inputs), 0, 2, 2]
    for each, name in zip(found, names, strict=True):
        alone = pl.explain(net.model, net.inputs, name, target=1)
        assert_close(each.values, alone.values, rtol=1e-8, atol=1e-12)


def test_several_models_are_compared_in_turn():
    models = [zoo.load("perceptron").model, nn.Linear(5, 3).double()]
    x = zoo.load("perceptron").inputs
    found = pl.compare(models, x, ["saliency", "lrp"], target=0)
    assert len(found) == 4
    assert_close(found[2].values, models[1].weight[0].detach().expand(4, 5))


def first_squared(output: Tensor) -> Tensor:
    return output[:, 0] ** 2


def first_raised_in_place(output: Tensor) -> Tensor:
    output[:, 0] += 1
    return output[:, 0].exp()


TARGETS = [0, None, (2, 1), [1, 2, 0, 2], pl.Target.probability(1), first_squared]
MANY = ["lrp", "saliency", "integrated_gradients", pl.LRP(composite="epsilon"), "guided_backprop"]


@pytest.mark.parametrize(
    ("names", "size"),
    [(MANY, 3), (MANY[::-1], "auto"), (["saliency"], 3), (["gradient_x_input", "lrp"], "auto")],
)
def test_several_targets_are_explained_as_each_alone(names, size):
    net = zoo.load("convolutional")
    net = dataclasses.replace(net, inputs=torch.cat([net.inputs, net.inputs.flip(-1)]))
    found = pl.compare(
        net.model, net.inputs, names, targets=TARGETS, batch_size=size, on_incomplete="ignore"
    )
    asked = [(target, name) for target in TARGETS for name in names]
    for each, (target, name) in zip(found, asked, strict=True):
        alone = pl.explain(
            net.model, net.inputs, name, target=target, batch_size=size, on_incomplete="ignore"
        )
        assert each.method == alone.method
        assert each.target == alone.target
        assert each.notes == alone.notes
        assert_close(each.values, alone.values, rtol=1e-9, atol=1e-12)
        assert_close(each.score, alone.score)
        assert_close(each.output, alone.output)
        assert (each.ledger is None) == (alone.ledger is None)
        assert each.ledger is None or each.ledger.rows == alone.ledger.rows
        assert not any(t.requires_grad for t in (each.values, each.score, each.output))


@pytest.mark.parametrize("names", [["lrp"], ["saliency"], ["lrp", "saliency", "gradcam"]])
def test_several_targets_share_one_run(names):
    net = zoo.load("convolutional")
    model = Counting(net.model)
    found = pl.compare(model, net.inputs, names, targets=[0, 1, 2])
    rows = len(net.inputs)
    assert model.calls == [rows]
    assert [each.evaluations.forward for each in found] == [rows, *[0] * (3 * len(names) - 1)]
    assert all(each.evaluations.backward == rows for each in found)


class Calls(TorchDispatchMode):
    """Counts the ATen calls that run."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count[function._schema.name] += 1
        return function(*args, **(kwargs or {}))


def spent(work: Callable[[], object]) -> Counter[str]:
    """The ATen calls of some work."""
    with Calls() as calls:
        work()
    return calls.count


def test_that_values_are_finite_is_seen_in_one_sum():
    values, score = [torch.ones(3, 4)], [torch.ones(3)]
    assert spent(lambda: _unknown(values, score)) == {
        "aten::sum": 1,
        "aten::_local_scalar_dense": 1,
    }
    too_much = [torch.full((3, 4), 3e38)]
    assert too_much[0].sum().isinf()
    assert _unknown(too_much, score) == []


@pytest.mark.parametrize("composite", ["epsilon-plus", "epsilon-alpha2-beta1"])
def test_what_a_rule_computes_of_the_run_alone_is_computed_once(composite):
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten()]
    net, x = nn.Sequential(*layers, nn.Linear(64, 10)), torch.rand(1, 3, 8, 8)
    method = pl.LRP(composite=composite)
    ten = spent(lambda: pl.compare(net, x, [method], targets=range(10), on_incomplete="ignore"))
    one = spent(lambda: pl.explain(net, x, method, target=0, on_incomplete="ignore"))
    two = spent(lambda: [pl.explain(net, x, method, target=k, on_incomplete="ignore") for k in
                         range(2)])  # fmt: skip
    assert two["aten::convolution"] == 2 * one["aten::convolution"]
    assert ten["aten::convolution"] == one["aten::convolution"]  # recorded, and z+ of every layer
    assert ten["aten::convolution_backward"] == 10 * one["aten::convolution_backward"]
    assert ten["aten::addmm"] == one["aten::addmm"]


def test_what_depends_on_the_score_must_not_be_kept(monkeypatch):
    """The test on several targets can fail."""
    back = Linear.backward

    def kept(linear: Linear, signal: Tensor, weight: Tensor) -> Tensor:
        return linear.once("back", lambda: back(linear, signal, weight)).clone()

    monkeypatch.setattr(Linear, "backward", kept)
    with pytest.raises(AssertionError):
        test_several_targets_are_explained_as_each_alone(["lrp"], "auto")


def test_what_is_kept_of_a_run_goes_with_it():
    net, x = (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 3)),
        torch.rand(1, 3, 8, 8),
    )
    seen = []

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Looking(pl.Method):
        def attribute(self, case):
            seen.append(case.tape.memory)
            return pl.LRP(composite="epsilon-plus").attribute(case)

    pl.compare(net, x, [Looking(), "saliency"], target=0, on_incomplete="ignore")
    assert seen == [None]  # nobody would read it a second time
    pl.compare(net, x, [Looking()], targets=[0, 1], on_incomplete="ignore")
    assert seen[1] is seen[2]
    assert seen[1]
    held = [weakref.ref(t) for t in seen[1].values() if isinstance(t, Tensor)]
    seen.clear()
    gc.collect()
    assert held
    assert not any(each() is not None for each in held)


def test_a_target_that_writes_to_the_output_has_it_for_itself():
    net = zoo.load("perceptron")
    model = Counting(net.model)
    targets = [1, first_raised_in_place, 0, first_raised_in_place]
    names = ["saliency", "guided_backprop"]
    found = pl.compare(model, net.inputs, names, targets=targets)
    asked = [(target, name) for target in targets for name in names]
    for each, (target, name) in zip(found, asked, strict=True):
        alone = pl.explain(net.model, net.inputs, name, target=target)
        assert_close(each.values, alone.values)
        assert_close(each.output, alone.output)
    assert sum(each.evaluations.forward for each in found) == sum(model.calls)
    assert len(model.calls) >= 2


def test_targets_inside_layers_and_models_in_turn():
    net = zoo.load("convolutional")
    layer = next(name for name, m in net.model.named_modules() if isinstance(m, nn.Conv2d))
    targets = [0, pl.Target.channel(layer, 1), 1]
    found = pl.compare([net.model, net.model], net.inputs, ["lrp"], targets=targets,
                       on_incomplete="ignore")  # fmt: skip
    assert len(found) == 6
    for each, target in zip(found, targets * 2, strict=True):
        alone = pl.explain(net.model, net.inputs, "lrp", target=target, on_incomplete="ignore")
        assert_close(each.values, alone.values)
        assert each.notes == alone.notes


def test_several_targets_of_token_ids():
    table, head = nn.Embedding(9, 4).double(), nn.Linear(4, 3).double()
    ids = torch.tensor([[1, 2, 3], [4, 4, 0]])

    def model(ids: Tensor) -> Tensor:
        return head(torch.tanh(table(ids)).mean(1))

    found = pl.compare(model, ids, ["gradient_x_input", "guided_backprop"], targets=[0, 2])
    for each, target in zip(found, [0, 0, 2, 2], strict=True):
        alone = pl.explain(model, ids, each.method, target=target)
        assert_close(each.values, alone.values)
        assert each.notes == alone.notes


@pytest.mark.parametrize("targets", [[], (3, 1), 3, "all", torch.tensor([1, 2]), first_squared])
def test_what_is_no_list_of_targets(targets):
    with pytest.raises(InputError, match=r"`targets` must be a list of targets; got .*\[0, 1, 2\]"):
        pl.compare(nn.Linear(2, 3), torch.ones(1, 2), ["saliency"], targets=targets)


def test_one_target_or_several():
    with pytest.raises(InputError, match="`target` or `targets` must be given, not both"):
        pl.compare(nn.Linear(2, 3), torch.ones(1, 2), ["saliency"], target=0, targets=[1])


@pytest.mark.parametrize("wrong", [[0, 7], [0, {}], [0, [1, 2, 3]]])
def test_one_of_several_targets_is_wrong(wrong):
    """The error is the one that it raises alone."""
    for names in (["saliency"], ["lrp", "saliency"]):
        with pytest.raises(pl.errors.PellucidError) as alone:
            pl.explain(nn.Linear(2, 3), torch.ones(2, 2), names[0], target=wrong[-1])
        with pytest.raises(type(alone.value)) as found:
            pl.compare(nn.Linear(2, 3), torch.ones(2, 2), names, targets=wrong)
        assert str(found.value) == str(alone.value)


def test_compared_methods_have_the_same_score_and_target():
    net = zoo.load("perceptron")
    found = pl.compare(net.model, net.inputs, ["saliency", "smoothgrad", "lrp"])
    assert len({each.target for each in found}) == 1
    for each in found[1:]:
        assert_close(each.score, found[0].score)


def test_a_method_of_one_s_own(monkeypatch):
    from pellucid import method as home

    known = dict(home._REGISTRY.known)
    monkeypatch.setattr(home, "_REGISTRY", dataclasses.replace(home._REGISTRY, known=known))

    @pl.register("mine")
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Mine(pl.Method):
        factor: float = 2.0

        def attribute(self, case):
            return home.Attribution(values=[self.factor * g for g in case.gradient])

    net = zoo.load("linear")
    assert_close(pl.explain(net.model, net.inputs, "mine", factor=3.0).values, 3 * net.gradient)
    assert pl.methods()["mine"] is Mine


def test_results_follow_a_model_on_another_type():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).to(torch.bfloat16)
    x = torch.randn(2, 3, dtype=torch.bfloat16)
    for name in ("saliency", "lrp", "smoothgrad", "integrated_gradients"):
        found = pl.explain(net, x, name, on_incomplete="ignore")
        assert found.values.dtype == torch.bfloat16
        assert found.values.isfinite().all()


def test_a_scalar_regressor_of_any_scale_does_not_alarm():
    """Completeness is relative: a score of 1e10 may be off by more than a score of one."""
    for scale in (1e-8, 1.0, 1e10):
        net = zoo.load("perceptron", torch.float32)

        def model(x: Tensor, net: nn.Module = net.model, scale: float = scale) -> Tensor:
            return net(x) * scale

        for name in ("integrated_gradients", "lrp"):
            pl.explain(model, net.inputs, name, target=0)


class DeadBranch(nn.Module):
    """A layer, `aux`, whose output is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.aux, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x).relu()
        self.aux(maps)
        return self.head(maps.mean((2, 3)))


BRANCHES = [pl.Saliency(at="aux"), pl.GradCAM(layer="aux"), "saliency", "gradcam"]


@pytest.mark.parametrize("order", [BRANCHES, BRANCHES[::-1], BRANCHES[2:] + BRANCHES[:2]])
def test_compared_methods_say_what_they_say_alone(order):
    net, x = DeadBranch().eval(), torch.randn(2, 3, 8, 8)
    found = pl.compare(net, x, order)
    assert sum(bool(each.notes) for each in found) == 3
    for each, method in zip(found, order, strict=True):
        assert each.notes == pl.explain(net, x, method).notes


@pytest.mark.parametrize("cut", [lambda x: x, lambda x: x + x.detach().mean()])
def test_notes_on_what_is_shared_are_those_of_every_method_that_reads_it(cut):
    linear = nn.Linear(4, 3)

    def model(x: Tensor) -> Tensor:
        return linear(cut(x)).softmax(1)

    names = ["lrp", "saliency", "gradient_x_input", "integrated_gradients", "guided_backprop"]
    for order in (names, names[::-1]):
        for each in pl.compare(model, torch.randn(2, 4), order, on_incomplete="ignore"):
            alone = pl.explain(model, torch.randn(2, 4), each.method, on_incomplete="ignore")
            assert "softmax" in each.notes[0]
            about = [n for n in each.notes if "detach" in n or "softmax" in n]
            assert about == [n for n in alone.notes if "detach" in n or "softmax" in n]


def never(output: Tensor) -> Tensor:
    """A score without a root."""
    return output[:, 0] ** 2 + 1


@pytest.mark.parametrize("ask", ["explain", "compare", "call", "smoothgrad"])
def test_a_warning_points_at_the_line_that_asked(ask):
    """Python shows a warning once for each line: two lines of the user's give two."""
    net, x = nn.Linear(3, 2), torch.randn(2, 3)
    ways = {
        "explain": lambda: pl.explain(net, x, "taylor", target=never),
        "compare": lambda: pl.compare(net, x, ["saliency", "taylor"], target=never),
        "call": lambda: pl.SimpleTaylor()(net, x, target=never),
        "smoothgrad": lambda: pl.SmoothGrad(method="taylor", samples=2)(net, x, target=never),
    }
    again = {
        "explain": lambda: pl.explain(net, x, "taylor", target=never),
        "compare": lambda: pl.compare(net, x, ["saliency", "taylor"], target=never),
        "call": lambda: pl.SimpleTaylor()(net, x, target=never),
        "smoothgrad": lambda: pl.SmoothGrad(method="taylor", samples=2)(net, x, target=never),
    }
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(2):
            ways[ask]()
            again[ask]()
    assert [w.category for w in seen] == [IncompleteWarning] * 2
    assert {w.filename for w in seen} == {inspect.getfile(never)}
    lines = [function[ask].__code__.co_firstlineno for function in (ways, again)]
    assert [w.lineno for w in seen] == lines


def test_batches_that_share_statistics_are_announced():
    def functional(x: Tensor) -> Tensor:
        return nn.functional.batch_norm(x, None, None, training=True)

    norm = nn.BatchNorm1d(3, track_running_stats=False).eval()
    x = torch.randn(4, 3)
    for name in ("saliency", "guided_backprop", "integrated_gradients"):
        found = pl.explain(norm, x, name, target=0, on_incomplete="ignore")
        assert any("statistics of its batch" in note for note in found.notes)
    found = pl.explain(functional, x, "guided_backprop", target=0)
    assert any("statistics of its batch" in note for note in found.notes)
    for model in (nn.BatchNorm1d(3).eval(), nn.InstanceNorm2d(3).eval()):
        z = x if isinstance(model, nn.BatchNorm1d) else torch.randn(4, 3, 2, 2)
        target = 0 if z.ndim == 2 else pl.Target.of(lambda y: y[:, 0, 0, 0])
        found = pl.explain(model, z, "guided_backprop", target=target)
        assert not any("statistics" in note for note in found.notes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (["gradcam"], r"A method must be a name, or made of its class; got \['gradcam'\]"),
        (None, r"A method must be a name, or made of its class; got None"),
        (pl.Saliency, r"got Saliency\. Pass Saliency\(\)\."),
    ],
)
def test_what_is_no_method(name, message):
    with pytest.raises(InputError, match=message):
        pl.explain(nn.Linear(2, 1), torch.ones(1, 2), name)


@pytest.mark.parametrize("names", [None, 3, "saliency", pl.Saliency(), []])
def test_what_is_no_list_of_methods(names):
    with pytest.raises(InputError, match="`names` must"):
        pl.compare(nn.Linear(2, 1), torch.ones(1, 2), names)


def test_values_without_a_number_sum_to_zero():
    from pellucid.answer import _total

    assert_close(_total([torch.ones(3, 2, dtype=torch.long)]), torch.zeros(3).double())


def test_remarks_on_batches_become_those_on_all():
    share, span = Share(text="{} leak.", some=0, of=2), Span(text="{} steps.", low=9, high=27)
    parts = ["Once.", share, span, "Once.", dataclasses.replace(share, some=1, of=3)]
    parts.append(dataclasses.replace(span, low=3, high=3))
    assert sentences(parts) == ["Once.", "1 of 5 samples leak.", "3 to 27 steps."]
    assert sentences([share]) == []
    assert joined(joined(parts[:2]) + joined(parts[2:])) == joined(parts)
