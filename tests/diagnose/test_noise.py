"""The diagnosis as a whole: inputs of every kind, what it leaves alone, words, tables, figures."""

import math
import re

import numpy as np
import pytest
import torch
from torch import nn

import pellucid as pl
from pellucid.diagnose import NoiseDiagnosis, diagnose_noise
from pellucid.diagnose.findings import steady
from pellucid.errors import InputError, TargetError, UnknownNameError
from tests.counting import Counting
from tests.diagnose import planted

FEW = {"distances": [0.01, 0.1], "alphas": [0, 0.5, 1], "fractions": [0.1, 0.5], "points": 30}


class Text(nn.Module):
    """Classes of token ids, by embeddings, a convolution over them and max-pooling."""

    def __init__(self):
        super().__init__()
        self.words, self.conv = nn.Embedding(20, 6), nn.Conv1d(6, 8, 3, padding=1)
        self.head = nn.Linear(8, 2)

    def forward(self, ids):
        y = self.conv(self.words(ids).transpose(1, 2)).relu()
        return self.head(y.amax(2))


class Named(nn.Module):
    """Two inputs by keyword: a signal, and a table."""

    def __init__(self):
        super().__init__()
        self.conv, self.table = nn.Conv1d(2, 4, 3), nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, *, signal, table):
        return self.head(self.conv(signal).relu().mean(2) + self.table(table).relu())


def image_model():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(4 * 36, 3))  # fmt: skip


KINDS = {
    "image": (image_model, lambda: torch.rand(2, 3, 14, 14), "pixels", True),
    "signal": (lambda: nn.Sequential(nn.Conv1d(2, 4, 5), nn.ReLU(), nn.Flatten(),
                                     nn.Linear(4 * 26, 2)),
               lambda: torch.randn(2, 2, 30), "positions", True),
    "table": (lambda: planted.perceptron(2).float(), lambda: torch.randn(2, 4), "features", False),
    "tokens": (Text, lambda: torch.randint(20, (2, 9)), "positions", True),
    "named": (Named, lambda: {"signal": torch.randn(2, 2, 12), "table": torch.randn(2, 3)},
              "features", False),
    "volume": (lambda: nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.Flatten(),
                                     nn.Linear(2 * 64, 2)),
               lambda: torch.rand(1, 1, 6, 6, 6), "elements", True),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_input(kind):
    make, inputs, what, places = KINDS[kind]
    found = diagnose_noise(make().eval(), inputs(), **FEW)
    assert found.removal.what == what
    assert found.removal.moved.isfinite().all() == places
    assert found.removal.strongest.isfinite().all()
    assert found.decay.correlation[:, :, 0].isfinite().all()
    assert (found.regions.count >= 1).all()
    assert found.saturation.sizes.isfinite().all()
    assert len(found.findings(len(found) - 1)) == 5
    figure = found.plot(row=len(found) - 1)
    assert [ax.get_title("left") for ax in figure.axes][-4:] == [
        "Do the scattered places matter?", "Do the maps jump?", "From which depth on?",
        "Is the score saturated?",
    ]  # fmt: skip
    figure.canvas.draw()


@pytest.mark.parametrize("kind", ["image", "table", "tokens"])
def test_batches_do_not_change_the_numbers(kind):
    make, inputs, _, _ = KINDS[kind]
    model, x = make().eval(), inputs()
    both, single = (diagnose_noise(model, x, batch_size=n, **FEW) for n in (64, 1))
    frames = [found.to_frame() for found in (both, single)]
    keys = [c for c in frames[0].columns if c != "value"]
    assert frames[0][keys].equals(frames[1][keys])
    values = [frame["value"].to_numpy() for frame in frames]
    assert values[0] == pytest.approx(values[1], rel=1e-3, abs=1e-4)
    row = diagnose_noise(model, x[1:], **FEW).to_frame()
    second = frames[0][frames[0]["sample"] == 1]
    assert row["value"].to_numpy() == pytest.approx(second["value"].to_numpy(), rel=1e-3, abs=1e-4)


