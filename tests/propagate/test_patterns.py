"""PatternNet and PatternAttribution: against matrices, planted signals, and other writings."""

from collections.abc import Callable, Iterable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError, UnknownNameError
from tests.propagate.test_patterns_fit import distractors, images, photos
from tests.textbook import matrix_of
from tests.zoo.network import Lambda, normal, seeded

METHODS = {"patternnet": False, "pattern_attribution": True}


def fitted(model: Callable, x: Tensor, name: str, **options) -> pl.Explanation:
    """Explain what the patterns were fitted on."""
    return pl.explain(model, x, name, patterns=pl.fit_patterns(model, [x]), target=0, **options)


# -- against the textbook


def textbook(
    layers: list[nn.Module], patterns: pl.Patterns, x: Tensor, k: int, *, weighs: bool
) -> Tensor:
    """Walk one sample back by matrices: those of the patterns, rectified by hand.

    A layer with weights becomes the matrix it is, once with its weights and once with patterns.
    """
    points = [x]
    for layer in layers:
        points.append(layer(points[-1]).detach())
    signal = torch.zeros_like(points[-1].flatten())
    signal[k] = points[-1].flatten()[k]
    left = list(patterns.patterns)
    for i in reversed(range(len(layers))):
        layer, point = layers[i], points[i]
        if isinstance(layer, nn.ReLU):
            signal = signal * (point.flatten() > 0)
        elif isinstance(layer, nn.Flatten):
            continue
        elif isinstance(layer, nn.AvgPool2d):
            signal = matrix_of(layer, point.shape[1:]).weight.T @ signal
        else:
            rectified = i + 1 < len(layers) and isinstance(layers[i + 1], nn.ReLU)
            found = left.pop()
            pattern = found.positive if rectified else found.linear
            signal = map_of(layer, pattern, point, weighs=weighs).T @ signal
    return signal.reshape(x.shape)


def map_of(layer: nn.Module, pattern: Tensor, point: Tensor, *, weighs: bool) -> Tensor:
    """The matrix of a layer with other weights."""
    kept = layer.weight.detach()
    other = pattern.reshape(kept.shape)

    def run(x: Tensor) -> Tensor:
        return torch.func.functional_call(
            layer, {"weight": other * kept if weighs else other}, (x,)
        )

    with torch.no_grad():
        return matrix_of(run, point.shape[1:]).weight


NETWORKS: dict[str, tuple[list[nn.Module], tuple[int, ...]]] = {
    "dense": ([nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)], (4,)),
    "conv1d": (
        [nn.Conv1d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3)],
        (2, 9),
    ),
    "conv2d": (
        [
            nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(4, 6, 2, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3),
        ],
        (2, 6, 6),
    ),
    "conv3d": (
        [nn.Conv3d(1, 3, 2, dilation=2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)], (1, 4, 4, 4)
    ),
    "transposed": (
        [
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 2, 3, stride=2, groups=2),
            nn.ReLU(), nn.Flatten(), nn.Linear(162, 3),
        ],
        (1, 6, 6),
    ),
}  # fmt: skip


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_walk_is_that_of_matrices(network, name, biased):
    layers, shape = NETWORKS[network]
    model, x = seeded(nn.Sequential(*layers), bias=biased), normal(20, *shape, seed=5)
    patterns = pl.fit_patterns(model, [x])
    found = pl.explain(model, x[:3], name, patterns=patterns, target=1)
    for row in range(3):
        expected = textbook(layers, patterns, x[row : row + 1], 1, weighs=METHODS[name])
        assert_close(found.values[row : row + 1], expected, rtol=1e-9, atol=1e-9)
    assert found.values.abs().sum() > 0
    assert found.notes == ()


