"""Every layer of torch.nn, with inputs; or the reason why it is none."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.architectures.program import Program, net, normal, program

FLAT = normal(3, 6)
LINE = normal(2, 4, 8)
IMAGE = normal(2, 4, 6, 6)
VOLUME = normal(2, 2, 4, 4, 4)
TOKENS = normal(2, 5, 6)
MORE_TOKENS = normal(2, 3, 6, seed=1)
STEPS = normal(2, 5, 4)
CLASSES = torch.tensor([1, 0, 5])
SIGNS = torch.tensor([1.0, -1.0, 1.0]).double()
Made = Callable[[], Program]


def on(x: Tensor, *args: Any, **options: Any) -> Callable[[type[nn.Module]], Program]:
    """A layer with these arguments, on this input."""
    return lambda layer: program(layer(*args, **options), x.clone())


def norm(x: Tensor, *args: Any, **options: Any) -> Callable[[type[nn.Module]], Program]:
    """The same with statistics that are not those of a fresh layer."""
    return lambda layer: program(net(lambda f, x: f(x), layer(*args, **options)), x.clone())


def loss(x: Tensor, y: Tensor, **options: Any) -> Callable[[type[nn.Module]], Program]:
    """A loss of every sample, as a program of what is predicted and what is true."""
    options = {"reduction": "none"} | options
    return lambda layer: program(layer(**options), x.clone(), y.clone())


def across_maps(x: Tensor) -> Tensor:
    """What CrossMapLRN2d(5) is for four channels; its own backward pass is seen to be wrong.

    The first channel's window ends before the last channel, and no window ever leaves one out at
    its beginning (torch 2.13).
    """
    square = x.square()
    total = square.sum(1, keepdim=True)
    sums = torch.cat([total - square[:, 3:], total.expand(-1, 3, -1, -1)], 1)
    return x * (1 + 1e-4 / 5 * sums) ** -0.75


def pooled(x: Tensor, pool: type[nn.Module]) -> Callable[[type[nn.Module]], Program]:
    """The places of the maxima come from the pooling before."""

    def build(layer: type[nn.Module]) -> Program:
        return program(net(lambda p, u, x: u(*p(x)), pool(2, return_indices=True), layer(2)), x)

    return build


def lazy(x: Tensor, *args: Any, **options: Any) -> Callable[[type[nn.Module]], Program]:
    """A layer that found its shape in a first run."""

    def build(layer: type[nn.Module]) -> Program:
        made = layer(*args, **options).double().eval()
        made(x)
        return program(made, x)

    return build


def recurrent(cell: Callable[..., Any], **options: Any) -> Callable[[type[nn.Module]], Program]:
    """A recurrent layer or cell of which all results are read."""
    return lambda layer: program(net(cell, layer(4, 3, **options)), STEPS.clone())


def state_first(f: nn.Module, x: Tensor) -> Any:
    """Batch on the second axis, and a state to begin with that is a signal too."""
    h = x[:, :1, :3].transpose(0, 1).contiguous()
    return f(x.transpose(0, 1), (h, h * 2) if isinstance(f, nn.LSTM) else h)


def unrolled(f: nn.Module, x: Tensor) -> Tensor:
    state = None
    for step in x.unbind(1):
        state = f(step, state)
    return state


def chosen(f: nn.Module, x: Tensor) -> Any:
    return f(x, CLASSES)


ALL_OF = {"num_layers": 2, "bidirectional": True, "batch_first": True}
RECURRENT = {
    "": recurrent(lambda f, x: f(x)),
    " deep, both ways, batch first": recurrent(lambda f, x: f(x), **ALL_OF),
    " from a state": recurrent(state_first),
    " without bias": recurrent(lambda f, x: f(x), bias=False, batch_first=True),
}

# fmt: off
ROWS: dict[str, Callable[[type[nn.Module]], Program]] = {
    # dense
    "Linear": on(FLAT, 6, 4), "Identity": on(FLAT), "Flatten": on(IMAGE),
    "Unflatten": on(FLAT, 1, (2, 3)),
    "Bilinear": lambda layer: program(layer(6, 6, 4), FLAT, FLAT.flip(0)),
    # convolutions
    "Conv1d": on(LINE, 4, 6, 3, stride=2, groups=2),
    "Conv2d": on(IMAGE, 4, 6, 3, padding=1, dilation=2),
    "Conv2d circular": on(IMAGE, 4, 6, 3, padding=1, padding_mode="circular"),
    "Conv3d": on(VOLUME, 2, 3, 3, padding="same"),
    "ConvTranspose1d": on(LINE, 4, 6, 3, stride=2, groups=2),
    "ConvTranspose2d": on(IMAGE, 4, 6, 3, stride=2, padding=1, output_padding=1),
    "ConvTranspose3d": on(VOLUME, 2, 3, 2, dilation=2),
    "Fold": on(normal(2, 12, 4), (5, 3), (2, 2), stride=(3, 1), padding=(0, 0)),
    "Unfold": on(IMAGE, 3, dilation=2, padding=1),
    # activations
    **{name: on(FLAT) for name in (
        "CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
        "LogSigmoid", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid",
        "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink",
    )},
    **{f"{name} in place": on(FLAT, inplace=True) for name in (
        "CELU", "ELU", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "Mish", "RReLU", "ReLU",
        "ReLU6", "SELU", "SiLU",
    )},
    "GELU by tanh": on(FLAT, approximate="tanh"), "Threshold": on(FLAT, 0.1, -2.0),
    "PReLU of channels": on(IMAGE, 4), "GLU": on(FLAT),
    "Softmax": on(FLAT, dim=1), "Softmin": on(FLAT, dim=1), "Softmax2d": on(IMAGE),
    "LogSoftmax": on(FLAT, dim=1),
    # pooling
    "AdaptiveAvgPool1d": on(LINE, 3), "AdaptiveAvgPool2d": on(IMAGE, (4, 1)),
    "AdaptiveAvgPool3d": on(VOLUME, 3), "AdaptiveMaxPool1d": on(LINE, 3),
    "AdaptiveMaxPool2d": on(IMAGE, (4, None)), "AdaptiveMaxPool3d": on(VOLUME, 3),
    "AvgPool1d": on(LINE, 3, 2, 1), "AvgPool2d": on(IMAGE, 3, 2, 1, divisor_override=2),
    "AvgPool3d": on(VOLUME, 2, ceil_mode=True), "MaxPool1d": on(LINE, 3, 2, dilation=2),
    "MaxPool2d": on(IMAGE, 3, 2, ceil_mode=True), "MaxPool3d": on(VOLUME, 2, 1),
    "MaxPool2d with places": on(IMAGE, 2, return_indices=True),
    "LPPool1d": on(LINE, 2, 3), "LPPool2d": on(IMAGE.abs(), 3, 2), "LPPool3d": on(VOLUME, 2, 2),
    "FractionalMaxPool2d": on(IMAGE, 2, output_size=3),
    "FractionalMaxPool3d": on(VOLUME, 2, output_ratio=0.6),
    "MaxUnpool1d": pooled(LINE, nn.MaxPool1d), "MaxUnpool2d": pooled(IMAGE, nn.MaxPool2d),
    "MaxUnpool3d": pooled(VOLUME, nn.MaxPool3d),
    # normalisation
    "BatchNorm1d": norm(FLAT, 6), "BatchNorm2d": norm(IMAGE, 4), "BatchNorm3d": norm(VOLUME, 2),
    "BatchNorm2d of the batch": norm(IMAGE, 4, track_running_stats=False),
    "BatchNorm1d without affine": norm(LINE, 4, affine=False),
    "SyncBatchNorm": norm(IMAGE, 4),
    "GroupNorm": norm(IMAGE, 2, 4), "LayerNorm": norm(TOKENS, 6),
    "LayerNorm of images": norm(IMAGE, (6, 6), elementwise_affine=False),
    "InstanceNorm1d": norm(LINE, 4), "InstanceNorm2d": norm(IMAGE, 4, affine=True),
    "InstanceNorm3d": norm(VOLUME, 2),
    "InstanceNorm2d with statistics": norm(IMAGE, 4, track_running_stats=True),
    "RMSNorm": norm(TOKENS, 6), "LocalResponseNorm": on(IMAGE, 2),
    "CrossMapLRN2d": lambda layer: program(layer(5), IMAGE, twin=across_maps),
    # size and place
    "Upsample": on(IMAGE, scale_factor=2), "Upsample linear": on(LINE, size=5, mode="linear"),
    "Upsample trilinear": on(VOLUME, scale_factor=1.5, mode="trilinear", align_corners=True),
    "UpsamplingBilinear2d": on(IMAGE, size=(9, 4)), "UpsamplingNearest2d": on(IMAGE, size=(9, 4)),
    "PixelShuffle": on(IMAGE, 2), "PixelUnshuffle": on(IMAGE, 3), "ChannelShuffle": on(IMAGE, 2),
    **{f"{name}1d": on(LINE, (2, 1)) for name in
       ("CircularPad", "ReflectionPad", "ReplicationPad", "ZeroPad")},
    **{f"{name}2d": on(IMAGE, (2, 1, 0, 3)) for name in
       ("CircularPad", "ReflectionPad", "ReplicationPad", "ZeroPad")},
    **{f"{name}3d": on(VOLUME, (2, 1, 0, 3, 1, 1)) for name in
       ("CircularPad", "ReflectionPad", "ReplicationPad", "ZeroPad")},
    "ConstantPad1d": on(LINE, (2, 1), 0.5), "ConstantPad2d": on(IMAGE, (2, -1, 0, 3), 0.5),
    "ConstantPad3d": on(VOLUME, 1, 0.5),
    # dropout, which is off
    "Dropout": on(FLAT, 0.4), "Dropout1d": on(LINE, 0.4), "Dropout2d": on(IMAGE, 0.4),
    "Dropout3d": on(VOLUME, 0.4), "AlphaDropout": on(FLAT, 0.4),
    "FeatureAlphaDropout": on(IMAGE, 0.4),
    # tables of vectors
    "Embedding": lambda layer: program(
        net(lambda f, ids, x: f(ids) * x, layer(7, 6)), CLASSES, FLAT
    ),
    "EmbeddingBag": lambda layer: program(
        net(lambda f, ids, x: f(ids, per_sample_weights=x[:, :2]), layer(7, 5, mode="sum")),
        torch.tensor([[1, 2], [6, 6], [0, 3]]), FLAT,
    ),
    "EmbeddingBag of largest": lambda layer: program(
        net(lambda f, ids, x: f(ids) * x, layer(7, 6, mode="max", padding_idx=2)),
        torch.tensor([[1, 2], [6, 6], [0, 3]]), FLAT,
    ),
    # recurrent
    **{f"{name}{how}": row for name in ("RNN", "LSTM", "GRU") for how, row in RECURRENT.items()},
    "RNN with rectifiers": recurrent(lambda f, x: f(x), nonlinearity="relu"),
    "LSTM with projections": recurrent(lambda f, x: f(x), proj_size=2, num_layers=2),
    "RNNCell": recurrent(unrolled), "GRUCell": recurrent(unrolled),
    "LSTMCell": recurrent(lambda f, x: f(x[:, 1], f(x[:, 0]))),
    # attention
    "MultiheadAttention": lambda layer: program(
        net(lambda f, x, y: f(x, y, y), layer(6, 2, batch_first=True)), TOKENS, MORE_TOKENS
    ),
    "MultiheadAttention of other widths": lambda layer: program(
        net(lambda f, x, y: f(x.transpose(0, 1), y.transpose(0, 1), y.transpose(0, 1)),
            layer(6, 2, kdim=6, vdim=6, add_bias_kv=True, add_zero_attn=True)),
        TOKENS, MORE_TOKENS,
    ),
    "TransformerEncoderLayer": on(TOKENS, 6, 2, 8, batch_first=True),
    "TransformerEncoderLayer with gelu, normed first": on(
        TOKENS, 6, 2, 8, batch_first=True, activation="gelu", norm_first=True
    ),
    "TransformerEncoder": lambda layer: program(
        layer(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 2), TOKENS
    ),
    "TransformerEncoder with a mask": lambda layer: program(
        net(lambda f, x: f(x, mask=CAUSAL, is_causal=True),
            layer(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 2)), TOKENS
    ),
    "TransformerEncoder with padding": lambda layer: program(
        # What a padded position holds is torch's choice: zeros on its fast path, else numbers.
        net(lambda f, x: f(x, src_key_padding_mask=PADDING) * ~PADDING[..., None],
            layer(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 2)), TOKENS
    ),
    "TransformerDecoderLayer": lambda layer: program(
        layer(6, 2, 8, batch_first=True), TOKENS, MORE_TOKENS
    ),
    "TransformerDecoder": lambda layer: program(
        net(lambda f, x, y: f(x, y, tgt_mask=CAUSAL, tgt_is_causal=True),
            layer(nn.TransformerDecoderLayer(6, 2, 8, batch_first=True), 2, nn.LayerNorm(6))),
        TOKENS, MORE_TOKENS,
    ),
    "Transformer": lambda layer: program(
        layer(6, 2, 1, 1, 8, batch_first=True, bias=False), TOKENS, MORE_TOKENS
    ),
    # two inputs
    "CosineSimilarity": lambda layer: program(layer(), FLAT, FLAT.flip(0)),
    "PairwiseDistance": lambda layer: program(layer(3), FLAT, FLAT.flip(0)),
    # losses
    **{name: loss(FLAT, FLAT.flip(0) * 2) for name in
       ("L1Loss", "MSELoss", "HuberLoss", "SmoothL1Loss")},
    "BCELoss": loss(FLAT.sigmoid(), FLAT.flip(0).sigmoid()),
    "BCEWithLogitsLoss": loss(FLAT, FLAT.flip(0).sigmoid()),
    "KLDivLoss": loss(FLAT.log_softmax(1), FLAT.flip(0).softmax(1)),
    "PoissonNLLLoss": loss(FLAT, FLAT.flip(0).exp(), full=True),
    "GaussianNLLLoss": lambda layer: program(layer(), FLAT, FLAT.flip(0), FLAT.exp()),
    "CrossEntropyLoss": loss(FLAT, CLASSES, label_smoothing=0.1),
    "CrossEntropyLoss of probabilities": loss(FLAT, FLAT.flip(0).softmax(1)),
    "NLLLoss": loss(FLAT.log_softmax(1), CLASSES), "MultiMarginLoss": loss(FLAT, CLASSES),
    "NLLLoss2d": loss(normal(3, 2, 2, 2), torch.zeros(3, 2, 2, dtype=torch.long)),
    "MultiLabelMarginLoss": loss(FLAT, torch.tensor([[1, 0, -1, 1, 1, 1]] * 3)),
    "MultiLabelSoftMarginLoss": loss(FLAT, (FLAT > 0).double()),
    "SoftMarginLoss": lambda layer: program(
        net(lambda f, x: f(x, SIGNS[:, None].expand(3, 6)), layer(reduction="none")), FLAT
    ),
    "HingeEmbeddingLoss": loss(FLAT[:, 0], SIGNS.long()),
    "MarginRankingLoss": lambda layer: program(
        net(lambda f, x, y: f(x, y, SIGNS[:, None]), layer(margin=1.0)), FLAT, FLAT.flip(0)
    ),
    "CosineEmbeddingLoss": lambda layer: program(
        net(lambda f, x, y: f(x, y, SIGNS), layer(margin=-1.0)), FLAT, FLAT.flip(0)
    ),
    "TripletMarginLoss": lambda layer: program(
        layer(margin=9.0, swap=True), FLAT, FLAT.flip(0), FLAT * 2
    ),
    "TripletMarginWithDistanceLoss": lambda layer: program(
        layer(margin=9.0, distance_function=nn.PairwiseDistance(1)), FLAT, FLAT.flip(0), FLAT * 2
    ),
    "CTCLoss": lambda layer: program(
        net(lambda f, x: f(x.transpose(0, 1).log_softmax(2), torch.tensor([[1, 2], [3, 3]]),
                           torch.tensor([5, 4]), torch.tensor([2, 1])), layer()), STEPS
    ),
    "AdaptiveLogSoftmaxWithLoss": lambda layer: program(
        net(chosen, layer(6, 8, [3, 5], div_value=2.0)), FLAT
    ),
    "LinearCrossEntropyLoss": lambda layer: program(net(chosen, layer(6, 7)), FLAT),
    # containers
    "Sequential": lambda layer: program(layer(nn.Linear(6, 4), nn.ReLU()), FLAT),
    "ModuleList": lambda layer: program(
        net(lambda f, x: f[1](f[0](x)), layer([nn.Linear(6, 4), nn.Tanh()])), FLAT
    ),
    "ModuleDict": lambda layer: program(
        net(lambda f, x: f["b"](f["a"](x)), layer({"b": nn.Tanh(), "a": nn.Linear(6, 4)})), FLAT
    ),
    "ParameterList": lambda layer: program(
        net(lambda f, x: x @ f[0] + f[1], layer([normal(6, 2), normal(2)])), FLAT
    ),
    "ParameterDict": lambda layer: program(
        net(lambda f, x: x @ f["w"], layer({"w": normal(6, 2)})), FLAT
    ),
    "DataParallel": lambda layer: program(layer(nn.Linear(6, 2)), FLAT),
    # layers that find their shape themselves
    "LazyLinear": lazy(FLAT, 4), "LazyConv1d": lazy(LINE, 4, 3), "LazyConv2d": lazy(IMAGE, 4, 3),
    "LazyConv3d": lazy(VOLUME, 4, 3), "LazyConvTranspose1d": lazy(LINE, 4, 3),
    "LazyConvTranspose2d": lazy(IMAGE, 4, 3), "LazyConvTranspose3d": lazy(VOLUME, 4, 3),
    "LazyBatchNorm1d": lazy(LINE), "LazyBatchNorm2d": lazy(IMAGE), "LazyBatchNorm3d": lazy(VOLUME),
    "LazyInstanceNorm1d": lazy(LINE), "LazyInstanceNorm2d": lazy(IMAGE),
    "LazyInstanceNorm3d": lazy(VOLUME),
}
# fmt: on

CAUSAL = torch.ones(5, 5, dtype=torch.bool).triu(1)
PADDING = torch.tensor([[False, False, True, True, True], [False, False, False, False, True]])

# What torch.nn exports besides layers, and why it is none.
NONE = {
    "Module": "the base class of all",
    "Container": "the base class of all, under the name it once had",
    "RNNBase": "the base class of RNN, LSTM and GRU; its forward is theirs",
    "RNNCellBase": "the base class of the cells, without a forward",
}


def layer_of(row: str) -> type[nn.Module]:
    """The class that a row is about: the first word of its name."""
    return getattr(nn, row.split()[0])
