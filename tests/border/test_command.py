"""The command on rows of tables and on texts: what it prints and writes, and how it fails."""

import sys

import pandas as pd
import pytest
from click.testing import CliRunner

from pellucid.cli import main
from tests.border.made import people

MODULE = """
import torch
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from tests.border.made import critic, people, pipeline

def bought():
    return pipeline(*people())

def number():
    frame, _ = people()
    return LinearRegression().fit(frame[["age", "income"]].to_numpy(), 3 * frame["age"])

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))

def filled():
    frame, label = people()
    columns = ["age", "children"]
    frame = frame[columns].astype("float64")
    return make_pipeline(SimpleImputer(), LogisticRegression()).fit(frame, label)

def wide():
    torch.manual_seed(0)
    return torch.nn.Linear(14, 1)

def words():
    return critic()

def lengths():
    return lambda texts: [float(len(text)) for text in texts]

def broken():
    return {"weights": 3}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory with tables, a text and a module of models."""
    frame, label = people()
    frame["children"] = frame["children"].fillna(0)
    frame.assign(bought=label).to_csv(tmp_path / "rows.csv", index=False)
    frame[["age", "income"]].to_csv(tmp_path / "numbers.tsv", index=False, sep="\t")
    (tmp_path / "text.txt").write_text("Not a good film,\nbut so bad.\n")
    (tmp_path / "empty.csv").write_text("age,income\n")
    (tmp_path / "tables_of_mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("tables_of_mine", None)


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ["explain", *arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


def explain(file, model, *more, method="lime,kernel_shap,occlusion", code=0):
    given = [file, "--model", f"tables_of_mine:{model}", "--method", method]
    return (
        run(*given, "--option", "lime.samples=200", *more, code=code)
        if "lime" in (method)
        else run(*given, *more, code=code)
    )


def test_a_row_of_a_table(folder):
    said = explain("rows.csv", "bought", "--row", "3")
    assert said.startswith("rows.csv, row 3\n")
    assert "explained: the score of “" in said
    for name in ("LIME", "KernelSHAP", "Occlusion"):
        assert f"\n  {name}\n" in said
    age = pd.read_csv("rows.csv")["age"][3]
    assert f"age = {age}" in said
    assert "background: 60 rows of rows.csv\n" in said
    page = (folder / "report.html").read_text()
    assert "rows.csv, row 3" in page
    assert (folder / "report.png").exists()


def test_the_usual_methods_and_a_class_by_its_label():
    said = run("rows.csv", "--model", "tables_of_mine:bought", "--target", "YES")
    assert "explained: the score of “yes”" in said
    assert [name in said for name in ("LIME", "KernelSHAP", "Occlusion")] == [True] * 3


def test_numbers_that_are_missing_elsewhere_are_drawn_in_bins():
    table = pd.read_csv("rows.csv")
    table.loc[5:9, "children"] = None
    table.to_csv("gaps.csv", index=False)
    said = explain("gaps.csv", "filled", "--row", "3")
    assert "lime: bins=4, for numbers are missing in some rows\n" in said
    assert "lime: bins" not in explain("rows.csv", "filled", "--row", "3")
    chosen = explain("gaps.csv", "filled", "--option", "lime.bins=10", method="lime")
    assert "lime: bins" not in chosen
    assert chosen != explain("gaps.csv", "filled", "--option", "lime.bins=3", method="lime")


def test_a_baseline_of_lime_is_no_data():
    said = explain("rows.csv", "bought", "--option", "lime.baseline=0.5", method="lime", code=2)
    assert "rows of data" in said  # as categories ask for, and not that there are two of them


def test_several_rows_and_another_background(folder):
    table = pd.read_csv("rows.csv")
    table.iloc[:9].to_csv("train.csv", index=False)
    said = explain(
        "rows.csv", "bought", "--row", "1", "--row", "2", "--background", "train.csv",
        method="occlusion",
    )  # fmt: skip
    assert "rows.csv, row 1\n" in said
    assert "rows.csv, row 2\n" in said
    assert "background: 9 rows of train.csv" in said
    assert "64 forward" in said  # one for the row, and nine for each of seven columns


def test_a_net_on_a_table_takes_every_method():
    said = explain("numbers.tsv", "net", "--top", "2", method="saliency,occlusion")
    assert said.count("explained:") == 2
    assert said.count("Saliency") == 2
    assert "age = " in said


def test_the_columns_of_a_net_are_occluded_one_by_one():
    table = pd.DataFrame([[float(i + j) for j in range(14)] for i in range(3)])
    table.to_csv("wide.csv", index=False)
    said = explain("wide.csv", "wide", method="occlusion")
    assert "43 forward" in said  # one for the row, and three for each of 14 columns
    mixed = explain("wide.csv", "wide", "--option", "occlusion.window=2", method="occlusion")
    assert "40 forward" in mixed


def test_a_regression_that_was_fitted_without_names():
    said = explain("numbers.tsv", "number", method="occlusion")
    assert "explained: the score, which is " in said
    assert "age = " in said
    assert "income" in said


def test_a_text(folder):
    said = explain("text.txt", "words", "--target", "+", method="lime,occlusion")
    assert "explained: the score of “+”" in said
    assert "“good” (+" in said
    assert "“bad” (-" in said
    assert "good" in (folder / "report.html").read_text()


def test_a_callable_on_texts():
    said = explain("text.txt", "lengths", method="occlusion")
    assert "which is 29" in said
    assert "“good” (+4)" in said


def test_an_option_of_the_users_own_is_kept():
    said = explain("numbers.tsv", "net", "--option", "occlusion.baseline=0.0", method="occlusion")
    assert "cost" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rows.csv", "bought", "--row", "60"], "`--row` must be from 0 to 59; got 60."),
        (["text.txt", "words", "--row", "1"], "`--row` must be for a table; got ['text.txt']."),
        (
            ["text.txt", "words", "--background", "rows.csv"],
            "`--background` must be for a table; got ['text.txt'].",
        ),
        (
            ["numbers.tsv", "bought"],
            "A column that the model was fitted on, in numbers.tsv, must be one that exists; got "
            "'sex'. Known: age, income.",
        ),
        (["empty.csv", "net"], "'empty.csv' must have at least one row below the names of its col"),
        (["none.csv", "net"], "'none.csv' must be a table of comma-separated values; got FileNotF"),
        (["none.txt", "words"], "'none.txt' must be a text in UTF-8; got FileNotFoundError"),
        (["rows.csv", "net"], "A torch model must have columns of numbers; got column 'sex'."),
        (
            ["text.txt", "net"],
            "A model of texts must be called with a list of strings; got Sequent",
        ),
        (
            ["rows.csv", "broken"],
            "tables_of_mine:broken must return an estimator, a torch model or",
        ),
        (["rows.csv", "bought", "--target", "yess"], "A class must be one that exists; got 'yess'"),
        (["text.txt", "words", "rows.csv"], "The files must be photographs, or texts, or one tabl"),
    ],
)
def test_requests_that_cannot_be_met(arguments, message):
    assert message in explain(*arguments, method="occlusion", code=2)


def test_gradients_of_an_estimator():
    said = explain("rows.csv", "bought", method="saliency", code=2)
    assert "saliency must have a model that torch can follow; got the estimator Pipeline." in said
    assert "kernel_shap, lime, occlusion" in said


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.pt"])
def test_a_pickled_file_is_refused_and_not_read(name, folder):
    (folder / name).write_bytes(b"cos\nsystem\n(S'touch harmed'\ntR.")
    said = run("rows.csv", "--model", name, "--method", "occlusion", code=2)
    assert "A model must not be read from a pickled file, which runs the code that it holds" in said
    assert "--model package.module:factory" in said
    assert not (folder / "harmed").exists()


def test_a_model_of_the_zoo_does_not_read_tables():
    said = run("rows.csv", "--model", "nothing_known", "--method", "occlusion", code=2)
    assert "A model of the zoo must be one that exists; got 'nothing_known'" in said