def test_it_is_the_same_every_time():
    model, x = image_model(), torch.rand(1, 3, 14, 14)
    a, b = (diagnose_noise(model, x, **FEW).to_frame() for _ in range(2))
    assert a.equals(b)


def test_every_run_of_the_model_is_counted():
    model = Counting(image_model())
    found = diagnose_noise(model, torch.rand(2, 3, 14, 14), methods=["saliency"], **FEW)
    assert sum(model.calls) == found.evaluations.forward
    assert len(model.calls) == found.evaluations.calls


def test_nothing_is_left_on_the_model():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                          nn.Linear(4 * 144, 3)).eval()  # fmt: skip
    x = torch.rand(1, 3, 14, 14)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state, kept = torch.get_rng_state(), x.clone()
    diagnose_noise(model, x, **FEW)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, kept)


def test_the_class_that_is_explained_stays_the_same():
    """Also where noise would make the model predict another."""
    model = nn.Linear(4, 2, bias=False)
    model.weight.data = torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]])
    x = torch.tensor([[0.01, 1.0, 0.0, 2.0]])
    found = diagnose_noise(model, x, methods=["saliency"], distances=[5.0], alphas=[0, 1])
    assert (found.decay.correlation == 1).all()
    assert found.target == pl.Target.of([0])


@pytest.mark.parametrize("target", [1, (0, 1), pl.Target.margin(2), lambda y: y.sum(1)])
def test_any_target(target):
    found = diagnose_noise(image_model(), torch.rand(2, 3, 14, 14), target, **FEW)
    assert found.saturation.scores[:, -1].tolist() == pytest.approx(found.score.tolist(), rel=1e-4)


def test_a_unit_inside_of_the_model_may_be_the_target():
    found = diagnose_noise(
        image_model(), torch.rand(1, 3, 14, 14), pl.Target.unit("1", (2, 3, 3)), **FEW
    )
    assert found.saturation.scores[0, -1].item() == pytest.approx(found.score.item(), abs=1e-5)


def test_a_channel_last_or_second_batch_axis():
    model = image_model()

    def turned(x):
        return model(x.transpose(0, 1))

    x = torch.rand(2, 3, 14, 14)
    a = diagnose_noise(model, x, 0, **FEW).to_frame()
    b = diagnose_noise(turned, x.transpose(0, 1), 0, batch_axis=1, **FEW).to_frame()
    at_input = a["layer"].isna() | (a["layer"] == "input")
    kept = b["layer"].isna() | (b["layer"] == "input")
    assert a[at_input]["value"].to_numpy() == pytest.approx(
        b[kept]["value"].to_numpy(), rel=1e-3, abs=1e-4
    )


def test_the_frame_has_every_number():
    found = diagnose_noise(image_model(), torch.rand(2, 3, 14, 14), 0, **FEW)
    frame = found.to_frame()
    count = sum(
        int(tensor.double().isfinite().sum())
        for part in (found.removal, found.decay, found.regions, found.saturation)
        for name, tensor in vars(part).items()
        if name not in ("fractions", "distances", "alphas", "expected") and torch.is_tensor(tensor)
    )
    assert len(frame) == count
    row = frame.query("measure == 'correlation, noise' and sample == 1 and method == 'lrp' "
                      "and layer == 'input' and draw == 2 and at == 0.1")  # fmt: skip
    assert row["value"].item() == found.decay.correlation[1, 1, 0, 2, 1].item()
    assert set(frame["measure"]) >= {"drop, random", "regions", "switches", "slope, line"}


def test_the_words_hold_the_numbers():
    found = diagnose_noise(image_model(), torch.rand(1, 3, 14, 14), 0, **FEW)
    text = repr(found)
    assert (
        f"{float(found.removal.strongest[0, 0].mean()):.3g} for the strongest of saliency" in text
    )
    correlation = found.decay.correlation[0, 1, 0, :, steady(found, 0)]
    assert f"lrp {float(correlation.mean()):.2f} ± {float(correlation.std()):.2f}" in text
    carried = float(re.search(r"accounts for (-?[\d.,]+) % of the rise", text)[1])
    assert carried == pytest.approx(100 * float(found.saturation.carried[0]), rel=0.06)
    assert f"{found.evaluations}" in text
    assert "NoiseDiagnosis of saliency, lrp: Target.index(0)" in text
    assert "nan" not in text


