"""The command that judges methods on a folder of photographs or a table."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import pellucid as pl
from pellucid.choices import chosen_metrics
from pellucid.datasets import dataset
from pellucid.errors import FileError, InputError, UnknownNameError
from pellucid.evaluate import Selectivity, diff
from tests.test_cli import MODULE, run

TABLES = """
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

def forest():
    rng = np.random.default_rng(0)
    import pandas as pd
    table = pd.DataFrame(rng.normal(size=(60, 3)), columns=["a", "b", "c"])
    return LogisticRegression().fit(table, np.where(table.a + table.b > 0, "yes", "no"))

def net():
    torch.manual_seed(0)
    return torch.nn.Linear(3, 2).eval()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with photographs of two classes, masks, a table and models."""
    rng = np.random.default_rng(0)
    for name in ("tench", "Goldfish"):
        for kind in ("photos", "masks"):
            (tmp_path / kind / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
            mask = np.zeros((20, 30), np.uint8)
            mask[:, :15] = 255
            Image.fromarray(mask).save(tmp_path / "masks" / name / f"{number}.png")
    table = pd.DataFrame(rng.normal(size=(12, 3)), columns=["a", "b", "c"])
    table["kind"] = np.where(table.a > 0, "yes", "no")
    table.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "models_of_mine.py").write_text(MODULE)
    (tmp_path / "tables_of_mine.py").write_text(TABLES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("models_of_mine", "tables_of_mine"):
        sys.modules.pop(name, None)


def open_(path="photos", model="models_of_mine:entry", column=None, masks=None, limit=None):
    return dataset(path, model, column=column, masks=masks, limit=limit)


def evaluate(*arguments, code=0, model="models_of_mine:entry", data="photos"):
    return run("evaluate", "--model", model, "--data", data, *arguments, code=code)


def test_folders_are_classes_whatever_their_case(folder):
    found = open_()
    assert found.labels.tolist() == [1] * 4 + [0] * 4
    assert found.samples.rows == 8
    assert found.samples.read(2, 5).shape == (3, 3, 16, 16)
    assert found.notes == ("labels: 2 classes, of 4 photographs each",)


def test_folders_may_be_named_with_underscores(folder):
    (folder / "photos" / "tench").rename(folder / "photos" / "Great_White_Shark")
    assert open_().labels.tolist() == [1] * 4 + [2] * 4  # Goldfish, Great_White_Shark


def test_folders_are_numbers_of_classes_where_a_model_names_none(folder):
    (folder / "photos" / "tench").rename(folder / "photos" / "2")
    (folder / "photos" / "Goldfish").rename(folder / "photos" / "0")
    assert open_(model="models_of_mine:make").labels.tolist() == [0] * 4 + [2] * 4


NAMED = """
def named(*classes):
    return Entry(name="named", model=make(), preprocess=Preprocessing(resize=16, size=16),
                 classes=classes)

def numbered():
    return named("1", "2", "0", "3")

def twins():
    return named("crane", "tench", "Crane", "heron")
