"""Patterns against slow statistics: every input of every weight, at every position, one by one."""

import itertools
from collections import defaultdict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import FileError, InputError
from tests.counting import Counting
from tests.zoo.network import Lambda, normal, seeded

# -- the textbook


def textbook(run, weight: Tensor, bias: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Linear, positive and negative pattern of y = run(x, weight) + bias, weight by weight.

    What a weight reads at a position is what comes out there if it is one and all others zero. The
    weights that can be read at the same positions of an output channel, axis 1, are a neuron.
    """
    y = placed(run(x, weight))
    y = y if bias is None else y + bias.reshape(-1, *[1] * (y.ndim - 2))
    reads, neurons = {}, defaultdict(list)
    for place in itertools.product(*map(range, weight.shape)):
        unit = torch.zeros_like(weight)
        unit[place] = 1
        reads[place], open_to = placed(run(x, unit)), placed(run(torch.ones_like(x), unit)) != 0
        channel = int(open_to.any(0).flatten(1).any(1).nonzero()[0])
        neurons[channel, parity(open_to[0, channel])].append(place)
    linear, positive, negative = (torch.zeros_like(weight) for _ in range(3))
    for (channel, (step, start)), places in neurons.items():
        index = (slice(None), channel, *(slice(s, None, step) for s in start))
        answer = y[index].flatten()
        read = torch.stack([reads[place][index].flatten() for place in places])  # (weight, pos.)
        w = torch.stack([weight[place] for place in places])
        a = linear_pattern(read, answer, w)
        for out, found in (
            (linear, a),
            (positive, regime(read, answer, w, answer > 0, a)),
            (negative, regime(read, answer, w, answer <= 0, a)),
        ):
            for place, number in zip(places, found, strict=True):
                out[place] = number
    return linear, positive, negative


def placed(out: Tensor) -> Tensor:
    """With at least one axis of positions."""
    return out.unsqueeze(-1) if out.ndim == 2 else out


STEP = 1  # of the transposed convolution that is under test


def parity(open_to: Tensor) -> tuple[int, tuple[int, ...]]:
    """The step between the positions of a neuron, and the first of them along each axis."""
    first = open_to.nonzero()
    return STEP, tuple(int(first[:, axis].min()) % STEP for axis in range(open_to.ndim))


def linear_pattern(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    cov = (x * y).mean(1) - x.mean(1) * y.mean()
    return cov / (w @ cov)


def regime(x: Tensor, y: Tensor, w: Tensor, where: Tensor, otherwise: Tensor) -> Tensor:
    """E+[xy] - E+[x] E[y], so that w'a = 1."""
    if not where.any():
        return otherwise
    cov = (x * y)[:, where].mean(1) - x[:, where].mean(1) * y.mean()
    sound = w @ cov > y[where].var(correction=0) / 2
    return cov / (w @ cov) if sound else otherwise


class Apply(nn.Module):
    """One operation with weights."""

    def __init__(self, run, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.run, self.weight, self.bias = run, nn.Parameter(weight), bias

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x, self.weight, self.bias).flatten(1)


def dense(x, weight, bias=None):
    return F.linear(x, weight, bias)


def tokens(x, weight, bias=None):
    """Of shape (batch, token, feature); what comes out has the features on axis 1."""
    return F.linear(x, weight, bias).movedim(-1, 1)


def from_left(x, weight, bias=None):
    """W x, for x of shape (in, batch)."""
    out = (weight @ x.T).T
    return out if bias is None else out + bias


def heads(x, weight, bias=None):
    """Each head has weights of its own: (batch, head, in) with (head, out, in)."""
    out = torch.einsum("bhi,hoi->bho", x, weight).flatten(1)
    return out if bias is None else out + bias


def convolved(function, **places):
    return lambda x, weight, bias=None: function(x, weight, bias, **places)


# name -> how it runs, the shapes of its weights and of its input, and its stride if transposed
CASES = {
    "dense": (dense, (3, 4), (40, 4), 1),
    "tokens": (tokens, (3, 4), (9, 5, 4), 1),
    "from_left": (from_left, (3, 4), (40, 4), 1),
    "heads": (heads, (2, 3, 4), (40, 2, 4), 1),
    "conv1d": (convolved(F.conv1d, padding=1), (3, 2, 3), (6, 2, 9), 1),
    "conv1d_strided": (convolved(F.conv1d, stride=3, padding=2), (3, 2, 4), (6, 2, 14), 1),
    "conv2d": (convolved(F.conv2d), (3, 2, 3, 2), (5, 2, 6, 5), 1),
    "conv2d_dilated": (convolved(F.conv2d, dilation=2, padding=1), (2, 2, 2, 3), (5, 2, 7, 7), 1),
    "conv2d_grouped": (convolved(F.conv2d, groups=2, stride=2), (4, 2, 2, 2), (6, 4, 7, 6), 1),
    "conv2d_depthwise": (convolved(F.conv2d, groups=3, padding=1), (6, 1, 3, 3), (4, 3, 5, 5), 1),
    "conv3d": (convolved(F.conv3d, padding=(1, 0, 1)), (2, 2, 2, 2, 1), (4, 2, 3, 4, 3), 1),
    "transposed1d": (convolved(F.conv_transpose1d, stride=2), (3, 2, 3), (8, 3, 6), 2),
    "transposed1d_dilated": (
        convolved(F.conv_transpose1d, stride=2, dilation=3, padding=2, output_padding=1),
        (3, 2, 3),
        (8, 3, 9),
        2,
    ),
    "transposed2d": (
        convolved(F.conv_transpose2d, stride=2, padding=1),
        (2, 3, 4, 3),
        (5, 2, 5, 6),
        2,
    ),
    "transposed2d_grouped": (
        convolved(F.conv_transpose2d, stride=3, groups=2, padding=1, output_padding=1),
        (4, 2, 4, 3),
        (6, 4, 5, 4),
        3,
    ),
    "transposed3d": (convolved(F.conv_transpose3d), (2, 2, 2, 1, 2), (4, 2, 3, 4, 3), 1),
}  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_patterns_are_those_of_the_textbook(name, biased, seed, monkeypatch):
    run, shape, inputs, step = CASES[name]
    monkeypatch.setitem(globals(), "STEP", step)
    weight, x = normal(*shape, seed=seed), normal(*inputs, seed=seed + 5, shift=0.3)
    outputs = run(x, weight).shape[1]
    bias = 0.5 * normal(outputs, seed=seed + 9) if biased else None
    expected = textbook(run, weight, bias, x)
    patterns = pl.fit_patterns(Apply(run, weight, bias), x.split(3), quality=False)
    (found,) = patterns.patterns
    # A bias that is added to several heads at once is not seen by them.
    apart = biased and name == "heads"
    for pattern, number in ((found.linear, 0), (found.positive, 1)):
        if not (apart and number):
            assert_close(pattern.reshape(shape), expected[number], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("function", [nn.BatchNorm2d, None])
def test_a_norm_is_part_of_the_weights(function):
    conv, norm = seeded(nn.Conv2d(2, 3, 3)), seeded(nn.BatchNorm2d(3), 1).eval()
    norm.running_mean, norm.running_var = normal(3, seed=2), normal(3, seed=3).square() + 0.5
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    x = normal(6, 2, 6, 6, seed=4)
    weight = (conv.weight * scale[:, None, None, None]).detach()
    bias = ((conv.bias - norm.running_mean) * scale + norm.bias).detach()
    expected = textbook(convolved(F.conv2d), weight, bias, x)
    (found,) = pl.fit_patterns(nn.Sequential(conv, norm), [x], quality=False).patterns
    assert_close(found.linear, expected[0], rtol=1e-9, atol=1e-9)
    assert_close(found.positive, expected[1], rtol=1e-9, atol=1e-9)


def weights_times(patterns: pl.Patterns, model: nn.Module, name: str) -> list[Tensor]:
    """w'a of every neuron of a plain network."""
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    pairs = zip(layers, patterns.patterns, strict=True)
    found = []
    for layer, pattern in pairs:
        a = getattr(pattern, name).reshape(layer.weight.shape)
        found.append((layer.weight * a).flatten(1).sum(1))
    return found


@pytest.mark.parametrize("name", ["linear", "positive"])
def test_weight_times_pattern_is_one(name):
    model = images()
    for each in weights_times(pl.fit_patterns(model, photos().split(8)), model, name):
        assert_close(each, torch.ones_like(each), rtol=1e-9, atol=1e-9)


def images() -> nn.Module:
    return seeded(
        nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 2), nn.ReLU(),
            nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3),
        )
    )  # fmt: skip


