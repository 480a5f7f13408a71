"""The gradient at the input itself: saliency, and gradient x input."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from pellucid.at import At, Site, check_at
from pellucid.case import Case
from pellucid.method import Attribution, Method, register
from pellucid.options import one_of

REDUCTIONS = {"signed": lambda g: g, "absolute": Tensor.abs, "squared": Tensor.square}


@register("saliency")
@dataclass(frozen=True, kw_only=True)
class Saliency(Method):
    """The gradient of the score: how much each input element moves it.

        R = g, |g| or g^2, where g = df/dx

    Axes: values have the axes of the input, or with `at` those of what that layer returned.
    `reduce` keeps the sign, drops it, or squares.
    Laws: on a linear model it is the weight; an ignored input gets zero; equal functions get
    equal answers. It does not sum to the score.
    Source: Simonyan, Vedaldi, Zisserman (2013), Deep Inside Convolutional Networks.

    >>> import torch
    >>> model = lambda x: (x ** 2).sum(1, keepdim=True)
    >>> Saliency()(model, torch.tensor([[1.0, -3.0]])).values
    tensor([[ 2., -6.]])
    """

    answers: ClassVar[str] = "Which pixels would change the score most if they changed a little?"
    weakness: ClassVar[str] = (
        "Noisy on deep networks, and blind to evidence whose effect is already saturated."
    )
    laws: ClassVar[frozenset[str]] = frozenset({"dummy", "invariant"})
    differentiable: ClassVar[bool] = True

    reduce: Literal["signed", "absolute", "squared"] = "signed"
    at: At = None

    def __post_init__(self) -> None:
        one_of(self.reduce, "`reduce` of saliency", REDUCTIONS)
        check_at(self.at)

    @property
    def reads(self) -> frozenset[str]:
        """At the inputs autograd's gradient, elsewhere one that is walked."""
        return frozenset({"gradient"} if self.at is None else {"tape"})

    @property
    def is_slope(self) -> bool:
        """Values are slopes of the score."""
        return True

    def attribute(self, case: Case) -> Attribution:
        """One forward and one backward pass."""
        site = Site(case=case, path=self.at)
        found = site.gradient()
        return Attribution(values=[REDUCTIONS[self.reduce](g) for g in found], at=site.label)


@register("gradient_x_input")
@dataclass(frozen=True, kw_only=True)
class GradientXInput(Method):
    """The gradient times the input: the linear part of each element in the score.

        R = x * df/dx

    Axes: values have the axes of the input; with `at`, x is what that layer returned.
    Laws: exact on a linear model; on a ReLU network without biases it sums to the score.
    Source: Shrikumar, Greenside, Kundaje (2017), Learning Important Features Through Propagating
    Activation Differences.

    >>> import torch
    >>> model = lambda x: (x * torch.tensor([2.0, -1.0])).sum(1, keepdim=True)
    >>> GradientXInput()(model, torch.tensor([[1.0, 3.0]])).values
    tensor([[ 2., -3.]])
    """

    answers: ClassVar[str] = "How much would each pixel contribute if the model were linear here?"
    weakness: ClassVar[str] = "As noisy as the gradient, and zero wherever the input is zero."
    laws: ClassVar[frozenset[str]] = frozenset({"linear", "dummy", "invariant"})
    differentiable: ClassVar[bool] = True

    at: At = None

    def __post_init__(self) -> None:
        check_at(self.at)

    @property
    def reads(self) -> frozenset[str]:
        """At the inputs autograd's gradient, elsewhere one that is walked."""
        return frozenset({"gradient"} if self.at is None else {"tape"})

    def attribute(self, case: Case) -> Attribution:
        """One forward and one backward pass."""
        site = Site(case=case, path=self.at)
        pairs = zip(site.gradient(), site.tensors, strict=True)
        return Attribution(values=[gradient * there for gradient, there in pairs], at=site.label)