@pytest.mark.parametrize("name", METHODS)
def test_tokens_are_samples_of_a_dense_layer(name):
    """(batch, token, feature) through a layer is each token by itself."""
    layer, x = seeded(nn.Linear(3, 4)), normal(5, 6, 3)
    patterns = pl.fit_patterns(layer, [x])
    assert_close(
        patterns.patterns[0].linear,
        pl.fit_patterns(layer, [x.flatten(0, 1)]).patterns[0].linear,
        rtol=1e-9,
        atol=1e-9,
    )
    model = Lambda(lambda layer, x: layer(x)[:, 2], layer=layer)
    found = pl.explain(model, x, name, patterns=patterns, target=0).values
    alone = pl.explain(layer, x[:, 2], name, patterns=patterns, target=0).values
    assert_close(found[:, 2], alone, rtol=1e-9, atol=1e-9)
    assert not found[:, [0, 1, 3, 4, 5]].any()


# -- what they are for


def planted(samples: int) -> tuple[Tensor, Tensor, Tensor, nn.Module]:
    """The example of the paper: a signal in a direction of its own, and a distractor across it.

    The numbers are made uncorrelated exactly, so that the patterns are what they should be.
    """
    numbers = normal(samples, 2, seed=4)
    numbers = torch.linalg.qr(numbers - numbers.mean(0)).Q * samples**0.5
    a, b = torch.tensor([1.0, 0.0]).double(), torch.tensor([1.0, 1.0]).double()
    x = numbers[:, :1] * a + numbers[:, 1:] * b
    _, model = distractors(1)
    return x, numbers[:, :1], a, model


def test_the_planted_signal_is_found_and_the_gradient_is_something_else():
    x, signal, a, model = planted(200)
    found = fitted(model, x, "patternnet")
    assert_close(found.values, signal * a, rtol=1e-9, atol=1e-9)
    gradient = pl.explain(model, x, "saliency", target=0).values
    assert_close(gradient, torch.tensor([[1.0, -1.0]]).double().expand_as(x))
    cosine = F.cosine_similarity(gradient[0], a, dim=0)
    assert cosine == pytest.approx(0.5**0.5)
    shares = fitted(model, x, "pattern_attribution")
    assert_close(shares.values, signal * torch.tensor([1.0, 0.0]).double(), rtol=1e-9, atol=1e-9)
    times = pl.explain(model, x, "gradient_x_input", target=0).values
    assert times[:, 1].abs().mean() > 0.5  # the distractor


def test_any_direction_of_the_distractor_is_left_out():
    """The weights turn with the distractor, the pattern stays."""
    for angle in torch.linspace(0.2, 3.0, 8, dtype=torch.float64):
        x, signal, a, _ = planted(100)
        across = torch.stack([angle.cos(), angle.sin()])
        noise = x[:, 1:]  # which is the distractor
        x = signal * a + noise * across
        w = torch.tensor([angle.sin(), -angle.cos()])  # across the distractor
        model = nn.Linear(2, 1, bias=False).double()
        model.weight.data.copy_((w / (w @ a)).unsqueeze(0))
        assert_close(fitted(model, x, "patternnet").values, signal * a, rtol=1e-9, atol=1e-9)


def test_a_signal_behind_a_rectifier_is_found():
    """A neuron that fires for s > 0, and another for s < 0: the signal is in both regimes."""
    x, signal, a, first = planted(400)
    layer = nn.Linear(2, 2, bias=False).double()
    layer.weight.data.copy_(torch.cat([first.weight, -first.weight]))
    last = nn.Linear(2, 1, bias=False).double()
    last.weight.data.copy_(torch.tensor([[1.0, 1.0]]))
    model = nn.Sequential(layer, nn.ReLU(), last)  # |s|
    found = fitted(model, x, "patternnet").values
    cosine = F.cosine_similarity(found, signal.sign() * a, dim=1)
    gradient = pl.explain(model, x, "saliency", target=0).values
    assert cosine.mean() > F.cosine_similarity(gradient, signal.sign() * a, dim=1).mean() + 0.1