def photos(seed: int = 3) -> Tensor:
    return normal(40, 2, 6, 6, seed=seed)


# -- one pass, in any batches


def test_every_batch_is_run_once():
    model = Counting(images())
    pl.fit_patterns(model, photos().split(10))
    assert model.calls == [10, 10, 10, 10]


def test_a_generator_is_read_once_and_no_batch_is_held():
    model, taken = Counting(images()), []

    def stream():
        for batch in photos().split(8):
            taken.append(len(batch))
            yield batch.clone()

    found = pl.fit_patterns(model, stream())
    assert taken == [8] * 5
    assert found.samples == 40
    few = Counting(images())
    pl.fit_patterns(few, (batch.clone() for batch in photos()[:16].split(8)))
    assert model.most_alive == few.most_alive


@pytest.mark.parametrize("size", [1, 7, 20])
def test_the_batches_do_not_matter(size):
    whole = pl.fit_patterns(images(), [photos()])
    cut = pl.fit_patterns(images(), photos().split(size))
    for one, other in zip(whole.patterns, cut.patterns, strict=True):
        assert_close(one.linear, other.linear, rtol=1e-9, atol=1e-9)
        assert_close(one.positive, other.positive, rtol=1e-9, atol=1e-9)


def test_single_precision_adds_up_in_double():
    x = photos() + 100  # far from zero, where squares of means would swallow covariances
    double = pl.fit_patterns(images(), x.split(8))
    single = pl.fit_patterns(images().float(), x.float().split(8))
    for one, other in zip(double.patterns, single.patterns, strict=True):
        assert other.linear.dtype == torch.float32
        scale = float(one.linear.abs().max())
        assert_close(other.linear.double() / scale, one.linear / scale, rtol=0, atol=2e-3)


