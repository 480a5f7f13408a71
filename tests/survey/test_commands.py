"""`pellucid inspect`, `similar`, `influence`, `counterfactual`: what they say and how they fail."""

import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from pellucid.cli import main
from tests.report.test_document import Page

MODULE = """
import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from pellucid.zoo import Entry, Preprocessing

class Colors(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 3, 3, stride=2, bias=False)
        self.head = torch.nn.Linear(3, 3)
        self.conv.weight.data = torch.eye(3)[:, :, None, None].repeat(1, 1, 3, 3) / 9
        self.head.weight.data = 4 * torch.eye(3)

    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))

def entry():
    return Entry(name="colors", model=Colors().eval(),
                 preprocess=Preprocessing(resize=16, size=16), classes=("red", "green", "blue"))

def training():
    return torch.nn.Sequential(Colors(), torch.nn.Dropout(0.1)).train()

def number():
    people = pd.read_csv("people.csv")
    return LinearRegression().fit(people[["income", "age"]], people["paid"])

def network():
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 2).eval()
    model.weight.data = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    model.bias.data.zero_()
    return model

def amount():
    model = torch.nn.Linear(2, 1, bias=False).eval()
    model.weight.data = torch.tensor([[1.0, -1.0]])
    return model

def estimator():
    people = pd.read_csv("people.csv")
    return LogisticRegression().fit(people[["income", "age"]], people["paid"])
"""
COLORS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with photographs of three colors, a table, and models of them."""
    draw = np.random.default_rng(0)
    for name, color in COLORS.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.clip(draw.normal(color, 25, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    income, age = draw.normal(0, 1, 60), draw.normal(0, 1, 60)
    paid = (income - age + draw.normal(0, 0.3, 60) > 0).astype(int)
    people = pd.DataFrame({"income": income, "age": age, "paid": paid})
    people.to_csv(tmp_path / "people.csv", index=False)
    (tmp_path / "colors_of_mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("colors_of_mine", None)


def run(command, *arguments, model="entry", code=0):
    given = [command, *map(str, arguments), "--model", f"colors_of_mine:{model}"]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return " ".join(result.output.split())


def inspect(*arguments, **options):
    return run("inspect", "--steps", 2, "--units", 2, *arguments, **options)


def test_inspect_writes_a_page_of_layers_and_classes(folder):
    text = inspect("--data", "photos", "--top", 3, "--out", "page.html", "--folder", "run")
    assert "Survey of 2 channels of 1 layers, 3 classes, of 12 samples" in text
    assert "labels: 3 classes, of 4 photographs each" in text
    assert "page page.html" in text
    page = Page((folder / "page.html").read_text())
    words = " ".join(page.text.split())
    for word in ("conv", "2 of 3 channels", "Channel 0", "Channel 2", "red", "green", "blue"):
        assert word in words
    shown = [each["alt"] for each in page.all("img")]
    assert sum(alt.startswith("Patch: red/") for alt in shown) == 3  # of the channel that sees red
    assert sum(alt.startswith("Patch: blue/") for alt in shown) == 3
    assert sum(alt.startswith("The dream of channel") for alt in shown) == 2
    assert sum(alt.startswith("Prototype: green/") for alt in shown) == 3
    assert page.all("script") == []
    before = (folder / "page.html").read_bytes()
    inspect("--data", "photos", "--top", 3, "--out", "page.html", "--folder", "run")
    assert (folder / "page.html").read_bytes() == before


def test_a_model_in_training_mode_is_told_of_once(folder):
    assert inspect("--layer", "0.conv", model="training").count("is in training mode") == 1


def test_inspect_without_data(folder):
    inspect("--layer", "conv")
    page = Page((folder / "inspect.html").read_text())
    assert "Shown no data" in page.text
    assert not [each for each in page.all("img") if each["alt"].startswith("Patch")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layer", "cnv"], "A layer of the model must be one that exists; got 'cnv'. Did you"),
        (["--data", "nowhere"], "'nowhere' must be a folder of photographs; got nothing at that"),
        (["--data", "empty"], "'empty' must hold at least one photograph that can be read; got 'n"),
        (["--data", "broken"], "'broken' must hold at least one photograph that can be read; got"),
        (["--out", "page.png"], "`--out` must end in .html"),
    ],
)
def test_what_inspect_is_asked_wrongly(folder, arguments, said):
    (folder / "empty").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "photo.png").write_bytes(b"no picture")
    assert said in inspect(*arguments, code=2)
    assert not (folder / "inspect.html").exists()


def test_inspect_shows_so_many_classes(folder):
    assert "1 layers, 2 classes, of 12" in inspect("--data", "photos", "--top", 1, "--classes", 2)
    assert "1 layers, of 12 samples" in inspect("--data", "photos", "--top", 1, "--classes", 0)


@pytest.mark.parametrize(("classes", "pictures"), [(0, 16), (1, 26), (1000, 40)])
def test_a_page_that_would_be_too_large_is_known_before_the_work(
    folder, monkeypatch, classes, pictures
):
    """Two channels with a dream, a filter, three patches and reconstructions; and classes."""
    monkeypatch.setattr("pellucid.report.survey.MOST_PICTURES", 15)
    monkeypatch.setattr("pellucid.survey.survey", None)
    said = f"A page must hold at most 15 pictures; got {pictures}. Ask for fewer units, layers, "
    assert said in inspect("--data", "photos", "--top", 3, "--classes", classes, code=2)


def test_similar_finds_the_same_class_and_the_others(folder):
    photo = folder / "photos" / "green" / "1.png"
    text = run("similar", photo, "--data", "photos", "--layer", "conv", "--count", 2)
    assert "class green, as the model predicts" in text
    same = text.partition("same class")[2].partition("other class")[0]
    assert re.findall(r"(\w+)/\d.png", same) == ["green", "green"]
    assert "green/1.png" not in same  # it is not like itself
    other = text.partition("other class")[2]
    assert set(re.findall(r"(\w+)/\d.png", other)) <= {"red", "blue"}
    with Image.open(folder / "similar.png") as picture:
        assert picture.width > 100


def test_similar_remembers_the_folder(folder):
    photo = folder / "photos" / "green" / "1.png"
    first = run("similar", photo, "--data", "photos", "--folder", "run")
    assert run("similar", photo, "--data", "photos", "--folder", "run") == first
    other = run("similar", photo, "--data", "photos", "--folder", "run", "--layer", "conv", code=2)
    assert "must hold a run of the same settings: 'layer'" in other


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layer", "cnv"], "got 'cnv'. Did you mean 'conv'?"),
        (["--count", "50"], "`--count` must be at most 11: there are no more; got 50"),
        (["--data", "alone"], "The data must hold other samples; got 'none'"),
        (["--data", "nowhere"], "'nowhere' must be a folder of photographs"),
    ],
)
def test_what_similar_is_asked_wrongly(folder, arguments, said):
    (folder / "alone").mkdir()
    photo = folder / "photos" / "green" / "1.png"
    photo = photo.rename(folder / "alone" / "1.png") if "alone" in arguments else photo
    assert said in run("similar", photo, "--data", "photos", *arguments, code=2)


def test_similar_shows_as_many_as_there_are(folder):
    photo = folder / "photos" / "green" / "1.png"
    text = run("similar", photo, "--data", "photos", "--limit", 3)
    assert len(re.findall(r"[\d.]+ \w+/\d.png", text.partition("same class")[0])) == 3


@pytest.mark.parametrize("model", ["estimator", "network"])
def test_similar_rows_are_those_of_brute_force(folder, model):
    """By the distances of what the model answers; a row is not like itself."""
    given = ["people.csv", "--row", 3, "--data", "people.csv", "--label", "paid", "--count", 4]
    text = run("similar", *given, model=model)
    people = pd.read_csv("people.csv")
    made = sys.modules["colors_of_mine"].__dict__[model]()
    if model == "network":
        rows = torch.tensor(people[["income", "age"]].to_numpy(), dtype=torch.float32)
        answers = made(rows).detach().double().numpy()
    else:
        answers = made.predict_proba(people[["income", "age"]])
    far = np.linalg.norm(answers - answers[3], axis=1)
    own, paid = answers[3].argmax(), people["paid"].to_numpy()
    far[3] = np.inf
    groups = re.split(r"nearest |same class |other class |picture ", text)[1:4]
    for group, wanted in zip(groups, (paid >= 0, paid == own, paid != own), strict=True):
        best = np.where(wanted, far, np.inf).argsort(kind="stable")[:4]
        assert re.findall(r"row (\d+)", group) == [str(each) for each in best]
        value = f"income {people['income'][best[0]]:g}, age {people['age'][best[0]]:g}"
        assert f"{far[best[0]]:.4f}" in group
        assert value in group
    assert "background" not in text
    with Image.open(folder / "similar.png") as picture:
        assert picture.width > 100


def test_a_row_that_is_asked_about_needs_no_class_and_no_order_of_columns(folder):
    people = pd.read_csv("people.csv")
    people.loc[[5], ["age", "income"]].to_csv("new.csv", index=False)
    given = ["new.csv", "--data", "people.csv", "--label", "paid", "--count", 1]
    found = run("similar", *given, model="estimator")
    assert re.search(r"nearest 0\.0000 row 5 ", found)  # it comes from elsewhere: it may be like it


def test_what_predicts_a_number_has_no_classes_and_no_angles(folder):
    given = ["people.csv", "--data", "people.csv", "--label", "paid", "--count", 2]
    text = run("similar", *given, model="number")
    assert "labels: none, for colors_of_mine:number predicts no classes" in text
    assert "same class" not in text
    pd.read_csv("people.csv").drop(columns="paid").to_csv("bare.csv", index=False)
    bare = ["bare.csv", "--data", "bare.csv", "--count", 2]
    assert "same class" not in run("similar", *bare, model="amount")
    said = "`--metric` must be euclidean where there is one number for each sample; got 'cosine'"
    assert said in run("similar", *bare, "--metric", "cosine", model="amount", code=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["photos/red/0.png", "--data", "people.csv"], "`--data` must be of one kind; got 'photos"),
        (["people.csv", "--data", "photos"], "FILE and what is given to `--data` must be of one"),
        (["note.txt", "--data", "people.csv"], "must be photographs, or rows of tables; got 'note"),
        (["people.csv", "--data", "people.csv", "--row", "60"], "`--row` must be from 0 to 59, in"),
        (["people.csv", "--data", "people.csv", "--label", "piad"], "Did you mean 'paid'"),
        (["photos/red/0.png", "--data", "photos", "--row", "1"], "`--row` must be for a table"),
        (["photos/red/0.png", "--data", "photos", "--label", "a"], "`--label` must be for a table"),
        (
            ["ages.csv", "--data", "people.csv"],
            "is shown, in ages.csv, must be one that exists; go",
        ),
    ],
)
def test_what_similar_is_asked_wrongly_of_rows(folder, arguments, said):
    pd.read_csv("people.csv")[["age"]].to_csv("ages.csv", index=False)
    rows = arguments[-1] == "people.csv" or arguments[0] == "people.csv"
    assert said in run("similar", *arguments, model="estimator" if rows else "entry", code=2)


def test_influence_names_what_helps_and_what_harms(folder):
    photo = folder / "photos" / "red" / "0.png"
    text = run("influence", photo, "--train", "photos", "--count", 2, "--damping", 0.01)
    assert "asked the score of red, which is" in text
    helpful = text.partition("helpful")[2].partition("harmful")[0]
    assert len(re.findall(r"photos|\w+/\d.png", helpful)) == 2
    assert "solved by exact, damping 0.01" in text
    with Image.open(folder / "influence.png") as picture:
        assert picture.width > 100


def test_influence_finds_a_wrong_label(folder):
    (folder / "photos" / "red" / "0.png").rename(folder / "photos" / "blue" / "9.png")
    text = run("influence", "--train", "photos", "--count", 1, "--damping", 0.01)
    assert "labels to look at first" in text
    assert "blue/9.png blue" in text


def test_influence_of_many_parameters_is_not_exact(folder, monkeypatch):
    monkeypatch.setattr("pellucid.cli.influence.MOST_EXACT", 11)
    photo = folder / "photos" / "red" / "0.png"
    text = run("influence", photo, "--train", "photos", "--damping", 0.01)
    assert "how ekfac, for 12 parameters are many: head.weight, head.bias" in text
    assert "solved by ekfac, damping 0.01" in text
    assert "solved by exact" in run("influence", photo, "--train", "photos", "--how", "exact")


def test_what_is_noted_is_not_a_warning_too(folder):
    for old, new in (("red", "spare"), ("blue", "red"), ("spare", "blue")):
        (folder / "photos" / old).rename(folder / "photos" / new)
    text = run("influence", "--train", "photos", "--damping", 0.1)
    assert text.count("worse than a guess") == 1


def test_influence_goes_by_gradients(folder):
    given = ["people.csv", "--train", "people.csv", "--label", "paid"]
    said = "`--model` must be a torch model, for influence goes by gradients; got LogisticRegressio"
    assert said in run("influence", *given, model="estimator", code=2)


ALL = ["photos/red/0.png", "--train", "photos", "--parameters"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            [*ALL, "all", "--how", "exact", "--memory", "1e-9"],
            r"What `exact` holds must be at most `memory`, 0.0 MB; got 0.* parameters\)\. Ask "
            r"about fewer `parameters`, .* or another way; or allow more `memory`.",
        ),
        (
            [*ALL, "conv", "--how", "exact", "--damping", "0"],
            r"got .* with a damping of 0. Give the weight "
            r"decay of the training as `damping`, or at least .*, as `ekfac` does",
        ),
    ],
)
def test_influence_names_options_as_both_python_and_the_command_do(folder, arguments, said):
    """And none of Python's, which nobody gave."""
    text = run("influence", *arguments, code=2)
    assert re.search(said, text)
    assert not re.search(r"\w=['\[\d.]", text)