"""


def test_names_of_classes_that_are_numbers_go_before_places(folder):
    with (folder / "models_of_mine.py").open("a") as file:
        file.write(NAMED)
    (folder / "photos" / "tench").rename(folder / "photos" / "2")
    (folder / "photos" / "Goldfish").rename(folder / "photos" / "0")
    assert open_(model="models_of_mine:numbered").labels.tolist() == [2] * 4 + [1] * 4


def test_a_name_of_two_classes_is_told(folder):
    with (folder / "models_of_mine.py").open("a") as file:
        file.write(NAMED)
    (folder / "photos" / "Goldfish").rename(folder / "photos" / "crane")
    found = open_(model="models_of_mine:twins")
    assert found.labels is None
    assert found.notes == ("labels: none, for 'crane' is the name of classes 0, 2 of named. Name "
                           "the folder by a number",)  # fmt: skip
    (folder / "photos" / "crane").rename(folder / "photos" / "2")
    found = open_(model="models_of_mine:twins")
    assert found.labels.tolist() == [2] * 4 + [1] * 4
    assert (found.index("TENCH"), found.index("2")) == (1, 2)
    said = "`--target` must be a number where several classes have one name; got 'crane'. Those of "
    with pytest.raises(InputError, match=f"{said}named have the numbers 0, 2"):
        found.index("crane")


def test_amounts_are_no_classes(folder):
    table = pd.read_csv(folder / "rows.csv")
    table = pd.concat([table] * 3, ignore_index=True).assign(kind=np.linspace(0, 1, 36))
    table.to_csv(folder / "rows.csv", index=False)
    found = open_("rows.csv", "tables_of_mine:net", column="kind")
    assert found.labels is None
    assert found.notes == ("labels: none, for kind is an amount, and no class",)


def test_photographs_are_read_when_their_turn_comes(folder):
    found = open_()
    before = found.samples.read(0, 1)
    (folder / "photos" / "Goldfish" / "0.png").write_bytes(
        (folder / "photos" / "Goldfish" / "1.png").read_bytes()
    )
    assert not torch.equal(found.samples.read(0, 1), before)
    assert torch.equal(found.samples.read(0, 1), found.samples.read(1, 2))


def test_broken_photographs_are_skipped_and_listed(folder):
    (folder / "photos" / "tench" / "bad.png").write_bytes(b"nothing")
    (folder / "photos" / "tench" / "cut.jpg").write_bytes(b"")
    (folder / "photos" / "tench" / "notes.txt").write_text("no photograph")
    found = open_()
    assert found.samples.rows == 8
    assert list(found.skipped) == ["tench/bad.png", "tench/cut.jpg"]
    assert "2 photographs could not be read, and left out" in found.notes
    assert any("an empty file" in note for note in found.notes)


def test_so_many_are_taken_evenly_spread(folder):
    found = open_(limit=4)
    assert found.labels.tolist() == [1, 1, 0, 0]
    assert torch.equal(found.samples.read(1, 2), open_().samples.read(2, 3))


@pytest.mark.parametrize(
    ("name", "note"),
    [("whale", "labels: none, for 'whale' is no class of tiny"), (None, "are in no folder")],
)
def test_folders_that_are_no_classes(folder, name, note):
    pixels = Image.new("RGB", (20, 20), "red")
    place = folder / "photos" / (name or "")
    place.mkdir(exist_ok=True)
    pixels.save(place / "one.png")
    found = open_()
    assert found.labels is None
    assert any(note in each for each in found.notes)


def test_masks_lie_as_the_model_sees_the_photograph(folder):
    found = open_(masks="masks").masks
    assert found.shape == (8, 16, 16)
    assert found.dtype is torch.bool
    assert found[:, :, :7].all()
    assert not found[:, :, 9:].any()


def test_rows_of_a_table_with_their_classes(folder):
    found = open_("rows.csv", "tables_of_mine:forest", column="kind")
    table = pd.read_csv(folder / "rows.csv")
    assert list(found.samples.read(0, 12).columns) == ["a", "b", "c"]
    assert found.labels.tolist() == (table.kind == "yes").astype(int).tolist()
    assert found.classes == ("no", "yes")
    assert found.index("yes") == 1


def test_a_torch_model_of_a_table_gets_tensors(folder):
    table = pd.read_csv(folder / "rows.csv")
    table["kind"] = (table.kind == "yes").astype(int)
    table.to_csv(folder / "rows.csv", index=False)
    found = open_("rows.csv", "tables_of_mine:net", column="kind", limit=6)
    assert found.samples.read(0, 6).shape == (6, 3)
    assert found.labels.tolist() == table.kind.iloc[::2].tolist()


def test_a_class_is_a_whole_number(folder):
    table = pd.read_csv(folder / "rows.csv")
    table["kind"] = np.linspace(0, 1, 12)
    table.to_csv(folder / "rows.csv", index=False)
    with pytest.raises(InputError, match="must be whole numbers; got .*0.09.* is between two cla"):
        open_("rows.csv", "tables_of_mine:net", column="kind")


def test_metrics_of_tables_take_other_rows_for_absence(folder):
    found = open_("rows.csv", "tables_of_mine:forest", column="kind")
    usual, own = found.fitted([Selectivity(), Selectivity(baseline=1.0)])
    assert repr(usual.baseline) != repr(Selectivity().baseline)
    assert own == Selectivity(baseline=1.0) or repr(own) == repr(Selectivity(baseline=1.0))


def test_the_command_writes_a_report(folder):
    (folder / "photos" / "tench" / "bad.png").write_bytes(b"nothing")
    text = evaluate("--methods", "saliency,gradcam", "--metrics", "effective_features", "--out",
                    "board.html", "--folder", "run")  # fmt: skip
    page = (folder / "board.html").read_text("utf-8")
    for word in ("effective_features (lower is better)", "saliency", "random", "board.html"):
        assert word in text
    assert "1 photograph could not be read" in text
    assert "tench/bad.png" in page
    assert "Data: photographs in photos." in page
    assert (folder / "run" / "settings.json").exists()
    again = evaluate("--methods", "saliency,gradcam", "--metrics", "effective_features", "--out",
                     "board.html", "--folder", "run")  # fmt: skip
    assert again == text


def test_the_command_judges_a_table(folder):
    text = evaluate("--methods", "occlusion,kernel_shap", "--option", "kernel_shap.samples=16",
                    "--label", "kind", model="tables_of_mine:forest", data="rows.csv")  # fmt: skip
    assert "selectivity (higher is better)" in text
    assert "occlusion" in text
    assert "background: rows of the same table" in text
    assert "Data: rows of rows.csv." in (folder / "report.html").read_text("utf-8")


def test_masks_and_options_of_metrics(folder):
    text = evaluate("--methods", "saliency", "--metrics", "energy_inside,effective_features",
                    "--masks", "masks", "--metric-option", "effective_features.features=None",
                    "--target", "tench", "--limit", "3")  # fmt: skip
    assert "3 samples" in text
    assert "energy_inside" in text


def test_explain_with_evidence(folder):
    arguments = ["--model", "models_of_mine:entry", "--method", "saliency"]
    photo = "photos/tench/0.png"
    assert "flipping" not in run("explain", photo, *arguments)
    text = run("explain", photo, *arguments, "--evidence")
    for term in ("flipping ", "sanity check ", "stability "):
        assert term in text
    assert '<dl class="judged"' in (folder / "report.html").read_text("utf-8")


def test_the_metrics_are_listed():
    text = run("metrics")
    assert "effective_features  EffectiveFeatures, lower is better" in text
    assert "needs masks" in text


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"path": "nowhere"}, FileError, "'nowhere' must be a folder of photographs, or a table .*"
         "; got 'nothing at that path'"),
        ({"path": "models_of_mine.py"}, FileError, "got 'a file of another kind'"),
        ({"path": "masks/../run_empty"}, FileError, "must be a folder"),
        ({"column": "kind"}, InputError, "`--label` must be for a table"),
        ({"masks": "nowhere"}, FileError, "'nowhere' must be a folder of masks"),
        ({"masks": "photos/tench"}, FileError, "must hold a mask for each photograph; got 'none "
         "for Goldfish/0.png'"),
        ({"path": "rows.csv", "model": "tables_of_mine:forest", "masks": "masks"}, InputError,
         "`--masks` must be for a folder"),
        ({"path": "rows.csv", "model": "tables_of_mine:forest", "column": "kin"}, UnknownNameError,
         "Did you mean 'kind'"),
        ({"path": "rows.csv", "model": "tables_of_mine:net", "column": "kind"}, InputError,
         "Classes of a model without names of them must be whole numbers"),
    ],
)  # fmt: skip
def test_messages(folder, given, error, message):
    with pytest.raises(error, match=message):
        open_(**given)


def test_a_folder_without_photographs(folder):
    (folder / "empty").mkdir()
    with pytest.raises(FileError, match="must hold at least one photograph that can be read; got"):
        open_("empty")


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ("", (), "`--metrics` must name at least one metric"),
        ("selectivty", (), "Did you mean 'selectivity'"),
        (None, ("road.steps=3",), "`--metric-option` must be for a metric that `--metrics` names"),
        (None, ("selectivity.stepz=3",), "Did you mean 'steps'"),
        (None, ("selectivity.steps=many",), "`selectivity.steps` must be a whole number"),
    ],
)
def test_metrics_of_the_command_line(names, options, message):
    with pytest.raises(InputError, match=message):
        chosen_metrics(names, options)


def test_metrics_with_options():
    first, second = chosen_metrics(None, ("selectivity.steps=7",))
    assert (first.steps, second.name) == (7, "effective_features")


# Two models


PAIR = """

