"""Weigh the source: size of files and functions, inheritance, repeated prose, asserts, exports.

Prints one line a measure and exits with 1 where one is over its budget.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

SOURCE = Path(__file__).parent.parent / "src" / "pellucid"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Measure(NamedTuple):
    """A number, the most that it may be, and where it was found."""

    what: str
    value: float
    budget: float
    where: str = ""


def code_lines(node: ast.AST, lines: list[str]) -> int:
    """Count the lines of a function that are neither blank, comment nor docstring."""
    text = {n for s in docstrings(node) for n in range(s.lineno, (s.end_lineno or s.lineno) + 1)}
    numbers = range(node.lineno, (node.end_lineno or node.lineno) + 1)
    kept = [lines[n - 1].strip() for n in numbers if n not in text]
    return sum(1 for line in kept if line and not line.startswith("#"))


def docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Yield the docstrings in a tree, as nodes."""
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            yield node.body[0].value


def depth(name: str, bases: dict[str, list[str]]) -> int:
    """Count the classes of ours that a class descends from, itself included."""
    return 1 + max((depth(base, bases) for base in bases[name] if base in bases), default=0)


def base_names(node: ast.ClassDef) -> list[str]:
    """Name the bases of a class as they are written; those of errors are a tree of their own."""
    return [base.id for base in node.bases if isinstance(base, ast.Name)]


def measures(source: Path) -> list[Measure]:
    """Measure every file below a folder."""
    texts = {path: path.read_text() for path in sorted(source.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    nodes = [(path, node) for path, tree in trees.items() for node in ast.walk(tree)]

    files = {str(path.relative_to(source)): len(text.splitlines()) for path, text in texts.items()}
    functions = {
        f"{path.relative_to(source)}:{node.lineno} {node.name}": code_lines(
            node, texts[path].splitlines()
        )
        for path, node in nodes
        if isinstance(node, ast.FunctionDef)
    }
    bases = {
        node.name: base_names(node)
        for path, node in nodes
        if isinstance(node, ast.ClassDef) and path.name != "errors.py"
    }
    depths = {name: depth(name, bases) for name in bases}
    prose = Counter(
        line.strip()
        for tree in trees.values()
        for text in docstrings(tree)
        for line in text.value.splitlines()
        if len(line.strip()) >= 40
    )
    repeats = sum(prose.values()) - len(prose)
    asserts = [str(path) for path, node in nodes if isinstance(node, ast.Assert)]
    ignores = sum(text.count("# type: ignore") for text in texts.values())
    exports = next(
        len(node.value.keys)
        for node in trees[source / "__init__.py"].body
        if isinstance(node, ast.Assign) and node.targets[0].id == "_HOMES"
    )
    return [
        largest("lines of a file", files, 400),
        largest("code lines of a function", functions, 40),
        Measure("code lines of a function, median", median(functions.values()), 8),
        largest("depth of inheritance", depths, 2),
        Measure("% of docstring lines repeated", 100 * repeats / max(1, sum(prose.values())), 5),
        Measure("asserts", len(asserts), 0, ", ".join(asserts)),
        Measure("type: ignore", ignores, 10),
        Measure("public names", exports, 64),
        Measure("lines in all", sum(files.values()), float("inf"), f"{len(files)} files"),
    ]


def largest(what: str, found: dict[str, int], budget: int) -> Measure:
    """The largest of several values, and all places that are over the budget."""
    over = [name for name, value in found.items() if value > budget]
    value = max(found.values())
    return Measure(what, value, budget, ", ".join(over or [max(found, key=found.get)]))


def main() -> int:
    """Print the measures; 1 if one is over its budget."""
    found = measures(SOURCE)
    for measure in found:
        mark = "over" if measure.value > measure.budget else "    "
        budget = "" if measure.budget == float("inf") else f"/ {measure.budget:g}"
        row = f"{mark} {measure.what:34} {measure.value:7.4g} {budget:6} {measure.where}"
        print(row.rstrip())
    return int(any(measure.value > measure.budget for measure in found))


if __name__ == "__main__":
    sys.exit(main())