def test_dense_layers_hand_on_all_relevance():
    """As w'a = 1, and nothing is rectified."""
    model = seeded(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)))
    found = fitted(model, normal(50, 4), "pattern_attribution")
    assert_close(found.values.sum(1), found.score, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_off_gets_nothing(name):
    """All of the relevance that comes to a rectifier that is off is lost, and so is the signal."""
    model = seeded(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)))
    x = normal(50, 4)
    found = fitted(model, x, name, at="0").values
    off = model[0](x) <= 0
    assert not found[off].any()
    assert found[~off].all()


# -- architectures


def residual(block: nn.Module, head: nn.Module, x: Tensor) -> Tensor:
    return head((x + block(x)).relu().mean((2, 3)))


def skips() -> nn.Module:
    return Lambda(
        residual, block=seeded(nn.Conv2d(3, 3, 3, padding=1)), head=seeded(nn.Linear(3, 2), 1)
    )


def test_a_sum_gives_each_its_share_of_the_variance():
    """Shares of a sum that goes into a rectifier, worked out here, and one where nothing varies."""
    x, block = normal(30, 3, 5, 5, seed=2), skips().layers["block"]
    other = block(x).detach()
    y = x + other
    found = pl.fit_patterns(skips(), x.split(10)).sums[0]
    for channel in range(3):
        first, whole = x[:, channel].flatten(), y[:, channel].flatten()
        linear = (first * whole).mean() - first.mean() * whole.mean()
        assert_close(found.linear[channel], linear / whole.var(correction=0))
        on = whole > 0
        top = (first * whole)[on].mean() - first[on].mean() * whole.mean()
        bottom = (whole * whole)[on].mean() - whole[on].mean() * whole.mean()
        assert_close(found.positive[channel], top / bottom)


def test_relevance_is_shared_at_a_sum_and_not_doubled():
    x = normal(40, 4, seed=2)
    model = Lambda(lambda block, x: x + block(x), block=seeded(nn.Linear(4, 4)))
    found = fitted(model, x, "pattern_attribution")
    assert_close(found.values.sum(1), found.score, rtol=1e-9, atol=1e-9)
    difference = Lambda(lambda block, x: 2 * x - 3 * block(x), block=seeded(nn.Linear(4, 4)))
    found = fitted(difference, x, "pattern_attribution")
    assert_close(found.values.sum(1), found.score, rtol=1e-9, atol=1e-9)


def as_tokens(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)


def behind_patches(cut, block, head, x):
    tokens = as_tokens(cut(x))
    return tokens, block(tokens).relu()


def of_two_convolutions(cut, block, head, x):
    return as_tokens(cut(x)), as_tokens(cut(x.flip(2)).relu())


def beside_the_input(cut, block, head, x):
    tokens = x.reshape(len(x), -1, 8)
    return tokens, block(tokens).relu()


def residual_tokens(parts: Callable, *, swapped: bool) -> nn.Module:
    """Two signals of shape (batch, token, feature), eight features each, are added."""

    def run(cut: nn.Module, block: nn.Module, head: nn.Module, x: Tensor) -> Tensor:
        one, other = parts(cut, block, head, x)
        return head((other + one if swapped else one + other).mean(1))

    return Lambda(run, cut=seeded(nn.Conv2d(3, 8, 4, 4)), block=seeded(nn.Linear(8, 8), 1),
                  head=seeded(nn.Linear(8, 2), 2))  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("parts", [behind_patches, of_two_convolutions, beside_the_input])
def test_the_order_of_two_signals_does_not_matter(parts, name):
    """Each feature has its share, wherever its axis is, and of any number of tokens."""
    models = [residual_tokens(parts, swapped=swapped) for swapped in (False, True)]
    x = normal(40, 3, 8, 8, seed=2) * torch.tensor([3.0, 1.0, 0.3]).reshape(3, 1, 1)
    fits = [pl.fit_patterns(model, [x]) for model in models]
    shares = [patterns.sums[0].linear for patterns in fits]
    assert [len(share) for share in shares] == [8, 8]
    assert_close(shares[0], 1 - shares[1], rtol=1e-9, atol=1e-9)
    larger = normal(2, 3, 12, 12, seed=3)
    one, other = (
        pl.explain(model, larger, name, patterns=patterns, target=0)
        for model, patterns in zip(models, fits, strict=True)
    )
    assert_close(one.values, other.values, rtol=1e-9, atol=1e-9)
    assert one.notes == other.notes == ()