def test_batches_of_a_data_loader():
    x = photos()
    data = torch.utils.data.TensorDataset(x, torch.zeros(len(x)))
    plain = pl.fit_patterns(images(), x.split(8))
    for batches in (
        torch.utils.data.DataLoader(data, batch_size=8),
        [(part, torch.zeros(len(part), dtype=torch.long)) for part in x.split(8)],
    ):
        assert pl.fit_patterns(images(), batches) == plain
    chosen = [{"picture": part, "names": ["a"]} for part in x.split(8)]
    assert pl.fit_patterns(images(), chosen, select=lambda batch: batch["picture"]) == plain


def test_two_inputs_are_no_labels():
    model = Lambda(lambda a, b, x, y: a(x) + b(y), a=seeded(nn.Linear(3, 2)),
                   b=seeded(nn.Linear(2, 2), 1))  # fmt: skip
    found = pl.fit_patterns(model, [(normal(9, 3), normal(9, 2, seed=1))])
    assert len(found) == 2
    assert len(found.sums) == 1
    by_name = pl.fit_patterns(model, [{"x": normal(9, 3), "y": normal(9, 2, seed=1)}])
    assert by_name == found


def test_a_layer_that_runs_often_has_one_pattern():
    """Of all that it read, wherever that was."""
    layer = seeded(nn.Linear(4, 4))
    x = normal(50, 4, seed=2)
    found = pl.fit_patterns(lambda x: layer(layer(x).relu()), [x], quality=False)
    (pattern,) = found.patterns
    both = torch.cat([x, layer(x).relu().detach()])
    expected = textbook(dense, layer.weight.detach(), layer.bias.detach(), both)
    assert_close(pattern.linear[0], expected[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("dtype", "change"),
    [(torch.bfloat16, 0.02), (torch.float16, 0.005), (torch.float32, 1e-4), (torch.float64, 1e-12)],
)
def test_layers_that_are_alike_have_a_pattern_each(dtype, change):
    """Two that were trained from the same start; in half precision they may be as near."""
    one, other = (seeded(nn.Linear(32, 32)) for _ in range(2))
    other.weight.data *= 1 + change * normal(32, 32, seed=5).sign()
    x = normal(50, 32, seed=2).to(dtype)
    model = nn.Sequential(one, nn.ReLU(), other).to(dtype)
    assert len(pl.fit_patterns(model, [x], quality=False)) == 2
    again = nn.Sequential(one, nn.ReLU(), one).to(dtype)
    assert len(pl.fit_patterns(again, x.split(25), quality=False)) == 1


def test_of_weights_that_are_alike_the_nearest_are_taken():
    """In half precision they are the weights of both layers, up to its roundings."""
    one, other = (seeded(nn.Linear(32, 32)) for _ in range(2))
    other.weight.data *= 1 + 0.01 * normal(32, 32, seed=5).sign()
    patterns = pl.fit_patterns(nn.Sequential(one, nn.ReLU(), other), [normal(50, 32, seed=2)])
    x = normal(2, 32, seed=3).bfloat16()
    alone = pl.explain(other, x.double(), "patternnet", patterns=patterns, target=0).values
    first = pl.explain(one, x.double(), "patternnet", patterns=patterns, target=0).values
    found = pl.explain(other.bfloat16(), x, "patternnet", patterns=patterns, target=0).values
    assert (found - alone).norm() < 0.1 * (first - alone).norm()


def test_a_neuron_that_never_varies_has_no_pattern_and_one_that_never_fires_the_linear_one():
    layer = seeded(nn.Linear(3, 3, bias=False))
    layer.weight.data[0] = 0
    layer.weight.data[1] = torch.tensor([-1.0, -1, -1])
    found = pl.fit_patterns(layer, [normal(50, 3).abs()], quality=False).patterns[0]
    assert not found.linear[0, 0].any()
    assert not found.positive[0, 0].any()
    assert torch.equal(found.positive[0, 1], found.linear[0, 1])
    assert found.linear[0, 1].any()
    assert found.linear.isfinite().all()


def test_the_model_is_left_as_it_was():
    model = images()
    before = {name: (p.clone(), p._version) for name, p in model.state_dict().items()}
    state = torch.get_rng_state()
    with pytest.raises(InputError, match="samples"):
        pl.fit_patterns(model, [photos()[:1]])
    pl.fit_patterns(model, photos().split(8))
    assert torch.equal(torch.get_rng_state(), state)
    for name, p in model.state_dict().items():
        assert torch.equal(p, before[name][0])
        assert p._version == before[name][1]
    assert not any(p.grad is not None for p in model.parameters())


# -- quality


def test_what_the_signal_leaves_says_nothing():
    """rho of the linear estimator is one on a linear net; less for weights, least for noise."""
    x, model = distractors(2000)
    table = pl.fit_patterns(model, x.split(500)).quality.set_index("estimator")
    assert table.rho["linear"] > 0.97
    assert table.rho["filter"] < 0.7
    assert table.rho["random"] < 0.7
    assert (table.neurons == 1).all()


def test_rho_is_that_of_least_squares():
    """Of the filter: with as many samples as this, shrinkage hardly counts; mean of several."""
    x, model = distractors(2**15)
    w = model.weight.detach()[0]
    y = x @ w
    d = x - torch.outer(y, w / (w @ w))
    best = d @ torch.linalg.lstsq(d - d.mean(0), y - y.mean()).solution
    expected = 1 - torch.corrcoef(torch.stack([best, y]))[0, 1]
    found = []
    for seed in range(12):
        table = pl.fit_patterns(model, [x], seed=seed).quality.set_index("estimator")
        found.append(table.rho["filter"])
    assert sum(found) / len(found) == pytest.approx(float(expected), abs=0.03)


def test_the_table_has_every_layer_and_can_be_left_out():
    patterns = pl.fit_patterns(images(), photos().split(8))
    table = patterns.quality
    assert list(table.estimator.unique()) == ["linear", "positive", "filter", "random"]
    assert list(table.layer.unique()) == ["0", "3", "6", "8"]
    assert table.rho.between(0, 1).all()
    assert table[table.layer == "8"].rectified.tolist() == [False] * 4
    assert table[table.layer == "3"].rectified.tolist() == [True] * 4
    assert pl.fit_patterns(images(), [photos()], quality=False).quality.empty
    assert pl.fit_patterns(images(), photos().split(8)) == patterns


def test_the_sample_of_positions_is_that_of_the_kernel():
    """Patches that are gathered one by one answer as the convolution does."""
    from pellucid.propagate.patterns.neurons import neurons_of
    from pellucid.propagate.patterns.places import Places
    from pellucid.propagate.patterns.quality import Sample, _pick

    for name in (name for name in CASES if "conv" in name or "transposed" in name):
        run, shape, inputs, _ = CASES[name]
        weight, x = normal(*shape), normal(*inputs, seed=2)
        tape = pl.record(Apply(run, weight, None), x)
        ((_, affine),) = Places.of(tape).weighted.items()
        neurons = neurons_of(affine)
        sample = Sample(generator=torch.Generator().manual_seed(0))
        sample.add(neurons)
        found = sample.x @ _pick(neurons.wiring)(weight).mT
        assert_close(found, sample.y)


def distractors(samples: int, seed: int = 0) -> tuple[Tensor, nn.Module]:
    """x = a y + b e + noise, and the linear model that finds y: its weights cancel b."""
    numbers = normal(samples, 4, seed=seed)
    a, b = torch.tensor([1.0, 0.0]).double(), torch.tensor([1.0, 1.0]).double()
    x = numbers[:, :1] * a + numbers[:, 1:2] * b
    model = nn.Linear(2, 1, bias=False).double()
    model.weight.data.copy_(torch.tensor([[1.0, -1.0]]))
    return x, model


# -- files


def test_patterns_come_back_from_a_file(tmp_path):
    patterns = pl.fit_patterns(images(), photos().split(8))
    path = patterns.save(tmp_path / "patterns.safetensors")
    back = pl.Patterns.load(path)
    assert back == patterns
    assert hash(back) == hash(patterns)
    assert back.quality.equals(patterns.quality)
    assert back != pl.fit_patterns(images(), photos(4).split(8))
    x = photos()[:2]
    found = pl.explain(images(), x, "patternnet", patterns=back)
    assert torch.equal(
        found.values, pl.explain(images(), x, "patternnet", patterns=patterns).values
    )
    found.save(tmp_path / "explanation.safetensors")
    assert pl.load(tmp_path / "explanation.safetensors") == found


def test_files_that_are_none_of_patterns(tmp_path):
    pl.explain(images(), photos()[:1], "saliency").save(tmp_path / "other.safetensors")
    (tmp_path / "text").write_text("nothing")
    for name, said in (
        ("none", "got .a path where there is none"),
        ("other.safetensors", "got .a safetensors file of something else"),
        ("text", r"Make it with patterns\.save"),
    ):
        with pytest.raises(FileError, match=f"must be a file of patterns .*{said}"):
            pl.Patterns.load(tmp_path / name)
    with pytest.raises(FileError, match="must be a file that can be written; got .a folder"):
        pl.fit_patterns(images(), [photos()]).save(tmp_path)


# -- bad input


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        (photos(), r"`batches` must be an iterable of batches; got float64.* Pass \[inputs\]"),
        (None, "`batches` must be an iterable of batches"),
        ({"x": photos()}, "`batches` must be an iterable of batches"),
        ([], "`batches` must hold at least two samples to learn patterns from; got 0"),
        ([photos()[:1]], "`batches` must hold at least two samples .*; got 1"),
        (["a"], "`inputs` must be a tensor"),
    ],
)
def test_batches_that_are_none(batches, said):
    with pytest.raises(InputError, match=said):
        pl.fit_patterns(images(), batches)


