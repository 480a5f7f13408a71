"""Evidence of single explanations: that of the metrics, kept with each sample, said in words."""

import pytest
import torch
from torch import nn

import pellucid as pl
from pellucid.errors import InputError
from pellucid.evaluate.evidence import evidence
from pellucid.evaluate.faithfulness import Selectivity
from pellucid.evaluate.random_ranking import RandomRanking
from pellucid.evaluate.randomization import ModelRandomization
from pellucid.evaluate.robustness import MaxSensitivity
from pellucid.report import Section, judged, write


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 3)).double().eval()


@pytest.fixture
def data():
    return torch.randn(3, 8, generator=torch.Generator().manual_seed(1)).double()


def test_evidence_is_what_the_metrics_say(model, data):
    maps = pl.compare(model, data, ["saliency", "gradient_x_input"])
    found = evidence(model, maps, rankings=4)
    chance = pl.compare(model, data, [RandomRanking(seed=seed) for seed in range(4)])
    for one, plain in zip(found, maps, strict=True):
        assert one.method == plain.method
        torch.testing.assert_close(one.values, plain.values)
        wanted = {
            "selectivity": Selectivity(steps=25),
            "top_layer_randomized": ModelRandomization(layers=1),
            "max_sensitivity": MaxSensitivity(samples=5),
        }
        for name, metric in wanted.items():
            torch.testing.assert_close(one.evidence[name], metric(model, plain).values)
        drawn = [Selectivity(steps=25)(model, each).values for each in chance]
        torch.testing.assert_close(one.evidence["random_selectivity"], torch.stack(drawn, dim=1))
        assert plain.evidence == {}


def test_explanations_of_several_targets_are_judged_apart(model, data):
    maps = pl.compare(model, data, ["saliency", "lrp"], targets=[0, 2])
    together = evidence(model, maps, rankings=3)
    assert [each.target for each in together] == [each.target for each in maps]
    for one, plain in zip(together, maps, strict=True):
        (alone,) = evidence(model, plain, rankings=3)
        torch.testing.assert_close(one.evidence, alone.evidence)


def test_evidence_goes_with_its_sample_and_is_kept_in_files(model, data, tmp_path):
    (found,) = evidence(model, pl.explain(model, data, "saliency"), rankings=3)
    sample = found[1]
    torch.testing.assert_close(sample.evidence["selectivity"], found.evidence["selectivity"][1:2])
    assert sample.evidence["random_selectivity"].shape == (1, 3)
    assert pl.load(found.save(tmp_path / "found")) == found
    assert judged(sample) == judged(found, row=1)


def test_what_cannot_be_found_is_a_note(data):
    def plain(x):
        return x @ torch.ones(8, 2).double()

    (found,) = evidence(plain, pl.explain(plain, data, "gradient_x_input"), rankings=3)
    assert "top_layer_randomized" not in found.evidence
    assert {"selectivity", "max_sensitivity"} <= found.evidence.keys()
    (note,) = [note for note in found.notes if "no evidence" in note]
    assert note.startswith("There is no evidence from randomizing the top layer: ")


def test_evidence_of_a_layer_is_refused_in_words(model, data):
    (found,) = evidence(model, pl.explain(model, data, "lrp", at="0"), rankings=3)
    assert found.evidence == {}
    assert len([note for note in found.notes if "Explain without `at`" in note]) == 3


def test_a_good_map_beats_chance_and_a_random_one_does_not():
    """Of a linear model w (x - baseline) is above every order; random maps are so by chance."""
    weights = torch.linspace(-2, 3, 12).double().reshape(12, 1)
    model = nn.Linear(12, 1).double()
    model.weight.data = weights.T
    x = torch.rand(30, 12, generator=torch.Generator().manual_seed(0)).double() + 0.1
    maps = pl.compare(model, x, ["gradient_x_input", RandomRanking(seed=99)])
    best, random = evidence(model, maps)
    above = [
        (each.evidence["selectivity"][:, None] > each.evidence["random_selectivity"]).sum(1)
        for each in (best, random)
    ]
    assert (above[0] == 19).all()
    assert abs(float(above[1].double().mean()) - 9.5) < 3


def test_words(model, data):
    (found,) = evidence(model, pl.explain(model, data, "gradient_x_input"))
    terms = dict(judged(found, row=2))
    assert list(terms) == ["Flipping", "Sanity check", "Stability"]
    below = int((found.evidence["random_selectivity"][2] < found.evidence["selectivity"][2]).sum())
    assert f"faster than in {below} of 19 random orders" in terms["Flipping"]
    assert terms["Sanity check"].startswith("similarity ")
    assert "where the input moves by 2" in terms["Stability"].replace("\N{NO-BREAK SPACE}", " ")


def test_nothing_is_said_where_nothing_was_asked(model, data):
    assert judged(pl.explain(model, data, "saliency")) == []


def test_a_map_of_zeros_says_so():
    model = nn.Sequential(nn.Linear(4, 2)).double()
    model[0].weight.data.zero_()
    x = torch.ones(1, 4).double()
    (found,) = evidence(model, pl.explain(model, x, "gradient_x_input", target=0), rankings=3)
    assert dict(judged(found))["Stability"] == "not defined: all values are zero"


@pytest.mark.parametrize("asked", ["batch", "sections"])
def test_a_report_with_its_model_has_the_box(model, data, tmp_path, asked):
    maps = pl.compare(model, data, ["saliency", "lrp"])
    given = maps if asked == "batch" else [Section(explanations=maps, row=row) for row in range(3)]
    plain = write(tmp_path / "plain.html", given).read_text("utf-8")
    page = write(tmp_path / "page.html", given, model=model).read_text("utf-8")
    assert '<dl class="judged"' not in plain
    assert page.count('<dl class="judged"') == 6
    assert page.count("<dt>Flipping</dt>") == 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], r"`explanations` must be an Explanation, or a list of them; got \[\]"),
        ([3], "`explanations` must be an Explanation"),
    ],
)
def test_messages(model, given, message):
    with pytest.raises(InputError, match=message):
        evidence(model, given)


def test_a_number_of_rankings(model, data):
    with pytest.raises(InputError, match="`rankings` must be a whole number, at least 1; got 0"):
        evidence(model, pl.explain(model, data, "saliency"), rankings=0)


def test_the_model_is_left_as_it_was(model, data):
    before = [each.clone() for each in model.parameters()]
    evidence(model, pl.explain(model, data, "saliency"), rankings=2)
    after = list(model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