def test_influence_in_a_table(folder):
    given = ["people.csv", "--row", 3, "--train", "people.csv", "--label", "paid", "--count", 1]
    text = run("influence", *given, model="network")
    assert "asked" in text
    people = pd.read_csv("people.csv")
    found = re.findall(r"row (\d+) class ([01]) income (\S+), age (\S+)", text)
    assert len(found) == 2
    for row, paid, income, age in found:
        own = people.loc[int(row)]
        assert (paid, income, age) == (f"{own.paid:g}", f"{own.income:g}", f"{own.age:g}")
    with Image.open(folder / "influence.png") as picture:
        assert picture.width > 100


@pytest.mark.parametrize("sign", [1, -1])
def test_influence_on_the_one_score_of_two_classes(folder, sign):
    """Which is that of the second class, whichever is predicted."""
    people = pd.read_csv("people.csv")
    (people.assign(income=sign * 9.0).loc[[0]]).to_csv("new.csv", index=False)
    given = ["new.csv", "--train", "people.csv", "--label", "paid", "--count", 1]
    text = run("influence", *given, "--damping", 0.01, model="amount")
    score = re.search(r"asked the score, which is (\S+)", text)
    assert float(score[1]) == pytest.approx(sign * 9 - people["age"][0], rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["people.csv", "--train", "photos"], "FILE and what is given to `--train` must be of one"),
        (["--train", "photos", "--row", "1"], "`--row` must be given with a FILE"),
        (["photos/red/0.png", "--train", "photos", "--row", "1"], "`--row` must be for a table"),
        (["photos/red/0.png", "--train", "flat"], "Training examples must have their classes"),
        (["photos/red/0.png", "--train", "photos", "--parameters", "haed"], "'head"),
    ],
)
def test_what_influence_is_asked_wrongly(folder, arguments, said):
    (folder / "flat").mkdir()
    (folder / "photos" / "red" / "1.png").rename(folder / "flat" / "1.png")
    assert said in run("influence", *arguments, code=2)