def other():
    made = make()
    with torch.no_grad():
        made.head.weight.mul_(torch.tensor([1.0, -1.0, 1.0, -1.0]))
    return made

def brighter():
    return Entry(name="brighter", model=other(), classes=("tench", "goldfish", "great white shark"),
                 preprocess=Preprocessing(resize=16, size=16, mean=(0.1,) * 3, std=(0.3,) * 3))

def larger():
    return Entry(name="larger", model=make(), preprocess=Preprocessing(resize=24, size=24))

def two():
    return Entry(name="two", model=make(), preprocess=Preprocessing(resize=16, size=16),
                 classes=("a", "b"))

def other_entry():
    made = entry()
    return Entry(name="other", model=other(), preprocess=made.preprocess, classes=made.classes)
"""


@pytest.fixture
def pair(folder):
    with (folder / "models_of_mine.py").open("a") as file:
        file.write(PAIR)
    (folder / "tables_of_mine.py").write_text(
        TABLES
        + """

def turned():
    made = forest()
    made.coef_ = made.coef_[:, ::-1].copy()
    return made

def number():
    from sklearn.linear_model import LinearRegression
    import pandas as pd
    table = pd.read_csv("rows.csv")
    return LinearRegression().fit(table[["a", "b", "c"]], table.a)
