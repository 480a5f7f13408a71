"""The registry, `explain` and `compare`."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.method import named
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
    # One pass under autograd for the two that read the gradient, one recorded for the others.
    assert sum(model.calls) == 2 * len(net.inputs)
    assert sum(each.evaluations.forward for each in found) == 2 * len(net.inputs)
    for each, name in zip(found, names, strict=True):
        alone = pl.explain(net.model, net.inputs, name, target=1)
        assert_close(each.values, alone.values, rtol=1e-8, atol=1e-12)


def test_several_models_are_compared_in_turn():
    models = [zoo.load("perceptron").model, nn.Linear(5, 3).double()]
    x = zoo.load("perceptron").inputs
    found = pl.compare(models, x, ["saliency", "lrp"], target=0)
    assert len(found) == 4
    assert_close(found[2].values, models[1].weight[0].detach().expand(4, 5))


def test_compared_methods_have_the_same_score_and_target():
    net = zoo.load("perceptron")
    found = pl.compare(net.model, net.inputs, ["saliency", "smoothgrad", "lrp"])
    assert len({each.target for each in found}) == 1
    for each in found[1:]:
        assert_close(each.score, found[0].score)


def test_a_method_of_one_s_own(monkeypatch):
    from pellucid import method as home

    monkeypatch.setattr(home, "_REGISTRY", dict(home._REGISTRY))

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
