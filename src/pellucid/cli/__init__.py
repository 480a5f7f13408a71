"""The command line: one file for each command, or for a few of a kind.

Whatever needs torch is imported inside the commands, so that help comes at once.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from pellucid import __version__
from pellucid.cli import (
    counterfactual,
    diff,
    evaluate,
    explain,
    influence,
    inspect,
    lists,
    noise,
    similar,
    surrogate,
    tape,
)
from pellucid.errors import PellucidError, PellucidWarning


class Failure(click.ClickException):
    """An error of ours: one message, no traceback."""

    exit_code = 2


class Commands(click.Group):
    """Commands that show our own errors and warnings as sentences."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        # torch is not loaded yet. Its threads spin while they wait, which on a machine that is
        # also used by others makes small models five to ten times slower.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        try:
            with _warnings_as_sentences():
                return super().invoke(ctx)
        except PellucidError as error:
            raise Failure(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pellucid")
def main() -> None:
    """Make visible what a trained model knows: why it decided so, and how far to trust that."""


@contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    """Show what Python would show with a file and a line as one sentence, and once."""
    shown = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in shown:
            click.echo(f"warning: {message}", err=True)
        shown.add(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", PellucidWarning)
        warnings.showwarning = show  # catch_warnings puts the former one back
        yield


for _command in (
    explain.explain,
    evaluate.evaluate,
    diff.diff,
    noise.noise,
    inspect.inspect,
    similar.similar,
    influence.influence,
    counterfactual.counterfactual,
    surrogate.surrogate,
    tape.tape,
    lists.list_methods,
    lists.list_metrics,
):
    main.add_command(_command)