def counterfactual(*arguments, **options):
    given = {"model": "estimator"} | options
    return run("counterfactual", "people.csv", "--label", "paid", *arguments, **given)


def test_a_counterfactual_keeps_to_what_is_asked(folder):
    people = pd.read_csv("people.csv")
    row = int(people["paid"].eq(0).to_numpy().argmax())
    text = counterfactual("--row", row, "--want", 1, "--fix", "age")
    assert "had income been" in text
    assert "the model would have said 1 (instead of 0)" in text
    table = pd.read_csv("counterfactual.csv")
    assert table["column"].tolist() == ["income"]
    assert float(table["after"][0]) > people["income"][row]


def test_counterfactuals_of_a_network_and_of_several_rows(folder):
    text = counterfactual("--row", 0, "--row", 1, "--count", 2, model="network")
    assert "sample 0 is people.csv, row 0" in text
    assert "sample 1 is people.csv, row 1" in text
    assert pd.read_csv("counterfactual.csv")["sample"].nunique() == 2


def test_what_is_not_found_is_said(folder):
    text = counterfactual("--row", 0, "--fix", "age", "--fix", "income", code=1)
    assert "Sample 0: the model says" in text
    assert pd.read_csv("counterfactual.csv").empty


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--want", "1", "--above", "3"], "One of `--want`, `--above` and `--below` must be given"),
        (["--range", "age=18-65"], "`--range` must be COLUMN=LOW..HIGH, or COLUMN=WORD|WORD"),
        (["--range", "age=old..65"], "`--range` must be COLUMN=LOW..HIGH"),
        (["--range", "age=3|"], "The range of 'age' must be a lower and an upper bound"),
        (["--increase", "age", "--decrease", "age"], "hat must do neither is fixed: --fix age."),
        (["--fix", "aeg"], "got 'aeg'. Did you mean 'age'?"),
        (["--want", "2"], "2"),
        (["--row", "60"], "`--row` must be from 0 to 59; got 60"),
        (["--label", "piad"], "A column of people.csv must be one that exists; got 'piad'"),
        (["--out", "people.csv"], "What is written must not overwrite"),
    ],
)
def test_what_a_counterfactual_is_asked_wrongly(folder, arguments, said):
    assert said in counterfactual(*arguments, code=2)


def test_classes_are_wanted_and_numbers_are_passed(folder):
    said = "`--above` and `--below` must be for a model that predicts a number"
    assert said in counterfactual("--above", 3, code=2)
    said = "`--above` or `--below` must be given for a model that predicts a number"
    assert said in counterfactual(model="number", code=2)
    assert "the score would have been" in counterfactual("--above", 2, model="number")


def test_a_counterfactual_of_a_photograph(folder):
    text = run("counterfactual", "photos/red/0.png", code=2)
    assert "A counterfactual must be of the rows of a table" in text
