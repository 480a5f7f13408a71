"""What the documentation shows runs, and what it names exists."""

import re
from pathlib import Path

import pytest

import pellucid as pl

ROOT = Path(__file__).parent.parent
PAGES = [path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")] if path.is_file()]
BLOCK = re.compile(r"^```python[ ]*(?P<flags>[^\n]*)\n(?P<code>.*?)^```", re.M | re.S)


def examples(page: Path) -> list[str]:
    """The Python of a page, block by block; `no-run` after the language leaves one out."""
    return [m["code"] for m in BLOCK.finditer(page.read_text()) if "no-run" not in m["flags"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_run(page, tmp_path, monkeypatch):
    """The blocks of a page run one after another, in a folder that sees the gallery."""
    (tmp_path / "gallery").symlink_to(ROOT / "gallery")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "example"}
    for number, code in enumerate(examples(page)):
        exec(compile(code, f"{page.name}, example {number}", "exec"), names)


def test_an_example_that_fails_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\n1 / 0\n```\n\n```python no-run\nno()\n```\n")
    assert examples(page) == ["1 / 0\n"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page):
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:src|tests|docs|tools|bench|gallery)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def test_the_version_has_a_changelog():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{pl.__version__}]" in text or "## [Unreleased]" in text


def test_the_makefile_explains_every_target():
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split()
    explained = re.findall(r"^([a-z-]+):.*## \S", text, re.M)
    assert sorted(phony) == sorted(explained)


def test_the_page_on_evaluation_lists_every_metric_as_it_is():
    text = (ROOT / "docs/evaluation.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.M))
    for name, metric in pl.evaluate.metrics().items():
        needs = ", ".join(sorted(metric.needs))
        said = f"{metric.answers} | {metric.better} | {needs} | {metric.weakness}"
        assert rows.pop(name) == said
    assert not rows
