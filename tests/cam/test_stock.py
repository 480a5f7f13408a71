"""CAMs of stock models of Hugging Face, as they are: no layer, no callback, no square needed."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl

hf = pytest.importorskip("transformers")

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
PYRAMID = {"hidden_sizes": [8, 16, 16, 16], "depths": [1] * 4}
WINDOWS = {"patch_size": 2, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 2]}
SQUARE = {"image_size": 32, "patch_size": 8, **SMALL}
WIDE = {"image_size": (32, 48), "patch_size": 8, **SMALL}


def made(kind: str, model: str, **options: object) -> nn.Module:
    """A model with random weights; the generator of torch is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(hf, f"{kind}Config")(**options)
        return getattr(hf, f"{kind}For{model}")(config).eval()


# Name -> how to build it, the shape of its input, and the grid that is expected.
IMAGES = "ImageClassification"
STOCK = {
    "vit": (lambda: made("ViT", IMAGES, **WIDE), (3, 32, 48), (4, 6)),
    "deit": (lambda: made("DeiT", IMAGES + "WithTeacher", **WIDE), (3, 32, 48), (4, 6)),
    "dinov2 with registers": (
        lambda: made("Dinov2WithRegisters", IMAGES, num_register_tokens=4, **SQUARE),
        (3, 32, 32),
        (4, 4),
    ),
    "beit": (lambda: made("Beit", IMAGES, **SQUARE), (3, 32, 32), (4, 4)),
    "swin": (
        lambda: made("Swin", IMAGES, image_size=(32, 48), window_size=4, **WINDOWS),
        (3, 32, 48),
        (8, 12),
    ),
    "swin with padded windows": (
        lambda: made("Swin", IMAGES, image_size=(30, 50), window_size=4, **WINDOWS),
        (3, 30, 50),
        (8, 13),
    ),
    "swin v2": (
        lambda: made("Swinv2", IMAGES, image_size=(32, 48), window_size=4, **WINDOWS),
        (3, 32, 48),
        (8, 12),
    ),
    "convnext": (lambda: made("ConvNext", IMAGES, **PYRAMID), (3, 64, 96), (2, 3)),
    "resnet": (lambda: made("ResNet", IMAGES, embedding_size=8, **PYRAMID), (3, 64, 96), (2, 3)),
    "segformer": (
        lambda: made("Segformer", IMAGES, num_attention_heads=[1, 1, 2, 2], **PYRAMID),
        (3, 64, 96),
        (2, 3),
    ),
    "audio": (
        lambda: made(
            "AST",
            "AudioClassification",
            max_length=64,
            num_mel_bins=32,
            frequency_stride=10,
            time_stride=10,
            **SMALL,
        ),
        (64, 32),
        (5, 2),
    ),
    "video": (
        lambda: made("VideoMAE", "VideoClassification", num_frames=4, **SQUARE),
        (4, 3, 32, 32),
        (2, 1, 4, 4),
    ),
}  # fmt: skip


def inputs(shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, *shape, generator=generator)


@pytest.mark.parametrize("name", STOCK)
def test_the_map_has_the_size_of_the_input(name):
    build, shape, grid = STOCK[name]
    model, x = build(), inputs(shape)
    maps = tuple(1 if n == 3 else n for n in shape)  # in the place of three channels, one
    options = {"target": ("logits", 0), "relu": False}
    for method in ("gradcam", "gradcam_plus_plus", "layercam"):
        found = pl.explain(model, x, method, **options)
        assert tuple(found.values.shape) == (2, *maps)
        assert found.values.isfinite().all()
        assert (found.values.flatten(1).std(1) > 0).all()
        small = pl.explain(model, x, method, upsample=False, **options).values
        assert tuple(small.shape[1:]) in (grid, (1, *grid))
    found = pl.explain(model, x, "scorecam", channels=2, **options)
    assert tuple(found.values.shape) == (2, *maps)
    assert found.values.isfinite().all()
    found = pl.explain(model, x, "guided_gradcam", **options)
    assert found.values.shape == x.shape
    assert found.values.isfinite().all()


def test_cam_of_a_windowed_transformer_sums_to_its_score():
    build, shape, _ = STOCK["swin"]
    model = build()
    bias = model.classifier.bias.detach()
    bias += 1
    options = {"target": ("logits", 1), "relu": False, "upsample": False}
    cam = pl.explain(model, inputs(shape), "cam", **options)
    assert_close(cam.values.flatten(1).sum(1), cam.score - bias[1], rtol=1e-5, atol=1e-5)
    assert_close(pl.explain(model, inputs(shape), "gradcam", **options).values, cam.values)


def test_suggested_layers_of_a_vision_transformer():
    build, shape, _ = STOCK["vit"]
    layers = pl.cam.suggest_layers(build(), inputs(shape))
    assert layers[0] == "vit.embeddings.patch_embeddings.projection"
    assert {"vit.layers.0", "vit.layers.1.layernorm_before"} <= {*layers}
    assert "classifier" not in layers
