"""The same questions put to other libraries, where they are installed.

They hang hooks on the model and do not bear in-place activations, so they get a copy without.
"""

import copy
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from networks import LAST_CONVOLUTION, BasicBlock
from torch import Tensor, nn

# A peer's row: what it is called, what it is compared with, how many of those, and the call.
Peer = tuple[str, str, int, Callable[[], Any]]


def peers(network: str, model: nn.Module, x: Tensor, k: int, count: int) -> list[Peer]:
    """All calls of all peers that are installed."""
    warnings.simplefilter("ignore")
    rows: list[Peer] = []
    packages = {"zennit": _zennit, "captum": _captum, "lxt": _lxt, "pytorch_grad_cam": _cams}
    for package, calls in packages.items():
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed")
            continue
        try:
            rows += calls(network, _plain(model), x, k, count)
        except ImportError as error:
            print(f"{package} cannot be imported: {error}")
    return rows


def _plain(model: nn.Module) -> nn.Module:
    copied = copy.deepcopy(model)
    for module in copied.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return copied


def _zennit(network: str, model: nn.Module, x: Tensor, k: int, count: int) -> Iterator[Peer]:
    _stand_in_for_torchvision()
    from zennit import composites
    from zennit.attribution import Gradient
    from zennit.torchvision import ResNetCanonizer, VGGCanonizer

    if network.startswith("vit"):
        return
    start = torch.eye(1000)[[k] * len(x)]
    merge = [ResNetCanonizer() if network.startswith("resnet") else VGGCanonizer()]
    made = {
        "EpsilonPlus": composites.EpsilonPlus(canonizers=merge),
        "EpsilonPlusFlat": composites.EpsilonPlusFlat(canonizers=merge),
        "EpsilonGammaBox": composites.EpsilonGammaBox(
            low=x.amin((0, 2, 3), keepdim=True), high=x.amax((0, 2, 3), keepdim=True),
            canonizers=merge,
        ),
        "EpsilonAlpha2Beta1": composites.EpsilonAlpha2Beta1(canonizers=merge),
    }  # fmt: skip

    def attribute(composite: Any) -> Any:
        with Gradient(model=model, composite=composite) as attributor:
            return attributor(x, start)

    for name, composite in made.items():
        yield f"zennit {name}", "FB", 1, partial(attribute, composite)


def _stand_in_for_torchvision() -> None:
    """Give zennit, which imports torchvision only to recognise its blocks, ours to recognise."""
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return
    for name in ("torchvision", "torchvision.models", "torchvision.models.resnet"):
        sys.modules[name] = types.ModuleType(name)
    blocks = {"BasicBlock": BasicBlock, "Bottleneck": type("Bottleneck", (nn.Module,), {})}
    vars(sys.modules["torchvision.models.resnet"]).update(blocks)


def _captum(network: str, model: nn.Module, x: Tensor, k: int, count: int) -> Iterator[Peer]:
    from captum.attr import (
        LRP,
        DeepLift,
        IntegratedGradients,
        LayerGradCam,
        NoiseTunnel,
        Saliency,
    )

    yield "captum LRP", "FB", 1, lambda: LRP(model).attribute(x, target=k)
    yield "captum DeepLift", "FB", 1, lambda: DeepLift(model).attribute(x, target=k)
    if network in LAST_CONVOLUTION:
        layer = model.get_submodule(LAST_CONVOLUTION[network])
        yield "captum LayerGradCam", "F", 1, lambda: LayerGradCam(model, layer).attribute(x, k)
    line, tunnel = IntegratedGradients(model), NoiseTunnel(Saliency(model))
    steps = {"n_steps": count, "internal_batch_size": len(x)}
    noise = {"nt_samples": count, "nt_samples_batch_size": 1, "stdevs": 0.5}
    yield "captum IntegratedGradients", "FB", count, lambda: line.attribute(x, target=k, **steps)
    yield "captum NoiseTunnel", "FB", count, lambda: tunnel.attribute(x, target=k, **noise)


def _lxt(network: str, model: nn.Module, x: Tensor, k: int, count: int) -> Iterator[Peer]:
    """Its patches of torch's own layers, which are made for the length of a call."""
    if not network.startswith("vit"):
        return
    # Its models are those of other libraries, in versions of their own; none is needed here.
    sys.modules.setdefault("lxt.efficient.models", types.ModuleType("models"))
    sys.modules["lxt.efficient.models"].get_default_map = None  # type: ignore[attr-defined]
    from lxt.efficient import patches

    for block in model.blocks.layers:
        block.activation = nn.GELU()
    kinds = {
        nn.GELU: partial(patches.patch_method, patches.non_linear_forward, keep_original=True),
        nn.LayerNorm: partial(patches.patch_method, patches.layer_norm_forward),
        nn.MultiheadAttention: partial(
            patches.patch_method, patches.cp_multi_head_attention_forward, keep_original=True
        ),
    }

    def attribute() -> Tensor:
        kept = {kind: dict(vars(kind)) for kind in kinds}
        try:
            for kind, patch in kinds.items():
                patch(kind)
            point = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(model(point)[:, k].sum(), point)
            return point.detach() * gradient
        finally:
            for kind, before in kept.items():
                kind.forward = before["forward"]
                for name in set(vars(kind)) - set(before):
                    delattr(kind, name)

    yield "lxt CP-LRP", "FB", 1, attribute


def _cams(network: str, model: nn.Module, x: Tensor, k: int, count: int) -> Iterator[Peer]:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    if network not in LAST_CONVOLUTION:
        return
    layer = model.get_submodule(LAST_CONVOLUTION[network])

    def explain() -> Any:
        with GradCAM(model=model, target_layers=[layer]) as cam:
            return cam(input_tensor=x, targets=[ClassifierOutputTarget(k)] * len(x))

    yield "pytorch_grad_cam GradCAM", "F", 1, explain