def test_methods_of_one_name_are_told_apart():
    methods = [pl.Saliency(), pl.Saliency(reduce="squared"), "lrp"]
    found = diagnose_noise(image_model(), torch.rand(1, 3, 14, 14), 0, methods, **FEW)
    assert len(set(found.names)) == 3
    assert found.names[2] == "lrp"
    assert found.sensitive == (True, True, False)


def test_methods_that_are_equal_are_numbered():
    methods = ["lrp", pl.Saliency(), "lrp", pl.Saliency(reduce="squared")]
    names = diagnose_noise(image_model(), torch.rand(1, 3, 14, 14), 0, methods, **FEW).names
    assert names[0] == "lrp 1"
    assert names[2] == "lrp 2"
    assert names[1] != names[3]


class Steep(nn.Module):
    """A score that comes back to where it began, and is steep and in another place between."""

    def __init__(self, factor, end):
        super().__init__()
        self.factor, self.end = factor, end

    def forward(self, x):
        y = x.flatten(1).mean(1, keepdim=True)
        return self.factor * (torch.sin(30 * y) + 30 * (y - 0.5).relu()) + self.end * y


@pytest.mark.parametrize("factor", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("end", [0.0, 1e-7, 1e6])
def test_numbers_are_such_as_people_read(factor, end):
    """No exponents between a thousandth and a billion, nothing that is no number."""
    options = {**FEW, "fractions": [1.0], "distances": [0.01, 1.0]}
    x = torch.full((1, 1, 8, 8), 0.5)
    said = " ".join(diagnose_noise(Steep(factor, end), x, 0, **options).findings())
    assert "By the removal of 100 % of them" in said
    assert "Noise of 1 % of the range" in said
    assert not re.search(r"\binf\b|\bnan\b", said)
    exponents = [int(found) for found in re.findall(r"\de([+-]\d+)", said)]
    assert all(found < -4 or found > 8 for found in exponents)
    assert not re.search(r"\d{4,}(\.\d+)? ?%", said)


def test_a_map_that_ends_at_nothing_is_not_so_many_times_as_long():
    found = diagnose_noise(lambda x: -(1 - x.sum(1, keepdim=True)).relu(), torch.ones(1, 4), 0,
                           ["saliency"], **FEW)  # fmt: skip
    assert "longest at 0% of the line, and zero at the input; " in found.findings()[4]


def test_a_notebook_shows_the_figure_and_the_words():
    found = diagnose_noise(image_model(), torch.rand(1, 3, 14, 14), 0, **FEW)
    page = found._repr_html_()
    assert "data:image/png;base64," in page
    assert "Do the maps jump?" in page
    assert page.count("<figure") == page.count("</figure>") == 1


def test_a_figure_takes_a_picture_and_a_dark_page():
    found = diagnose_noise(image_model(), torch.rand(1, 3, 14, 14), 0, **FEW)
    picture = torch.rand(14, 14, 3).numpy()
    figure = found.plot(picture=picture, dark=True)
    assert figure.get_facecolor()[:3] != (1, 1, 1)
    shown = figure.axes[0].images[0].get_array()
    assert np.array_equal(shown, (picture * 255).round())
    text = " ".join(each.get_text().replace("\n", " ") for each in figure.texts)
    assert all(found_ in text for found_ in found.findings())
    assert "How to read it." in text


X = torch.rand(2, 3, 14, 14)

BAD = {
    "no methods": ({"methods": []}, "`methods` must hold at least one method"),
    "one method": ({"methods": "lrp"}, r"must be a list of methods; got 'lrp'.*\['lrp'\]"),
    "a method that is none": ({"methods": ["lpr"]}, "A method must be one that exists.*'lrp'"),
    "a method at a layer": (
        {"methods": [pl.Saliency(at="0")]}, "`methods` must explain the inputs.*by `layers`"
    ),
    "a map of a layer": (
        {"methods": [pl.GradCAM(layer="0", upsample=False)]},
        r"`methods` must have a value for each element of the inputs; got GradCAM.*\[2, 12, 12\]"
    ),
    "a fraction of none": ({"fractions": [0.0, 0.5]}, "`fractions` must be numbers above 0"),
    "fractions that shrink": ({"fractions": [0.5, 0.1]}, "`fractions` must be .* that grow"),
    "fractions of more": ({"fractions": [1.5]}, "`fractions` must be numbers above 0, at most 1"),
    "no distances": ({"distances": []}, "`distances` must be positive numbers that grow, at least"),
    "a distance": ({"distances": 0.1}, "`distances` must be a list of positive numbers; got 0.1"),
    "a negative distance": ({"distances": [-1.0, 1.0]}, "`distances` must be positive numbers"),
    "half a line": ({"alphas": [0.0, 0.5]}, "`alphas` must begin with 0, the baseline, and end"),
    "no line": ({"alphas": [1.0]}, "`alphas` must begin with 0"),
    "beyond the line": ({"alphas": [0, 2.0]}, "`alphas` must be numbers from 0 to 1"),
    "one draw": ({"draws": 1}, "`draws` must be a whole number, at least 2; got 1"),
    "no points": ({"points": 0}, "`points` must be a whole number, at least 1; got 0"),
    "half a seed": ({"seed": 0.5}, "`seed` must be a whole number; got 0.5"),
    "a layer that is none": ({"layers": ["00"]}, "A layer must be one that exists; got '00'"),
    "one layer": ({"layers": "0"}, "`layers` must be a list of layers by their paths; got '0'"),
    "a baseline of another shape": (
        {"baseline": torch.zeros(3)}, "The baseline of `inputs` must have the shape of one sample"
    ),
    "a replacement of another shape": (
        {"replacement": torch.zeros(3)}, "The baseline of `inputs` must have the shape"
    ),
    "a baseline by name": ({"baseline": "blur"}, "^`baseline` must be a number, a tensor or a"),
    "a replacement by name": (
        {"replacement": "blurr"}, "^`replacement` must be a number, a tensor or a Baseline; got 'bl"
    ),
    "several baselines": (
        {"baseline": torch.zeros(2, 3, 14, 14)}, "takes one reference a sample; got a background"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_options_are_explained(name):
    options, said = BAD[name]
    with pytest.raises(InputError, match=said):
        diagnose_noise(image_model(), X, **{**FEW, **options})


def test_bad_inputs_targets_and_rows_are_explained():
    with pytest.raises(TargetError, match="class"):
        diagnose_noise(image_model(), X, 17, **FEW)
    with pytest.raises(InputError, match="must be finite"):
        diagnose_noise(image_model(), X * math.nan, **FEW)
    with pytest.raises(UnknownNameError, match="A layer must be one that exists"):
        diagnose_noise(image_model(), X, layers=["conv"], **FEW)
    with pytest.raises(InputError, match="Integer inputs must be read by an embedding"):
        diagnose_noise(lambda ids: ids.float() @ torch.ones(3, 2), torch.ones(1, 3).long(), **FEW)
    found = diagnose_noise(image_model(), X, **FEW)
    for row in (2, -3, "a", True):
        with pytest.raises(InputError, match="A sample must be from 0 to 1"):
            found.findings(row)
    with pytest.raises(InputError, match="A sample must be from 0 to 1"):
        found.plot(row=5)


def test_it_is_public_and_immutable():
    assert pl.diagnose_noise is diagnose_noise
    found = diagnose_noise(image_model(), X, **FEW)
    assert isinstance(found, NoiseDiagnosis)
    with pytest.raises(AttributeError):
        found.seconds = 0
    assert re.search(r"cost {2}\d+ forward, \d+ backward, [\d.]+ s", repr(found))
