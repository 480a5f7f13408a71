"""The command line: what it prints, what it writes, and how it fails."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import pellucid as pl
from pellucid.choices import DEFAULT_METHODS, chosen
from pellucid.cli import main
from pellucid.errors import InputError

COMMANDS = (
    *("counterfactual", "diff", "evaluate", "explain", "influence", "inspect", "methods"),
    *("metrics", "noise", "similar", "surrogate", "tape"),
)

MODULE = """
import torch
from pellucid.zoo import Entry, Preprocessing

calls = []

class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 4, 3, stride=4)
        self.head = torch.nn.Linear(4, 3)

    def forward(self, x):
        calls.append(len(x))
        return self.head(self.conv(x).relu().mean((2, 3)))

def make():
    return Tiny().eval()

def one_number():
    return torch.nn.Sequential(Tiny(), torch.nn.Linear(3, 1)).eval()

def training():
    model = torch.nn.Sequential(Tiny(), torch.nn.Dropout(0.5))
    return model.train()

def entry():
    names = ("tench", "goldfish", "great white shark")
    return Entry(name="tiny", model=make(), preprocess=Preprocessing(resize=16, size=16),
                 classes=names, source="this test")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a photograph and a module of models."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    (tmp_path / "models_of_mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("models_of_mine", None)


def run(*arguments, code=0):
    """Run a command; what it prints, and its errors."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output.replace("\N{NO-BREAK SPACE}", " ")


def explain(*arguments, model="models_of_mine:entry", method="saliency,gradcam", code=0):
    given = ["--model", model, "--method", method]
    return run("explain", *(arguments or ["photo.png"]), *given, code=code)


def calls():
    return sys.modules["models_of_mine"].calls if "models_of_mine" in sys.modules else []


def fresh(*calls):
    """Run in a fresh interpreter; what is printed, and the modules that are loaded."""
    code = (
        "import sys\nfrom pellucid.cli import main\n"
        f"for call in {[list(each) for each in calls]!r}:\n"
        "    try: main(call)\n    except SystemExit as e: assert not e.code\n"
        "print('MODULES', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(pl.__file__).parents[1],  # the package that is tested, not one installed
    )
    text, _, loaded = done.stdout.partition("MODULES")
    return text, set(loaded.split())


def test_help_comes_at_once():
    text, loaded = fresh(["--help"], *([each, "--help"] for each in COMMANDS))
    assert text.count("Usage:") == 1 + len(COMMANDS)
    assert loaded.isdisjoint({"torch", "numpy", "matplotlib", "jinja2", "PIL", "pandas"})
    assert sorted(main.commands) == list(COMMANDS)


def test_the_probe_of_imports_can_fail():
    assert "torch" in fresh(["methods"])[1]


def test_waiting_threads_give_way(monkeypatch):
    """Unless the user wants otherwise."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    run("methods")
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    run("methods")
    assert os.environ["OMP_WAIT_POLICY"] == "active"


def test_the_version():
    assert pl.__version__ in run("--version")


def test_explain_says_and_writes_what_it_found(folder):
    text = explain()
    assert re.search(r"\d+\.\d %  (tench|goldfish|great white shark) \(\d\)", text)
    assert "explained: the score of “" in text
    for line in ("Saliency", "GradCAM", "evidence", "claims no completeness", "1 backward"):
        assert line in text
    assert "<h3>GradCAM</h3>" in (folder / "report.html").read_text("utf-8")
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "report.html" in text
    assert "report.png" in text


def test_several_photos_have_a_section_each(folder):
    (folder / "other.png").write_bytes((folder / "photo.png").read_bytes())
    text = explain("photo.png", "other.png", "--out", "two.html")
    page = (folder / "two.html").read_text("utf-8")
    assert [page.count(f"<h2>{name}</h2>") for name in ("photo.png", "other.png")] == [1, 1]
    assert text.index("photo.png") < text.index("other.png")


def test_the_top_classes_are_explained_and_can_be_switched(folder):
    (folder / "other.png").write_bytes((folder / "photo.png").read_bytes())
    text = explain("photo.png", "other.png", "--top", "2")
    page = (folder / "report.html").read_text("utf-8")
    assert text.count("  explained: the score of “") == 4
    assert page.count('type="radio"') == 4
    assert page.count('<article class="panel image"') == 8
    assert '<nav aria-label="Samples"' in page
    assert "The tape: the " in page
    likely = re.findall(r"%  (.*) \(\d\)", text)[:2]
    for name in likely:
        assert f"<span>{name}</span></label>" in page
    assert explain("photo.png", "--top", "9").count("  explained:") == 3, "as many as there are"


