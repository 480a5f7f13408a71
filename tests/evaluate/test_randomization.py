"""Sanity checks: cascades and single layers, against copies that are made by hand."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.evaluate import measure
from pellucid.evaluate.randomization import (
    EfficientRandomization,
    LabelRandomization,
    ModelRandomization,
    histogram_entropy,
)
from pellucid.evaluate.randomization.layers import Randomizer, steps_of
from pellucid.structure import Inputs
from tests.zoo.network import normal, seeded


class Block(nn.Module):
    """Runs its layers in another order than it has them, with a norm and a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4 * 36, 3)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.rand(1, 4, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.norm(self.first(x)))
        return self.head((h + self.scale * torch.tanh(self.second(h))).flatten(1))


def network() -> nn.Module:
    return seeded(Block()).eval()


def inputs() -> Tensor:
    return normal(4, 1, 6, 6, seed=2)


def spearman(a, b):
    """Sample by sample, of sizes."""
    pairs = zip(a.flatten(1).abs().numpy(), b.flatten(1).abs().numpy(), strict=True)
    return torch.tensor([stats.spearmanr(x, y).statistic for x, y in pairs]).double()


def test_layers_are_in_the_order_in_which_they_run():
    steps = steps_of(network(), Inputs.of(inputs()[:1]), None)
    assert [step.name for step in steps] == ["head", "second", "first", "the model"]
    assert list(steps[2].parts) == ["first", "norm"]
    chosen = steps_of(network(), Inputs.of(inputs()[:1]), ("first", "head"))
    assert [(step.name, step.number) for step in chosen] == [("head", 0), ("first", 2)]
    assert [step.name for step in steps_of(network(), Inputs.of(inputs()[:1]), 1)] == ["head"]


def test_a_layer_that_is_used_twice_or_shared_is_randomized_once():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(7, 3), nn.Linear(3, 7, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.embed(ids)).mean(1)

    steps = steps_of(Tied(), Inputs.of(torch.ones(1, 4).long()), None)
    assert [step.name for step in steps] == ["head"]


def by_hand(order, how="normal", draws=1, seed=0):
    """Maps of copies that are randomized one by one, each from the model itself."""
    model, x = network(), inputs()
    target = pl.explain(model, x, "saliency").target
    whole = steps_of(model, Inputs.of(x[:1]), None)
    found = []
    for draw in range(draws):
        row = []
        for last in range(len(whole)):
            made = copy.deepcopy(model)
            steps = steps_of(made, Inputs.of(x[:1]), None)
            chosen = steps[: last + 1] if order == "cascading" else [steps[last]]
            for step in chosen:
                Randomizer(how=how, seed=seed)(step, draw)
            row.append(pl.explain(made, x, "saliency", target=target).values)
        found.append(row)
    return found


def follows_copies(metric):
    model, x = network(), inputs()
    own = pl.explain(model, x, "saliency")
    found = metric(model, own)
    maps = by_hand(metric.order, metric.how, metric.draws, metric.seed)
    numbers = torch.stack([torch.stack([spearman(own.values, m) for m in row]) for row in maps])
    assert_close(found.values, numbers.mean((0, 1)), rtol=1e-6, atol=1e-6)
    curve = found.curves["absolute_spearman"]
    start = metric.order == "cascading"
    assert_close(curve.y[:, start:], numbers.mean(0).T, rtol=1e-6, atol=1e-6)
    assert len(curve.ticks) == len(curve.x) == curve.y.shape[1]


@pytest.mark.parametrize("order", ["cascading", "independent"])
@pytest.mark.parametrize("how", ["initialize", "permute", "normal"])
def test_similarities_are_those_of_copies_made_by_hand(order, how):
    follows_copies(ModelRandomization(order=order, how=how, draws=2, seed=3))


@dataclass(frozen=True, kw_only=True)
class NothingRestored(ModelRandomization):
    """Draws, or single layers, begin where the one before them ended."""

    def _states(self, original, steps, random):
        for draw in range(self.draws):
            for number, step in enumerate(steps):
                random(step, draw)
                yield draw, number


