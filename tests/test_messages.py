"""Bad input gets a sentence that says what must hold, what was given and what to do."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid.errors import (
    DisconnectedError,
    InputError,
    MissingExtraError,
    MissingRuleError,
    ModelError,
    PellucidError,
    TargetError,
    UnknownNameError,
    nearest,
    show,
)

MODEL = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
nn.init.constant_(MODEL[0].bias, 2.0)  # active, whatever was drawn
CONV = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
X = torch.ones(2, 3)
IMAGE = torch.ones(2, 1, 4, 4)


def explain(model: Any = MODEL, inputs: Any = X, name: str = "saliency", **options: Any) -> Any:
    return pl.explain(model, inputs, name, **options)


class InThread(nn.Module):
    """Computes in a thread, where no recorder of the caller's looks."""

    def forward(self, x: Tensor) -> Tensor:
        out = []
        thread = threading.Thread(target=lambda: out.append(x.detach() * 2))
        thread.start()
        thread.join()
        return out[0]


class Special(nn.Module):
    """An operation that no table has."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


SOURCE = Path(__file__).read_text().splitlines()


def stepping(x: Tensor) -> Tensor:
    """A rectifier by an operation without a derivative."""
    return x * torch.heaviside(x, torch.zeros(1))


# What is wrong -> the call, the class of the error, and its three parts.
BAD: dict[str, tuple[Callable[[], Any], type[PellucidError], str]] = {
    # Inputs
    "an array": (
        lambda: explain(inputs=np.ones((2, 3))),
        InputError,
        r"^`inputs` must be a tensor, a tuple of tensors or a dict of tensors; "
        r"got float64\[2, 3\] on cpu\. Convert it with torch\.from_numpy\(array\)\.float\(\)\.$",
    ),
    "a list of numbers": (
        lambda: explain(inputs=[1.0, 2.0]),
        InputError,
        r"^`inputs\[0\]` must be a tensor; got 1\.0\. Stack the samples",
    ),
    "an array in a dict": (
        lambda: explain(inputs={"x": np.ones((2, 3))}),
        InputError,
        r"^`x` must be a tensor; got float64\[2, 3\] on cpu\. Convert it with torch\.from_numpy",
    ),
    "nothing": (
        lambda: explain(inputs=()),
        InputError,
        r"^`inputs` must be a tensor, .*; got \(\)\. Stack",
    ),
    "no batch": (
        lambda: explain(inputs=torch.ones(0, 3)),
        InputError,
        r"^`inputs` must have a batch axis and at least one element; got float32\[0, 3\] on cpu\. "
        r"For one sample add the axis: inputs\.unsqueeze\(0\)\.$",
    ),
    "a scalar": (
        lambda: explain(inputs=torch.tensor(1.0)),
        InputError,
        r"must have a batch axis .*; got float32\[\] on cpu\. .*unsqueeze",
    ),
    "NaN": (
        lambda: explain(inputs=torch.tensor([[1.0, float("nan"), float("inf")]])),
        InputError,
        r"^`inputs` must be finite; got '?2 values that are NaN or infinite'?\. Clean the data",
    ),
    "batches that differ": (
        lambda: explain(lambda a, b: a + b, (torch.ones(2, 3), torch.ones(1, 3))),
        InputError,
        r"must have the same length along the batch.*; got \{'inputs\[0\]': float32\[2, 3\].*Exp",
    ),
    "a shape the model refuses": (
        lambda: explain(inputs=torch.ones(2, 5)),
        PellucidError,
        r"float32\[2, 5\]",
    ),
    "a type the model refuses": (
        lambda: explain(inputs=torch.ones(2, 3, dtype=torch.float64)),
        PellucidError,
        r"float64\[2, 3\]",
    ),
    # Names
    "an unknown method": (
        lambda: explain(name="gradcma"),
        UnknownNameError,
        r"^A method must be one that exists; got 'gradcma'\. Did you mean 'gradcam'\?$",
    ),
    "an unknown option": (
        lambda: explain(name="smoothgrad", sample=3),
        UnknownNameError,
        r"^An option of smoothgrad must be one that exists; got 'sample'\. "
        r"Did you mean 'samples'\?$",
    ),
    "an unknown value of an option": (
        lambda: explain(reduce="absolut"),
        UnknownNameError,
        r"^`reduce` of saliency must be one that exists; got 'absolut'\. "
        r"Did you mean 'absolute'\?$",
    ),
    "an unknown layer": (
        lambda: explain(CONV, IMAGE, "gradcam", layer="O"),
        UnknownNameError,
        r"^A layer must be one that exists; got 'O'\. .*Known: 0, 1",
    ),
    "an unknown composite": (
        lambda: explain(name="lrp", composite="epsilon-flat"),
        UnknownNameError,
        r"composite.*must be one that exists; got 'epsilon-flat'\. .*'epsilon-plus-flat'",
    ),
    "an unknown policy": (
        lambda: explain(on_incomplete="warning"),
        UnknownNameError,
        r"^`on_incomplete` must be one that exists; got 'warning'\. Did you mean 'warn'\?$",
    ),
    "a method that is no name": (
        lambda: explain(name=3),
        InputError,
        r"method.*; got 3\.",
    ),
    "names as one string": (
        lambda: pl.compare(MODEL, X, "saliency"),
        InputError,
        r"^`names` must be a list of methods; got 'saliency'\. Pass \['saliency'\]\.$",
    ),
    "options for a method that is made": (
        lambda: pl.explain(MODEL, X, pl.Saliency(), reduce="absolute"),
        InputError,
        r"^Options must be given to the method itself .*; got '?reduce'?\.",
    ),
    # Values of options
    "no samples": (
        lambda: explain(name="smoothgrad", samples=0),
        InputError,
        r"samples.*; got 0\.",
    ),
    "negative noise": (
        lambda: explain(name="smoothgrad", noise=-0.1),
        InputError,
        r"noise.*; got -0\.1\.",
    ),
    "no steps": (
        lambda: explain(name="integrated_gradients", steps=0),
        InputError,
        r"steps.*; got 0\.",
    ),
    "no tolerance": (
        lambda: explain(name="integrated_gradients", tolerance=0.0),
        InputError,
        r"tolerance.*; got 0\.0\.",
    ),
    "an alpha outside": (
        lambda: explain(name="interior_gradient", alpha=float("nan")),
        InputError,
        r"alpha.*; got nan\.",
    ),
    "a baseline of another shape": (
        lambda: explain(name="integrated_gradients", baseline=torch.ones(1, 4)),
        InputError,
        r"^The baseline of `inputs` must have the shape of one sample, \[3\], or of several; "
        r"got float32\[1, 4\] on cpu\.$",
    ),
    "no feature maps": (
        lambda: explain(name="gradcam"),
        PellucidError,
        r"^A CAM must find feature maps: an activation with a grid .*; got .*\. Name a layer by",
    ),
    # Targets
    "a target out of range": (
        lambda: explain(target=7),
        TargetError,
        r"^A target must be a class of the output, from 0 to 1; got 7\.",
    ),
    "one of several targets out of range": (
        lambda: explain(target=[0, 5]),
        TargetError,
        r"from 0 to 1; got 5\.",
    ),
    "a contrast out of range": (
        lambda: explain(target=(0, 9)),
        TargetError,
        r"from 0 to 1; got 9\.",
    ),
    "too many targets": (
        lambda: explain(target=[0, 1, 0]),
        TargetError,
        r"^A list of targets must name one class for each of the 2 samples; got \[0, 1, 0\]\.",
    ),
    "a target that is no target": (
        lambda: explain(target=1.5),
        TargetError,
        r"^`target` must be a class index, .*; got 1\.5\.",
    ),
    "a target by name": (
        lambda: explain(lambda x: {"logits": MODEL(x)}, target=("logit", 0)),
        UnknownNameError,
        r"^A path into the output must be one that exists; got 'logit'\. "
        r"Did you mean 'logits'\?$",
    ),
    "a callable that gives one number": (
        lambda: explain(target=lambda output: output.sum()),
        TargetError,
        r"^A callable target must return a tensor of shape \(sample,\); got float32\[\] on cpu\. "
        r"For example: lambda output",
    ),
    "a callable that gives too many": (
        lambda: explain(target=lambda output: output.flatten()),
        InputError,
        r"must give one score for each of the 2 samples; got float32\[4\] on cpu",
    ),
    # Outputs
    "a dict without a path": (
        lambda: explain(lambda x: {"loss": None, "logits": MODEL(x)}),
        TargetError,
        r"got .*'logits': float32\[2, 2\] on cpu.*What would work: target=\('logits', 0\); "
        r"target=lambda output: output\['logits'\]\.flatten\(1\)\.sum\(1\); target=lambda",
    ),
    "a tuple without a path": (
        lambda: explain(lambda x: (MODEL(x), x)),
        TargetError,
        r"got .*float32\[2, 2\] on cpu.*What would work: target=.*; target=.*; target=",
    ),
    "a map of scores": (
        lambda: explain(nn.Conv2d(1, 3, 3), IMAGE),
        TargetError,
        r"^The explained output must have shape \(2,\) or \(2, class\); got .*float32\[2, 3, 2, 2\]"
        r".*What would work: target=pl\.Target\.region\(0\); target=.*; target=",
    ),
    "a mean over the batch": (
        lambda: explain(lambda x: MODEL(x).mean()),
        TargetError,
        r"^The explained output must have shape \(2,\) or \(2, class\); got .*float32\[\]",
    ),
    "whole numbers": (
        lambda: explain(lambda x: MODEL(x).argmax(1)),
        ModelError,
        r"^The model must return at least one floating-point tensor; got .*int64\[2\] on cpu.*"
        r"lambda x: .*; lambda x: .*; lambda x: ",
    ),
    "a string": (
        lambda: explain(lambda x: "cat"),
        ModelError,
        r"^The model must return at least one floating-point tensor; got .*cat.*lambda x: ",
    ),
    # Models
    "a step without a derivative": (
        lambda: explain(stepping),
        ModelError,
        r"^The operations of a model must have gradients to be explained through; "
        r"got `aten::heaviside`, whose derivative torch does not know\. .* detach its input; ",
    ),
    "a step without a derivative, differentiably": (
        lambda: explain(stepping, differentiable=True),
        ModelError,
        r"got `aten::heaviside`, whose derivative torch does not know",
    ),
    "no model": (
        lambda: explain("resnet18"),
        InputError,
        r"^`model` must be a torch\.nn\.Module or a callable on tensors; got 'resnet18'\. "
        r"A state dict must be loaded into a module first\.$",
    ),
    "a model that leaves torch": (
        lambda: explain(lambda x: torch.from_numpy(x.detach().numpy() * 2)),
        DisconnectedError,
        r"^The explained score must depend on the input through torch operations; got .*"
        r"\.detach\(\), \.numpy\(\), \.item\(\)",
    ),
    "a model that detaches": (
        lambda: explain(lambda x: MODEL(x.detach())),
        DisconnectedError,
        r"must depend on the input through torch operations",
    ),
    "a model in a thread": (
        lambda: explain(InThread()),
        DisconnectedError,
        r"must depend on the input through torch operations; got .*a thread inside",
    ),
}


def never(*args: Any, **kwargs: Any) -> Tensor:
    raise AssertionError("the model was run")


def ask(inputs: Any, name: str = "integrated_gradients", **options: Any) -> Any:
    """Explain a model that must not be run."""
    return pl.explain(never, inputs, name, **options)


PAIR = (torch.ones(2, 3), {"state": (torch.ones(1, 2, 4), torch.ones(1, 2, 4))})
AXES = (0, {"state": 1})

# What is wrong with a call -> the call, and what it says before the model is run at all.
MALFORMED: dict[str, tuple[Callable[[], Any], str]] = {
    "an array deep inside": (
        lambda: ask((torch.ones(2, 3), {"state": np.ones((2, 3))})),
        r"^`inputs\[1\]\['state'\]` must be a tensor; got float64\[2, 3\] on cpu\. Convert it",
    ),
    "no tensor in it": (
        lambda: ask({"text": ["a", "b"]}),
        r"^`text\[0\]` must be a tensor; got 'a'\. Stack the samples",
    ),
    "keywords that are numbers": (
        lambda: ask({0: torch.ones(2, 3)}),
        r"^A dict of inputs must be one of keyword arguments, by strings; got \[0\]\.$",
    ),
    "a batch that is not first": (
        lambda: ask(PAIR),
        r"^All inputs must have the same length along the batch, their first axis; got "
        r"\{'inputs\[0\]': float32\[2, 3\] on cpu, .*\['state'\]\[0\]\": float32\[1, 2, 4\].*"
        r"declare it: batch_axis=None .*",
    ),
    "a scalar deep inside": (
        lambda: ask((torch.ones(2, 3), {"t": torch.tensor(1.0)})),
        r"^`inputs\[1\]\['t'\]` must have a batch axis .*; got float32\[\] on cpu\. .*"
        r"Or declare batch_axis=None for `inputs\[1\]\['t'\]`, if all samples share it\.$",
    ),
    "NaN deep inside": (
        lambda: ask((torch.ones(2, 3), [torch.full((2, 1), torch.nan)])),
        r"^`inputs\[1\]\[0\]` must be finite; got 2 values",
    ),
    "axes of another structure": (
        lambda: ask(PAIR, batch_axis=(0, 1, 1)),
        r"^`batch_axis` must be a whole number, None, or these in the structure of the inputs; got "
        r"\(0, 1, 1\) for \(float32\[2, 3\] on cpu, \{'state': \(float32\[1, 2, 4\] on cpu, ",
    ),
    "an axis by name": (
        lambda: ask(PAIR, batch_axis=(0, {"stat": 1})),
        r"^`batch_axis` must be .*; got \(0, \{'stat': 1\}\) for \(float32",
    ),
    "an axis that is not there": (
        lambda: ask(PAIR, batch_axis=(2, {"state": 1})),
        r"^`inputs\[0\]` must have an axis 2, its `batch_axis`; got float32\[2, 3\] on cpu\.$",
    ),
    "a batch nowhere": (
        lambda: ask(PAIR, batch_axis=None),
        r"^At least one of the inputs must have a batch axis; got None\.$",
    ),
    "too few baselines": (
        lambda: ask(PAIR, batch_axis=AXES, baseline=(torch.zeros(1, 3),)),
        r"^`baseline` must have the structure of the inputs, with one tensor for each of the 3 "
        r"inputs, `inputs\[0\]`: .*; got `inputs\[0\]`: float32\[1, 3\] on cpu\.$",
    ),
    "too many baselines": (
        lambda: ask(X, baseline=(torch.zeros(1, 3), torch.zeros(1, 3))),
        r"^`baseline` must have the structure .* 1 inputs, `inputs`: float32\[2, 3\] on cpu; got "
        r"`inputs\[0\]`: float32\[1, 3\] on cpu, `inputs\[1\]`: float32\[1, 3\] on cpu\.$",
    ),
    "a baseline by another keyword": (
        lambda: ask({"image": X}, baseline={"images": X[:1], "table": X[:1]}),
        r"^`baseline` must have the structure .*`image`: float32\[2, 3\] on cpu; got `images`: ",
    ),
    "a baseline of another shape": (
        lambda: ask(PAIR, batch_axis=AXES, baseline=(X[:1], {"state": (0.0, torch.ones(1, 5))})),
        r"^The baseline of `inputs\[1\]\['state'\]\[1\]` must have the shape of one sample, "
        r"\[1, 4\], or of several; got float32\[1, 5\] on cpu\.$",
    ),
    "backgrounds of different lengths": (
        lambda: ask((X, X), baseline=(X, X[:1])),
        r"^The baselines of all inputs must have the same number of rows",
    ),
    "a baseline for other samples": (
        lambda: ask(X, baseline=pl.Baseline.per_sample(torch.zeros(3, 3))),
        r"^A baseline per sample must have the shape of `inputs`, \[2, 3\]; got float32\[3, 3\]",
    ),
    "a baseline that is not finite": (
        lambda: ask((X, X), baseline=(X[:1], torch.full((1, 3), torch.inf))),
        r"^A baseline must be finite; got float32\[1, 3\] on cpu\.$",
    ),
    "a baseline by name": (
        lambda: ask(X, baseline="blur"),
        r"^`baseline` must be a number, a tensor or a Baseline; got 'blur'\.$",
    ),
    "classes for other samples": (
        lambda: ask(X, target=pl.Target.token([1, 2, 3])),
        r"^A list of targets must name one class for each of the 2 samples; got \[1, 2, 3\]\.$",
    ),
    "positions for other samples": (
        lambda: ask(X, target=pl.Target.token(1, position=[1, 2, 3])),
        r"^A list of token positions must have one for each of the 2 samples; got \[1, 2, 3\]\.$",
    ),
    "boxes for other samples": (
        lambda: ask(X, target=pl.Target.box([1, 2, 3])),
        r"^A list of box positions must have one for each of the 2 samples; got \[1, 2, 3\]\.$",
    ),
    "a mask of numbers": (
        lambda: ask(X, target=pl.Target.region(1, torch.ones(4, 4))),
        r"^The mask of a region must be boolean; got float32\[4, 4\] on cpu\. For example: mask",
    ),
    "a batch size of nothing": (
        lambda: ask(X, batch_size=0),
        r'^`batch_size` must be "auto" or a positive whole number; got 0\.$',
    ),
}


@pytest.mark.parametrize("wrong", MALFORMED)
def test_a_malformed_call_is_told_before_the_model_is_run(wrong):
    call, message = MALFORMED[wrong]
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "Tensor(" not in str(caught.value)
    assert "tensor(" not in str(caught.value)


def test_a_model_that_must_not_be_run_is_seen():
    """The calls above would be seen to run the model."""
    with pytest.raises(ModelError, match="AssertionError: the model was run"):
        ask(X)


@pytest.mark.parametrize("wrong", BAD)
def test_bad_input_gets_a_clear_answer(wrong):
    call, kind, message = BAD[wrong]
    with pytest.raises(kind, match=message) as caught:
        call()
    assert str(caught.value).endswith((".", "?"))
    assert "Tensor(" not in str(caught.value)
    assert "tensor(" not in str(caught.value)


def test_an_operation_without_a_rule_is_named_with_its_line_and_the_way_out():
    class Twisted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(3, 2), Special())

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    with pytest.raises(MissingRuleError) as caught:
        explain(Twisted(), name="lrp")
    message = str(caught.value)
    assert message.startswith("Every operation between score and input must have a relevance rule")
    assert "`special_bessel_j0` (operation 1, layer `inner.1`, " in message
    line = next(n for n, text in enumerate(SOURCE, 1) if "bessel_j0(x)" in text)
    assert f"test_messages.py:{line})" in message
    assert "pellucid.register_rule('special_bessel_j0', pellucid.rules.Pass())" in message


def test_a_rule_that_is_registered_is_used():
    from pellucid.propagate.rules.registered import REGISTERED

    model = nn.Sequential(nn.Linear(3, 2), Special())
    try:
        pl.register_rule("special_bessel_j0", pl.rules.Pass())
        found = explain(model, name="lrp", target=0)
        assert any(row.rule == "Pass" for row in found.ledger.rows)
        assert abs(found.ledger.residual) < 1e-4
    finally:
        REGISTERED.pop("special_bessel_j0", None)
    with pytest.raises(InputError, match=r"must be Pass\(\) or a function .*; got 'pass'"):
        pl.register_rule("special_bessel_j0", "pass")


@pytest.mark.parametrize("name", ["saliency", "lrp"])
def test_an_input_the_output_ignores_gets_zeros_and_a_note(name):
    found = pl.explain(lambda a, b: MODEL(a), (X, torch.ones(2, 5)), name)
    assert found.values[0].abs().sum() > 0
    assert torch.equal(found.values[1], torch.zeros(2, 5))
    assert any("does not depend on `inputs[1]`" in note for note in found.notes)


@pytest.mark.parametrize("name", ["saliency", "lrp", "integrated_gradients"])
def test_an_output_that_is_constant_gets_zeros_and_a_note(name):
    found = pl.explain(lambda x: torch.ones(len(x), 2), X, name)
    assert torch.equal(found.values, torch.zeros(2, 3))
    assert any("does not depend on `inputs`" in note for note in found.notes)


def test_errors_are_also_what_python_calls_them():
    for kind in (InputError, TargetError, UnknownNameError):
        assert issubclass(kind, ValueError)
    assert issubclass(UnknownNameError, KeyError)
    assert issubclass(ModelError, RuntimeError)
    assert issubclass(MissingExtraError, ImportError)


def test_a_message_is_one_sentence_and_a_hint():
    assert str(PellucidError("It must hold", got=3, hint="Do this.")) == (
        "It must hold; got 3. Do this."
    )
    assert str(PellucidError("It must hold")) == "It must hold."
    assert str(MissingExtraError("The model zoo", extra="zoo")) == (
        "The model zoo needs an optional package. Install pellucid[zoo]."
    )


def test_values_are_shown_in_a_few_words():
    assert show(torch.ones(2, 3)) == "float32[2, 3] on cpu"
    assert show((torch.ones(2), "a")) == "(float32[2] on cpu, 'a')"
    assert show({"a": torch.ones(2)}) == "{'a': float32[2] on cpu}"
    assert show(nn.Linear) == "Linear"
    assert show(ValueError("no")) == "ValueError: no"
    assert len(show("x" * 1000)) == 200


def test_the_nearest_name_or_all_names_are_given():
    assert nearest("lrpp", ["lrp", "cam"]) == "Did you mean 'lrp'?"
    assert nearest("zzz", ["lrp", "cam"]) == "Known: lrp, cam."
    assert nearest("zzz", [str(i) for i in range(30)]).endswith("19, ...")
    assert nearest("zzz", []) == ""