def test_top_needs_classes_and_no_target(folder):
    given = ["photo.png", "--top", "2"]
    assert "must not be given both; got '--top 2'" in explain(*given, "--target", "1", code=2)
    assert calls() == []
    text = explain(*given, model="models_of_mine:one_number", method="saliency", code=2)
    assert "`--top` must be for a model with classes; got float32[1, 1]" in text


@pytest.mark.parametrize("target", ["2", "great white shark", "Great White Shark"])
def test_a_target_by_number_and_by_name(folder, target):
    assert "the score of “great white shark”" in explain("photo.png", "--target", target)


def test_options_of_methods(folder):
    text = explain("photo.png", "--option", "saliency.reduce=absolute", "--batch-size", "1")
    assert "of all is negative" not in text.partition("GradCAM")[0]
    assert "Saliency(reduce=&#39;absolute&#39;" in (folder / "report.html").read_text("utf-8")


def test_a_model_of_ones_own_is_shown_imagenet_photos(folder):
    text = explain(model="models_of_mine:make", method="saliency")
    assert "class 0" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.png"], r"Error: none\.png must be a file that exists"),
        (["models_of_mine.py"], r"must be an image that can be read"),
        (
            ["photo.png", "--out", "no/report.html"],
            r"folder of 'no/report\.html' must exist.*mkdir",
        ),
        (["photo.png", "--out", "report.txt"], r"`--out` must end in \.html; got 'report\.txt'"),
        (["photo.png", "--target", "goldfsh"], r"A class .*Did you mean 'goldfish'\?"),
        (["photo.png", "--target", "-1"], r"a class by name, or by number from 0; got -1"),
        ([""], r"A photo must be named by its path; got an empty name"),
        (["photo.png", "--target", "3"], r"a class of the output, from 0 to 2; got 3"),
        (["photo.png", "--option", "saliency.reduc=1"], r"option of saliency.*mean 'reduce'\?"),
        (["photo.png", "--option", "saliency"], r"must be METHOD\.KEY=VALUE; got 'saliency'"),
        (["photo.png", "--option", "lrp.rules=1"], r"that `--method` names.*saliency, gradcam"),
    ],
)
def test_mistakes_get_a_sentence(folder, arguments, said):
    text = explain(*arguments, code=2)
    assert re.search(said, text), text
    assert calls() == [] or "--target" in arguments, "found before the model is run"
    assert not list(folder.glob("*.html"))
    assert not list(folder.glob("report.png"))


def test_a_method_or_model_that_does_not_exist(folder):
    assert "Did you mean 'gradcam'?" in explain(method="gradcma", code=2)
    assert "must name at least one method" in explain(method=" , ", code=2)
    assert "Did you mean 'efficientnet_lite0'?" in explain(model="efficientnet_light0", code=2)


def test_a_report_that_cannot_be_written_is_known_before_the_work(folder):
    (folder / "report.png").mkdir()
    assert "report.png' must be a file that can be written; got 'a folder'" in explain(code=2)
    assert calls() == []
    assert not (folder / "report.html").exists()


def test_warnings_are_sentences(folder):
    text = explain(model="models_of_mine:training", method="saliency")
    assert re.search(r"^warning: The model is in training mode", text, re.MULTILINE)
    assert ".py:" not in text


def test_a_missing_argument_and_a_bad_number():
    assert "Missing argument 'FILE...'" in run("explain", code=2)
    assert "0 is not in the range x>=1" in run("explain", "a.png", "--batch-size", "0", code=2)
    assert "21 is not in the range 1<=x<=20" in run("explain", "a.png", "--top", "21", code=2)


def test_methods_lists_the_registry():
    text = run("methods")
    for name, method in pl.methods().items():
        assert re.search(rf"^{name}  {method.__name__}$", text, re.MULTILINE)
        assert method.answers in text
    assert "samples=50" in text