"""
    )
    return folder


def compare(b, *arguments, a="models_of_mine:entry", code=1):
    return run("diff", a, f"models_of_mine:{b}" if ":" not in b else b, *arguments, code=code)


def test_a_model_does_not_differ_from_itself(pair):
    text = compare("entry", "photos", code=0)
    assert "Difference of lrp between two models on 8 samples" in text
    assert "0 of 8 explained differently" in text
    assert "moved, " not in text
    assert (pair / "diff.png").exists()


def test_what_differs_is_said_by_class_and_by_name_and_drawn(pair):
    text = compare("other_entry", "photos", "--method", "gradient_x_input", "--out", "d.png")
    a, b = (open_(model=f"models_of_mine:{each}") for each in ("entry", "other_entry"))
    x = a.samples.read(0, 8)
    found = diff(a.model, b.model, x, "gradient_x_input", labels=a.labels)
    assert str(found) in text
    assert found.worst
    for row in found.worst:
        assert f"sample {row}: {float(found.distance[row]):.0%} moved, {a.names[row]}" in text
    table = found.by_class()
    for name, changed in zip(("tench", "goldfish"), table.changed, strict=True):
        (line,) = [line for line in text.splitlines() if line.strip().startswith(f"{name} ")]
        assert line.split()[1:3] == ["4", str(changed)]
    with Image.open(pair / "d.png") as picture:
        assert picture.size[0] > 500


def test_the_tolerance_decides_on_the_exit_code(pair):
    ask = ("photos/tench/0.png", "photos/tench/1.png", "--method", "gradient_x_input")
    assert "on 2 samples" in compare("other_entry", *ask)
    compare("other_entry", *ask, "--tolerance", "1", code=0)
    compare("other_entry", *ask, "--limit", "1", "--target", "goldfish")


def test_each_model_sees_photographs_in_its_own_way(pair):
    text = compare("brighter", "photos", "--method", "gradient_x_input")
    a, b = (open_(model=f"models_of_mine:{each}") for each in ("entry", "brighter"))
    own = [each.samples.read(0, 8) for each in (a, b)]
    assert not torch.allclose(*own)
    maps = pl.explain(a.model, own[0], "gradient_x_input")
    others = pl.explain(b.model, own[1], "gradient_x_input", target=maps.target)
    moved = pl.evaluate.moved(maps, others)
    assert f"moved on the mean {float(moved.mean()):.1%}" in text


def test_two_models_of_a_table(pair):
    tables = "tables_of_mine:forest"
    text = compare(tables, "rows.csv", "--label", "kind", a=tables, code=0)
    assert "Difference of kernel_shap between two models on 12 samples" in text
    text = compare("tables_of_mine:turned", "rows.csv", a=tables)
    assert "row " in text.split("moved, ")[1]
    text = compare("tables_of_mine:number", "rows.csv", a="tables_of_mine:number", code=0)
    assert "other_class" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("larger", "photos"), "Two models must see samples of one kind and size to be compared; "
         "got float32[8, 3, 16, 16] on cpu for tiny and float32[8, 3, 24, 24]"),
        (("two", "photos"), "Two models must have the same classes to be compared; got 3 classes"),
        (("entry", "notes.txt"), "What is compared must be photographs, a folder of them, or one"),
        (("entry", "nowhere.png"), "nowhere.png must be a file that exists"),
        (("entry", "photos/tench/0.png", "--label", "kind"), "`--label` must be for a table"),
        (("entry", "photos", "--method", "lrp,saliency"), "`--method` must name one method"),
        (("entry", "photos", "--out", "d.jpg"), "`--out` must end in .png"),
        (("entry", "photos/tench/0.png", "--out", "photos/tench/0.png"), "must not overwrite"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(pair, arguments, message):
    (pair / "notes.txt").write_text("words")
    text = " ".join(compare(*arguments, code=2).split())
    assert message in text
    assert not (pair / "diff.png").exists()


def test_a_table_with_gaps_says_what_was_done(pair):
    table = pd.read_csv(pair / "rows.csv")
    table.loc[0, "a"] = np.nan
    table.to_csv(pair / "rows.csv", index=False)
    (pair / "tables_of_mine.py").write_text(
        TABLES
        + """

def tree():
    from sklearn.ensemble import HistGradientBoostingRegressor
    import pandas as pd
    table = pd.read_csv("rows.csv")
    return HistGradientBoostingRegressor(max_iter=2).fit(table[["a", "b", "c"]], table.b)
"""
    )
    text = evaluate("--methods", "lime", "--metrics", "effective_features",
                    model="tables_of_mine:tree", data="rows.csv")  # fmt: skip
    assert "lime: bins=4, for numbers are missing in some rows" in text
