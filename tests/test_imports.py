"""Imports go one way, and what is not needed is not imported."""

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import pellucid as pl

SOURCE = Path(pl.__file__).parent

# From the top to the bottom: a module imports, when it is loaded, only from lines above its own.
LAYERS = [
    ["errors", "lazy"],
    ["dispatch", "file", "options", "remarks", "registry", "seeding", "bootstrap"],
    ["structure"],
    ["pooling", "inpainting"],
    ["background"],
    ["memory"],
    ["batching"],
    ["target", "baseline", "features"],
    ["outputs"],
    ["program"],
    ["tape"],
    ["explanation"],
    ["tokens", "words"],
    ["case"],
    ["at", "attached", "inside", "sharing", "game"],
    ["border"],
    ["answer"],
    ["method"],
    ["codec"],
    ["archive"],
    ["run"],
    ["gradient", "propagate"],
    ["cam"],
    ["lime", "perturb", "shapley"],
    ["evaluate"],
    ["inspect"],
    ["exemplar"],
    ["diagnose"],
    ["survey"],
    ["zoo"],
    ["plot"],
    ["report"],
    ["choices"],
    ["subjects"],
    ["folders"],
    ["datasets"],
    ["cli"],
    ["__main__"],
    ["pytest_plugin"],
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
RANK |= {"": -1, "__version__": -1}  # the package itself, which loads nothing


def home(module: str) -> str:
    """The room or file directly below the package: pellucid.tape.walk -> tape."""
    return module.removeprefix("pellucid").lstrip(".").partition(".")[0]


def imported(path: Path) -> list[str]:
    """What of the package a file imports while it is loaded, for more than its types."""
    found, open_nodes = [], list(ast.parse(path.read_text()).body)
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "pellucid":
                found += [f"pellucid.{alias.name}" for alias in node.names]
            else:
                found.append(node.module)
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        open_nodes += ast.iter_child_nodes(node)
    return [name for name in found if name.partition(".")[0] == "pellucid"]


FILES = [path for path in sorted(SOURCE.rglob("*.py")) if path != SOURCE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_import_arrow(path):
    name = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert name in RANK, f"{name} has no place in the order of imports"
    wrong = [m for m in imported(path) if home(m) != name and RANK[home(m)] >= RANK[name]]
    assert wrong == []


def test_the_page_on_design_draws_the_same_arrow():
    page = (SOURCE.parent.parent / "docs" / "design.md").read_text()
    (arrow,) = [line for line in page.splitlines() if line.startswith("errors, lazy < ")]
    drawn = [layer.split(", ") for layer in arrow.split(" < ")]
    assert drawn == [layer for layer in LAYERS if layer != ["__main__"]]


def test_the_arrow_can_be_broken(tmp_path):
    """What the test above looks for is found, in every way it can be written."""
    file = tmp_path / "case.py"
    file.write_text(
        "import pellucid.cli\nfrom pellucid import plot\ntry:\n    from pellucid.tape import walk\n"
        "except ImportError: pass\nif TYPE_CHECKING:\n    import pellucid.zoo\n"
        "def f():\n    import pellucid.report\n"
    )
    assert sorted(imported(file)) == ["pellucid.cli", "pellucid.plot", "pellucid.tape"]


def loaded_after(code: str) -> set[str]:
    """The modules that are loaded after running some code in a fresh interpreter."""
    code += "\nimport sys; print('\\n'.join(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=SOURCE.parent,
    )
    return set(out.stdout.split())


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import pellucid", ["torch", "matplotlib", "pandas", "scipy", "sklearn", "PIL", "jinja2"]),
        ("import pellucid as pl; pl.explain", ["matplotlib", "pandas", "sklearn", "jinja2", "PIL"]),
        ("import pellucid as pl; pl.methods()", ["matplotlib", "pandas", "sklearn", "jinja2"]),
        ("import pellucid.cli", ["torch", "matplotlib", "pandas", "scipy", "sklearn"]),
        ("import pellucid.report", ["pellucid.inspect.passes", "pellucid.exemplar.prototypes"]),
    ],
)
def test_nothing_is_imported_before_it_is_used(code, absent):
    loaded = loaded_after(code)
    assert "pellucid" in loaded
    assert loaded.isdisjoint(absent)


def test_public_names_all_exist():
    for name in pl.__all__:
        assert getattr(pl, name) is not None
        # A module of the same name takes the place of a function as soon as it is imported.
        assert isinstance(getattr(pl, name), ModuleType) == (name in pl._MODULES)
    assert pl.__all__ == sorted(pl.__all__)
    assert set(pl.__all__) <= set(dir(pl))


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="has no attribute 'explian'"):
        _ = pl.explian
