"""`pellucid surrogate`: what it prints and writes, and how it fails."""

import sys

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from pellucid.cli import main

MODULE = """
import numpy as np
import pandas as pd
import torch
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

def estimator():
    people = pd.read_csv("people.csv")
    encoder = make_column_transformer((OneHotEncoder(), ["sex"]), remainder="passthrough")
    model = make_pipeline(encoder, DecisionTreeClassifier(max_depth=2))
    return model.fit(people[["age", "sex"]], np.where(people["age"] > 40, "old", "young"))

def network():
    return torch.nn.Linear(2, 3)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    people = pd.DataFrame({"age": draw.integers(18, 80, 200), "sex": draw.choice(["f", "m"], 200)})
    people.to_csv(tmp_path / "people.csv", index=False)
    pd.DataFrame(draw.normal(size=(50, 2)), columns=["a", "b"]).to_csv(
        tmp_path / "numbers.csv", index=False
    )
    (tmp_path / "models_of_people.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield tmp_path
    sys.modules.pop("models_of_people", None)


def run(*arguments, model="estimator", code=0):
    given = ["surrogate", *arguments, "--model", f"models_of_people:{model}"]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def test_it_prints_and_draws_what_it_fitted(folder):
    text = run("people.csv", "--unit", "age=years", "--size", "2")
    assert "Decision tree of 2 leaves" in text
    assert "agreement 100.0%" in text
    assert "age ≤ 40 years\n├─ yes: young 1" in text
    assert "picture  surrogate.png" in text
    assert (folder / "surrogate.png").read_bytes().startswith(b"\x89PNG")
    assert "else: " in run("people.csv", "--kind", "rules")  # over its own picture


def test_one_class_and_a_network(folder):
    text = run("people.csv", "--kind", "linear", "--target", "old")
    assert "agreement" not in text
    assert "age" in text
    text = run("numbers.csv", "--kind", "linear", model="network")
    assert "on 15 samples held out: R² 1.000, agreement 100.0%" in text
    assert "per sd class 2" in text


def test_what_cannot_be_is_said(folder):
    assert "`--unit` must be COLUMN=UNIT; got 'age'" in run("people.csv", "--unit", "age", code=2)
    assert "must end in .png" in run("people.csv", "--out", "a.txt", code=2)
    said = run("people.csv", "--kind", "forest", code=2)
    assert "`kind` of a surrogate must be one that exists; got 'forest'" in said
    assert "must be a table of comma-separated values" in run("nobody.csv", code=2)
    assert "A column that `units` names" in run("people.csv", "--unit", "agee=years", code=2)
    (folder / "letter.txt").write_text("a text")
    said = run("letter.txt", code=2)
    assert "A surrogate must be fitted to the rows of a table; got 'letter.txt'." in said
