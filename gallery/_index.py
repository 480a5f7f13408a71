"""Run scripts of the gallery, and write its page from what they say and measure.

python gallery/_index.py          # all of them
python gallery/_index.py lrp      # one
"""

import ast
import difflib
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

HEAD = """# Gallery

One idea each: what a method shows on a real photograph, a text or a signal, and where it misleads.
`make gallery` runs all of them, draws their pictures anew and writes this page. Each is a short
script that is meant to be read:

    .venv/bin/python gallery/cams.py

The photographs are free of copyright restrictions: `gallery/photos/CREDITS.md`.
"""


def scripts():
    """All scripts of the gallery, in the order of the alphabet."""
    return sorted(HERE.glob("[a-z]*.py"))


def run(script):
    """Run a script, show what it prints as it comes, and keep what it measured."""
    print(f"== {script.stem}", flush=True)
    command = [sys.executable, "-u", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [show(line) for line in process.stdout]
    if process.returncode:
        sys.exit(process.returncode)
    kept = [line for line in lines if not line.startswith("drew ")]
    measured(script).write_text("".join(kept))


def show(line):
    """Print a line, and give it back."""
    print(line, end="", flush=True)
    return line


def measured(script):
    """Where the numbers of a script are kept, beside its pictures."""
    return HERE / "pictures" / f"{script.stem}.txt"


def pictures(script):
    """The names of the pictures that a script saves."""
    calls = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.Call)]
    saved = [call for call in calls if getattr(call.func, "id", "") == "save"]
    return [call.args[-1].value for call in sorted(saved, key=lambda call: call.lineno)]


def section(script):
    """A script's title, what it says of itself, its pictures, and what it measured."""
    title, _, text = ast.get_docstring(ast.parse(script.read_text())).partition("\n\n")
    shows, misleads = re.split(r"\n(?=Misleads )", text)
    shown = [f"![{title}](pictures/{name}.webp)" for name in pictures(script)]
    numbers = f"```text\n{measured(script).read_text().rstrip()}\n```"
    heading = f"## [{script.stem}]({script.name})"
    return "\n\n".join([heading, f"**{title}**", *shown, shows, misleads, numbers])


def page():
    """The whole page."""
    return "\n\n".join([HEAD.rstrip(), *map(section, scripts())]) + "\n"


def main(names):
    """Run the scripts of these names, or all, and write the page."""
    known = {script.stem: script for script in scripts()}
    if {"-h", "--help"} & set(names):
        sys.exit(print(__doc__, "The scripts: ", ", ".join(known), sep="\n"))
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4) or known
            sys.exit(f"no script {name!r} in gallery/; perhaps: {', '.join(near)}")
    chosen = [known[name] for name in names or known]
    for script in chosen:
        run(script)
    (HERE / "README.md").write_text(page())
    print(f"wrote gallery/README.md after {len(chosen)} of {len(scripts())} scripts")


if __name__ == "__main__":
    main(sys.argv[1:])