def test_a_batch_that_does_not_fit_the_model():
    with pytest.raises(pl.errors.ModelError, match="The model must run on the inputs"):
        pl.fit_patterns(images(), [photos(), normal(3, 5)])


@pytest.mark.parametrize(
    ("batch", "taken"),
    [
        ((photos(), normal(40)), "all of which"),
        ((photos(), normal(40, 1)), "all of which"),
        ((photos(), photos(), torch.zeros(40).long()), "all of which"),
    ],
)
def test_a_pair_with_labels_that_could_be_inputs(batch, taken):
    with pytest.raises(
        InputError,
        match=r"Each of `batches` must be what the model takes, or a pair of that and labels; got "
        rf"\(float64.*\), {taken} the model was given\. It raised .*forward\(\) takes 2 .*\. Say "
        r"what the inputs are: for example select=lambda batch: batch\[0\]\.",
    ):
        pl.fit_patterns(images(), [batch])
    found = pl.fit_patterns(images(), [batch], select=lambda batch: batch[0])
    assert found == pl.fit_patterns(images(), [photos()])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"select": 3}, "`select` must be a function that takes the inputs out of a batch; got 3"),
        ({"seed": "a"}, "`seed` must be a whole number; got 'a'"),
        ({"batch_axis": 7}, "`inputs` must have an axis 7"),
    ],
)
def test_options_that_are_none(options, said):
    with pytest.raises(InputError, match=said):
        pl.fit_patterns(images(), [photos()], **options)