def test_the_default_methods_exist():
    assert [method.name for method in chosen(None, ())] == list(DEFAULT_METHODS)
    (refined,) = (m for m in chosen(None, ["lrp.composite=epsilon"]) if m.name == "lrp")
    assert refined.composite == "epsilon"


@pytest.mark.parametrize("photo", [[], ["photo.png"]])
def test_tape_prints_the_operations(folder, photo):
    text = run("tape", *photo, "--model", "models_of_mine:entry")
    assert "convolution" in text
    assert "conv" in text
    assert "relu" in text


def test_a_photo_is_not_overwritten_by_the_picture_of_it(folder):
    before = (folder / "photo.png").read_bytes()
    text = run(
        "explain", "photo.png", "--model", "models_of_mine:entry", "--out", "photo.html", code=2
    )
    assert "must not overwrite a photo" in text
    assert (folder / "photo.png").read_bytes() == before
    assert not (folder / "photo.html").exists()


def test_an_option_of_the_wrong_type_is_a_message(folder):
    options = ["--method", "smoothgrad", "--option", "smoothgrad.noise=abc"]
    text = run("explain", "photo.png", "--model", "models_of_mine:entry", *options, code=2)
    assert "`smoothgrad.noise` must be a finite number; got 'abc'. The default is 0.15." in text


@pytest.mark.parametrize(
    ("given", "read"),
    [("false", False), ("No", False), ("off", False), ("YES", True), ("on", True)],
)
def test_an_option_that_is_on_or_off(given, read):
    (made,) = chosen("gradcam", (f"gradcam.relu={given}",))
    assert made.relu is read


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("gradcam.relu=perhaps", "`gradcam.relu` must be true or false; got 'perhaps'. Or: yes"),
        ("gradcam.relu=0", "`gradcam.relu` must be true or false; got 0"),
        ("smoothgrad.noise=nan", "`smoothgrad.noise` must be a finite number; got 'nan'"),
        ("smoothgrad.noise=-1e999", "`smoothgrad.noise` must be a finite number; got -inf"),
        ("smoothgrad.samples=inf", "`smoothgrad.samples` must be a whole number; got 'inf'"),
    ],
)
def test_an_option_that_is_neither(option, said):
    with pytest.raises(InputError, match=re.escape(said)):
        chosen("gradcam,smoothgrad", (option,))


def test_a_picture_of_somebody_else_is_kept(folder):
    explain("photo.png", "--out", "mine.html")
    explain("photo.png", "--out", "mine.html")  # its own picture may be drawn anew
    drawn = (folder / "mine.png").read_bytes()
    (folder / "cat.png").write_bytes((folder / "photo.png").read_bytes())
    text = explain("photo.png", "--out", "cat.html", code=2)
    assert "cat.png, where the picture goes, must not hold another picture" in text
    assert (folder / "cat.png").read_bytes() == (folder / "photo.png").read_bytes() != drawn
    assert not (folder / "cat.html").exists()


def test_the_report_is_written_before_the_words(folder, monkeypatch):
    def stop(section):
        raise BrokenPipeError

    monkeypatch.setattr("pellucid.cli.explain._say", stop)
    CliRunner().invoke(main, ["explain", "photo.png", "--model", "models_of_mine:entry"])
    assert (folder / "report.html").exists()
    assert (folder / "report.png").exists()


def test_a_factory_that_fails_is_a_message(folder):
    (folder / "models_of_mine.py").write_text(MODULE + "\ndef boom(): raise RuntimeError('why')\n")
    text = explain(model="models_of_mine:boom", code=2)
    assert "models_of_mine:boom must return a model" in text
    assert "RuntimeError: why" in text
    (folder / "broken_of_mine.py").write_text("import models_that_are_nowhere")
    text = explain(model="broken_of_mine:make", code=2)
    assert "The module broken_of_mine must run when it is imported" in text


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "pellucid", "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(pl.__file__).parents[1],
    )
    assert done.stdout == f"pellucid, version {pl.__version__}\n"


@pytest.mark.parametrize(("mode", "top"), [("F", 1.0), ("I", 200)])
def test_a_photo_of_unknown_range_is_refused(folder, mode, top):
    Image.new(mode, (20, 20), top).save(folder / "odd.tiff")
    text = run("explain", "odd.tiff", "--model", "models_of_mine:entry", code=2)
    assert "must have 8 or 16 bits for each color" in text