@pytest.mark.parametrize(
    "subtract",
    [
        lambda a, b: 2 * a - 3 * b,
        lambda a, b: torch.sub(2 * a, b, alpha=3),
        lambda a, b: torch.rsub(3 * b, 2 * a),
        lambda a, b: torch.add(-3 * b, a, alpha=2),
    ],
)
def test_the_signal_of_a_difference_is_that_of_regression(subtract):
    """y = 2 a - 3 b: what y says of a is cov[a, y] / var[y], and of b, which is the less for it."""
    a, b = normal(60, 1, seed=2), normal(60, 1, seed=3)
    found = fitted(Lambda(subtract), (a, b), "patternnet")
    y = 2 * a - 3 * b
    for one, values in zip((a, b), found.values, strict=True):
        cov = (one * y).mean() - one.mean() * y.mean()
        assert_close(values, cov / y.var(correction=0) * y, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_other_sums_than_those_seen_get_half_each_and_a_note(name):
    model, x = skips(), normal(9, 3, 5, 5)
    patterns = pl.fit_patterns(model.layers["block"], [x])
    patterns = pl.Patterns(
        patterns=pl.fit_patterns(model, [x]).patterns, sums=(), samples=patterns.samples
    )
    found = pl.explain(model, x, name, patterns=patterns, target=0)
    assert found.notes == (
        "Sums of two signals that did not occur where the patterns were fitted give half to each.",
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_constant_factor_is_part_of_the_weights(name):
    """Standardisation in the model: the signal is in the units of the input."""
    layers, x = seeded(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))), normal(30, 3)
    scale = torch.tensor([2.0, 0.5, 4.0]).double()
    model = Lambda(lambda net, x: net(x / scale), net=layers)
    twin = seeded(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    twin[0].weight.data.div_(scale)
    assert_close(fitted(model, x, name).values, fitted(twin, x, name).values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_a_norm_behind_or_folded_is_the_same(name):
    conv, norm = seeded(nn.Conv2d(2, 4, 3)), seeded(nn.BatchNorm2d(4), 1)
    norm.running_mean, norm.running_var = normal(4, seed=5), normal(4, seed=6).square() + 0.5
    rest = [nn.ReLU(), nn.Flatten(), seeded(nn.Linear(64, 2))]
    x = normal(30, 2, 6, 6)
    model = nn.Sequential(conv, norm, *rest).eval()
    folded = nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval())
    assert_close(
        fitted(model, x, name).values,
        fitted(nn.Sequential(folded, *rest), x, name).values,
        rtol=1e-9,
        atol=1e-9,
    )
    assert_close(
        fitted(model, x, name, at="0").values,
        fitted(model, x, name, at="1").values * (1 if METHODS[name] else 1 / slope(norm)),
        rtol=1e-9,
        atol=1e-9,
    )


def stack_of(first: nn.Linear, last: nn.Linear, x: Tensor) -> Tensor:
    return last(first(x).relu())


def by_hand(first: nn.Linear, last: nn.Linear, x: Tensor) -> Tensor:
    """The first layer, taken apart into other weights and what a norm would make of them."""
    mean, scale = normal(7, seed=8), normal(7, seed=9)  # of both signs
    z = x @ (first.weight / scale[:, None]).T
    return last(((z - mean) * scale + (mean * scale + first.bias)).relu())


# One and the same network.
WRITINGS: dict[str, Callable] = {
    "minus": lambda f, h, x: h((x @ f.weight.T - (-f.bias)).relu()),
    "from the right": lambda f, h, x: h((f.bias - x @ (-f.weight).T).relu()),
    "times a number": lambda f, h, x: h(
        torch.add(f.bias, x @ (f.weight / 3).T, alpha=3).relu()
    ),
    "einsum": lambda f, h, x: h((torch.einsum("bi,oi->bo", x, f.weight) + f.bias).relu()),
    "convolution": lambda f, h, x: h(
        F.conv1d(x[..., None], f.weight[..., None], f.bias)[..., 0].relu()
    ),
    "one token": lambda f, h, x: h(f(x[:, None])[:, 0].relu()),
    "there and back": lambda f, h, x: h((f(x) * 4 / 4).relu()),
    "twice turned": lambda f, h, x: h(f(x).neg().neg().relu()),
    "scaled behind": lambda f, h, x: h((f(x) * 2).relu() / 2),
    "parts": lambda f, h, x: h(torch.cat([part.relu() for part in f(x).split([3, 4], 1)], 1)),
    "slices": lambda f, h, x: h(torch.cat([f(x)[:, :3], f(x)[:, 3:]], 1).relu()),
    "rows": lambda f, h, x: h(torch.stack([row.relu() for row in f(x)])),
    "index": lambda f, h, x: h(f(x)[:, torch.arange(7)].relu()),
    "turned": lambda f, h, x: h((f.weight @ x.T + f.bias[:, None]).relu().T),
    "norm": by_hand,
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_the_writing_of_a_layer_does_not_matter(name):
    check_writings(name, WRITINGS)


def check_writings(name: str, writings: Iterable[str]) -> None:
    """Raise unless the values are those of a plain layer, however it is written."""
    layers = {"f": seeded(nn.Linear(5, 7)), "h": seeded(nn.Linear(7, 2), 1)}
    x = normal(60, 5, seed=2) @ normal(5, 5, seed=3)
    plain = Lambda(stack_of, **layers)
    expected = fitted(plain, x, name)
    for writing in writings:
        found = fitted(Lambda(WRITINGS[writing], **layers), x, name)
        assert_close(found.values, expected.values, rtol=1e-9, atol=1e-9, msg=writing)
        assert found.notes == (), writing
    linear = fitted(plain, x, name, estimator="linear").values
    assert not torch.allclose(linear, expected.values, rtol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_only_the_outputs_that_a_rectifier_reads_have_the_positive_pattern(name):
    """Two halves of one layer, one of which gates the other, are two layers."""
    whole, head = seeded(nn.Linear(4, 6)), seeded(nn.Linear(3, 2), 1)
    halves = [nn.Linear(4, 3).double() for _ in range(2)]
    for half, weight, bias in zip(halves, whole.weight.split(3), whole.bias.split(3), strict=True):
        half.weight.data, half.bias.data = weight.detach(), bias.detach()

    def gated(whole: nn.Module, head: nn.Module, x: Tensor) -> Tensor:
        a, b = whole(x).chunk(2, 1)
        return head(a.relu() * b)

    one = Lambda(gated, whole=whole, head=head)
    two = Lambda(
        lambda a, b, head, x: head(a(x).relu() * b(x)), a=halves[0], b=halves[1], head=head
    )
    x = normal(60, 4, seed=2)
    assert_close(fitted(one, x, name).values, fitted(two, x, name).values, rtol=1e-9, atol=1e-9)


def slope(norm: nn.BatchNorm2d) -> Tensor:
    return (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().reshape(-1, 1, 1)


def test_what_patterns_do_not_reach_is_said():
    layer = seeded(nn.TransformerEncoderLayer(6, 2, 8, 0.0, "gelu", batch_first=True))
    model = nn.Sequential(layer, Lambda(lambda x: x.mean(1)), seeded(nn.Linear(6, 3), 1)).eval()
    found = fitted(model, normal(4, 5, 6), "patternnet")
    (note,) = found.notes
    assert "`native_layer_norm` (2)" in note
    assert "`gelu`" in note
    assert "attention" in note
    gated = Lambda(lambda a, b, x: a(x) * b(x).sigmoid(), a=seeded(nn.Linear(3, 2)),
                   b=seeded(nn.Linear(3, 2), 1))  # fmt: skip
    (note,) = fitted(gated, normal(9, 3), "pattern_attribution").notes
    assert note.endswith("the gradient passes `sigmoid`, `mul`.")


def test_recurrence_pools_its_steps_and_takes_other_lengths():
    lstm, head = seeded(nn.LSTM(3, 4, batch_first=True)), seeded(nn.Linear(4, 2), 1)
    model = Lambda(lambda lstm, head, x: head(lstm(x)[0][:, -1]), lstm=lstm, head=head)
    patterns = pl.fit_patterns(model, [normal(9, 5, 3), normal(9, 7, 3)])
    assert len(patterns) == 3
    for length in (5, 9):
        x = normal(2, length, 3, seed=length)
        found = pl.explain(model, x, "patternnet", patterns=patterns, target=0)
        assert found.values.isfinite().all()
        assert found.values.abs().sum() > 0


def test_token_ids_are_explained_at_their_embeddings():
    model = nn.Sequential(
        nn.Embedding(9, 4), nn.Linear(4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(15, 2)
    )
    model, ids = (
        seeded(model),
        torch.randint(9, (20, 3), generator=torch.Generator().manual_seed(0)),
    )
    for name in METHODS:
        found = fitted(model, ids, name)
        assert found.values.shape == ids.shape
        assert found.values.abs().sum() > 0


def deep(layers: int) -> nn.Module:
    """Each of 64 neurons answers with the mean of all, which are the same."""
    net = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(layers)))
    for layer in net:
        layer.weight.data.fill_(1 / 64)
    return net


def test_a_signal_that_outgrows_the_precision_is_scaled():
    x = normal(9, 1).float().expand(9, 64).contiguous()
    small = fitted(deep(3), x, "patternnet")
    assert_close(small.values, 64.0**2 * x, rtol=1e-4, atol=1e-4)
    assert small.notes == ()
    large = fitted(deep(26), x, "patternnet")  # 64^25 = 2^150
    assert_close(large.values, 2.0**54 * x, rtol=1e-3, atol=1e-3)
    assert large.notes == ("The signal grows out of range; values are given times 2^-96.",)
    with pytest.raises(pl.errors.ModelError, match="must stay in the range of the model's precis"):
        fitted(deep(50), x, "patternnet")
    assert fitted(deep(50).double(), x.double(), "patternnet").values.isfinite().all()


# -- the options, and what surrounds them


@pytest.mark.parametrize("name", METHODS)
def test_estimators_are_chosen_by_what_follows(name):
    model, x = images(), photos()
    patterns = pl.fit_patterns(model, [x])
    auto, linear, positive = (
        pl.explain(model, x, name, patterns=patterns, target=0, estimator=e).values
        for e in ("auto", "linear", "positive")
    )
    assert not torch.allclose(auto, linear)
    assert not torch.allclose(auto, positive)  # the last layer is not rectified
    options = {"patterns": patterns, "target": 0, "at": "7"}  # behind it there is the last only
    last = pl.explain(model, x, name, **options).values
    assert torch.equal(last, pl.explain(model, x, name, estimator="linear", **options).values)
    other = pl.explain(model, x, name, estimator="positive", **options).values
    assert not torch.allclose(last, other)


@pytest.mark.parametrize("name", METHODS)
def test_values_at_a_layer_are_those_on_the_way(name):
    """From a layer on, a net of its own with the same patterns."""
    model, x = images(), photos()
    patterns = pl.fit_patterns(model, [x])
    found = pl.explain(model, x, name, patterns=patterns, target=0, at="2")
    inside = model[:3](x).detach()
    assert_close(
        found.values, pl.explain(model[3:], inside, name, patterns=patterns, target=0).values
    )
    assert found.at == "2"


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_patterns_hold_for_the_model_in_another_precision(name, dtype):
    patterns = pl.fit_patterns(images(), [photos()])
    double = pl.explain(images(), photos()[:4], name, patterns=patterns, target=0).values
    found = pl.explain(
        images().to(dtype), photos()[:4].to(dtype), name, patterns=patterns, target=0
    )
    assert found.values.dtype == dtype
    scale = float(double.abs().max())
    loose = 1e-4 if dtype == torch.float32 else 0.1
    assert float((found.values.double() - double).abs().mean()) / scale < loose


@pytest.mark.parametrize("name", METHODS)
def test_without_patterns(name):
    with pytest.raises(
        InputError,
        match=rf"{name} must be given the patterns of the model; got patterns=None\. Learn them "
        r"from data first: patterns=pellucid\.fit_patterns\(model, batches\)\.",
    ):
        pl.explain(images(), photos(), name)


@pytest.mark.parametrize("name", METHODS)
def test_patterns_of_another_model(name):
    patterns = pl.fit_patterns(images(), [photos()])
    other = seeded(images(), seed=7)
    with pytest.raises(
        InputError,
        match=r"`patterns` must be fitted on the model that is explained; got `addmm` in `8`, with "
        r"other weights of that shape than any of the 4 .* Fit them to this model: pellucid\.fit_",
    ):
        pl.explain(other, photos(), name, patterns=patterns)
    trained = images()
    trained[0].weight.data[0, 0, 0, 0] += 1e-3
    with pytest.raises(InputError, match="got `convolution` in `0`, with other weights"):
        pl.explain(trained, photos(), name, patterns=patterns)
    wider = seeded(nn.Linear(5, 2))
    with pytest.raises(InputError, match="with weights of another shape"):
        pl.explain(wider, normal(3, 5), name, patterns=patterns)
    shifted = images()
    shifted[0].bias.data += 0.01
    with pytest.raises(InputError, match="got `convolution` in `0`, with other weights"):
        pl.explain(shifted, photos(), name, patterns=patterns)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_weights_in_half_precision(dtype):
    layer, x = nn.Linear(32, 16), normal(50, 32).float()
    patterns = pl.fit_patterns(layer.to(dtype), [x.to(dtype)])
    other = nn.Linear(32, 16).to(dtype)
    other.load_state_dict(layer.state_dict())
    options = {"patterns": patterns, "target": 0}
    assert pl.explain(other, x[:1].to(dtype), "patternnet", **options).values.isfinite().all()
    for precise in (dtype, torch.float32):  # also where one of the two is exact
        changed = nn.Linear(32, 16).to(precise)
        changed.load_state_dict(layer.state_dict())
        changed.weight.data *= 1 + 0.2 * normal(16, 32, seed=4).to(precise)
        with pytest.raises(InputError, match="with other weights of that shape"):
            pl.explain(changed, x[:1].to(precise), "patternnet", **options)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("given", ["patterns.safetensors", 3, [1], pl.Saliency()])
def test_what_are_no_patterns(name, given):
    with pytest.raises(
        InputError, match=f"`patterns` of {name} must be what fit_patterns returns; got"
    ):
        pl.methods()[name](patterns=given)


@pytest.mark.parametrize("name", METHODS)
def test_an_estimator_that_there_is_not(name):
    with pytest.raises(UnknownNameError, match="`estimator` of .* Did you mean 'linear'"):
        pl.methods()[name](estimator="lineer")


@pytest.mark.parametrize("name", METHODS)
def test_methods_with_patterns_are_equal_if_those_are(name):
    one, other = (pl.fit_patterns(images(), photos().split(8)) for _ in range(2))
    made = pl.methods()[name]
    assert made(patterns=one) == made(patterns=other)
    assert hash(made(patterns=one)) == hash(made(patterns=other))
    assert made(patterns=one) != made(patterns=pl.fit_patterns(images(), [photos(5)]))
    assert "Patterns(4 operations with weights, 40 samples)" in repr(made(patterns=one))