@dataclass(frozen=True, kw_only=True)
class FromTheInput(ModelRandomization):
    """The cascade goes the other way."""

    def _states(self, original, steps, random):
        return super()._states(original, steps[::-1], random)


@pytest.mark.parametrize(
    "broken",
    [NothingRestored(order="independent", how="normal"), FromTheInput(how="normal", draws=2)],
)
def test_a_broken_cascade_is_seen(broken):
    with pytest.raises(AssertionError):
        follows_copies(broken)


def test_permuting_a_linear_layer_permutes_its_gradient():
    model = seeded(nn.Linear(8, 2, bias=False))
    x = normal(3, 8)
    own = pl.explain(model, x, "saliency", target=1)
    made = copy.deepcopy(model)
    (step,) = steps_of(made, Inputs.of(x[:1]), None)
    Randomizer(how="permute", seed=0)(step, 0)
    assert sorted(made.weight.flatten().tolist()) == sorted(model.weight.flatten().tolist())
    found = ModelRandomization(how="permute")(model, own)
    expected = spearman(own.values, made.weight[1].detach().expand(3, -1))
    assert_close(found.values, expected, rtol=1e-6, atol=1e-6)


class ReadsNothing(nn.Module):
    """What a map of the input alone would be: the sum of x times one, whatever the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).sum(1, keepdim=True) + 0 * self.weight


@pytest.mark.parametrize("order", ["cascading", "independent"])
def test_a_map_that_does_not_read_the_model_stays(order):
    model = ReadsNothing()
    x = normal(3, 9)
    own = pl.explain(model, x, "gradient_x_input", target=0)
    ways = ("spearman", "ssim", "cosine", "top_share", "pearson")
    found = ModelRandomization(order=order, similarity=ways)(model, own)
    assert list(found.curves) == list(ways)
    for curve in found.curves.values():
        assert_close(curve.y, torch.ones_like(curve.y))
    assert_close(EfficientRandomization()(model, own).values, torch.zeros(3, dtype=torch.float64))
    assert "`the model` has no initializer" in found.notes[0]


def test_rivals_share_each_copy_and_its_recording():
    model, x = network(), inputs()
    rivals = pl.compare(model, x, ["lrp", "gradient_x_input", "saliency"], target=1)
    metric = ModelRandomization(how="normal")
    together = measure(model, rivals, metric)
    spent = torch.tensor([each.evaluations for each in together]).sum(0)
    # The order of the layers is seen on one sample; the rest is what they cost side by side.
    once = torch.tensor([each.evaluations for each in rivals]).sum(0)
    assert spent[:2].tolist() == [4 + 4 * int(once[0]), 4 * int(once[1])]
    alone = [pl.explain(model, x, each.method, target=1).evaluations.forward for each in rivals]
    assert once[0] < sum(alone)
    for one, rival in zip(together, rivals, strict=True):
        assert_close(metric(model, rival).values, one.values)


def test_the_seed_decides_and_nothing_else():
    model, x = network(), inputs()
    own = pl.explain(model, x, "saliency")
    torch.manual_seed(1)
    one = ModelRandomization()(model, own).values
    torch.manual_seed(2)
    assert torch.equal(ModelRandomization()(model, own).values, one)
    assert not torch.equal(ModelRandomization(seed=1)(model, own).values, one)


def test_initializers_of_parents_leave_their_children():
    """Attention resets a bias of the projection inside of it."""

    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.attend(x, x, x)[0].mean(1))

    model = seeded(Attend()).eval()
    steps = steps_of(model, Inputs.of(normal(1, 3, 4)), None)
    assert [step.name for step in steps] == ["head", "attend.out_proj", "attend"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Randomizer(how="initialize", seed=0)(steps[2], 0)
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert changed == {"attend.in_proj_weight", "attend.in_proj_bias"}


@dataclass(frozen=True, kw_only=True)
class OfTheModel(EfficientRandomization):
    """Compares with the map itself, and not with that of the random model."""

    def judge(self, trial):
        return [replace(each, values=each.values * 0 + 0.1) for each in super().judge(trial)]


def rises_with(metric):
    """Entropies of histograms that are counted by another library."""
    model, x = network(), inputs()
    own = pl.explain(model, x, "gradient_x_input")
    made = copy.deepcopy(model)
    for step in steps_of(made, Inputs.of(x[:1]), None):
        Randomizer(how="normal", seed=0)(step, 0)
    there = pl.explain(made, x, "gradient_x_input", target=own.target)

    def entropies(values):
        counts = [torch.histc(v, 100, float(v.min()), float(v.max())) for v in values]
        return torch.tensor([stats.entropy(each.numpy()) for each in counts]).double()

    before, after = entropies(own.values), entropies(there.values)
    assert_close(metric(model, own).values, (after - before) / before, rtol=1e-3, atol=1e-3)


def test_the_rise_of_complexity():
    rises_with(EfficientRandomization(how="normal"))
    with pytest.raises(AssertionError):
        rises_with(OfTheModel(how="normal"))


def test_the_entropy_of_a_histogram():
    assert float(histogram_entropy([torch.ones(1, 1, 5)])) == 0
    even = torch.arange(100.0).reshape(1, 1, 100)
    assert float(histogram_entropy([even])) == pytest.approx(torch.tensor(100.0).log().item())
    assert bool(histogram_entropy([torch.tensor([[[1.0, torch.nan]]])]).isnan())


def trained(factory, data):
    """Twenty steps of plain descent."""
    model = factory()
    step = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(20):
        step.zero_grad()
        nn.functional.cross_entropy(model(data.inputs), data.labels).backward()
        step.step()
    return model


def of_shuffled_labels(metric, model, x):
    own = pl.explain(model, x[:5], "gradient_x_input", target=1)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(4 * 1_000_003))
    other = trained(metric.model_factory, pl.evaluate.Examples(x, metric.data[1][order]))
    there = pl.explain(other, x[:5], "gradient_x_input", target=1)
    found = metric(model, own)
    assert_close(found.values, spearman(own.values, there.values), rtol=1e-6, atol=1e-6)
    right = float((other(x).argmax(1) == metric.data[1][order]).float().mean())
    assert f"at least {right:.0%} of these right" in found.notes[0]
    assert torch.equal(metric(model, own, batch_size=2).values, found.values)


def test_models_of_shuffled_labels():
    x = normal(60, 7)
    labels = (x[:, 0] > 0).long()

    def factory():
        return seeded(nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 2)))

    fits = []

    def fit(factory, data):
        fits.append(data.labels)
        return trained(factory, data)

    model = trained(factory, pl.evaluate.Examples(x, labels))
    metric = LabelRandomization(model_factory=factory, data=(x, labels), fit=fit, seed=4)
    of_shuffled_labels(metric, model, x)
    assert len(fits) == 1  # for all batches and calls
    assert sorted(fits[0].tolist()) == sorted(labels.tolist())
    assert not torch.equal(fits[0], labels)
    honest = replace(
        metric, fit=lambda factory, data: trained(factory, data._replace(labels=labels))
    )
    with pytest.raises(AssertionError):
        of_shuffled_labels(honest, model, x)


def test_a_ready_trainer_is_taken_where_none_is_given():
    x = normal(40, 3).float()
    labels = (x[:, 0] > 0).long()
    metric = LabelRandomization(model_factory=lambda: nn.Linear(3, 2), data=(x, labels))
    model = nn.Linear(3, 2)
    found = metric(model, pl.explain(model, x[:2], "saliency", target=0))
    assert bool(found.values.isfinite().all())


def test_maps_that_vanish_are_said():
    """A rectifier that is dead in the random model leaves a map of zeros."""
    model = seeded(nn.Sequential(nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 2))).eval()
    with torch.no_grad():
        model[0].bias.fill_(3)
    x = normal(6, 4)
    found = ModelRandomization(seed=2)(model, pl.explain(model, x, "saliency", target=0))
    assert any("cannot be compared" in note for note in found.notes)
    lost = found.curves["absolute_spearman"].y.isnan().any(1)
    assert 0 < int(lost.sum()) <= 6


BAD = {
    "order": ({"order": "top_down"}, "`order` of randomization must be one that exists"),
    "how": ({"how": "xavier"}, "`how` to randomize must be one that exists"),
    "draws": ({"draws": 0}, "`draws` must be a whole number, at least 1"),
    "layers": ({"layers": 0}, "`layers` must be a whole number, at least 1"),
    "similarity": ({"similarity": "spear"}, "`similarity` must be one that exists"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options(name):
    options, words = BAD[name]
    with pytest.raises(InputError, match=words):
        ModelRandomization(**options)


def test_what_cannot_be_randomized():
    model, x = network(), inputs()
    own = pl.explain(model, x, "saliency")
    with pytest.raises(
        InputError, match="A layer with weights must be one that exists; got 'frist'"
    ):
        ModelRandomization(layers=["frist"])(model, own)
    with pytest.raises(
        InputError, match="`layers` must be at most the 4 that the model has; got 9"
    ):
        ModelRandomization(layers=9)(model, own)
    with pytest.raises(
        InputError, match=r"must be a torch.nn.Module .* parameters to be randomized"
    ):
        ModelRandomization()(lambda x: model(x), own)
    empty = pl.explain(nn.Flatten(), x, "saliency")
    with pytest.raises(InputError, match="must have parameters to be randomized"):
        ModelRandomization()(nn.Flatten(), empty)
    pooled = replace(own, values=own.values.repeat(1, 2, 1, 1))
    with pytest.raises(InputError, match="must be as their method gives them"):
        ModelRandomization()(model, pooled)


def test_bad_data_for_shuffled_labels():
    with pytest.raises(InputError, match=r"`data` must be Examples\(inputs, labels\)"):
        LabelRandomization(model_factory=nn.Identity, data=torch.ones(3, 2))
    with pytest.raises(InputError, match="`model_factory` and `fit` must be functions"):
        LabelRandomization(model_factory=3, data=(torch.ones(2, 1), torch.ones(2)))
    metric = LabelRandomization(
        model_factory=nn.Identity,
        data=(torch.ones(3, 2), torch.zeros(3).long()),
        fit=lambda factory, data: None,
    )
    model, x = nn.Linear(2, 2), torch.ones(1, 2)
    with pytest.raises(InputError, match="`fit` must return a model that can be called"):
        metric(model, pl.explain(model, x, "saliency", target=0))


@pytest.mark.slow
def test_guided_backprop_hardly_sees_a_random_top_layer():
    """What Adebayo et al. found, on a network of digits: gradient and Grad-CAM see it."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    x, labels = nn.functional.interpolate(x, scale_factor=2.0), torch.tensor(digits.target)

    def factory():
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * 64, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip

    trainer = pl.evaluate.Trainer(epochs=4, batch_size=50)
    model = trainer(factory, pl.evaluate.Examples(x[:1500], labels[:1500]))
    shown = x[1500:1550]
    assert float((model(x[1500:]).argmax(1) == labels[1500:]).float().mean()) > 0.85
    rivals = pl.compare(model, shown, ["guided_backprop", "saliency", "gradcam"])
    metric = ModelRandomization(layers=1, draws=3)
    guided, *others = (each.interval() for each in measure(model, list(rivals), metric))
    assert all(high + 0.1 < guided[0] for _, high in others)


@pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated:DeprecationWarning")
def test_torchscript_hides_the_calls_of_its_modules():
    model, x = seeded(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))), normal(2, 4)
    scripted = torch.jit.trace(model, x)
    found = pl.explain(scripted, x, "saliency", target=0)
    for metric in (ModelRandomization(), EfficientRandomization()):
        with pytest.raises(InputError, match="calls of all modules must be seen .* in TorchScript"):
            metric(scripted, found)
