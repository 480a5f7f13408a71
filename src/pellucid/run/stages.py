"""A long run in stages: what a stage found is kept, and an interrupted run goes on behind it."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from pellucid.run.folder import RunFolder, run_folder

Found = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stages:
    """The folder of a run, if it has one, and the bar that shows how far it is."""

    folder: RunFolder | None
    bar: Any

    def inner(self, name: str) -> Path | None:
        """The folder of a run that is one of the stages, if there is a folder."""
        return None if self.folder is None else self.folder.path / name

    def find(self, name: str, what: str, compute: Callable[[], Found]) -> Found:
        """What the stage of a name found, before or now; `what` it is about is shown."""
        file = f"{name}.safetensors"
        self.bar.set_postfix_str(what)
        if self.folder is not None and self.folder.has(file):
            found = self.folder.tensors(file)
        else:
            found = {key: each.detach().cpu() for key, each in compute().items()}
            if self.folder is not None:
                self.folder.write_tensors(file, found)
        self.bar.update()
        return found


@contextmanager
def stages(
    folder: str | os.PathLike[str] | None,
    settings: Callable[[], Mapping[str, Any]],
    total: int | None = None,
    what: str = "stages",
) -> Iterator[Stages]:
    """Go through so many stages, with the time that is left on a terminal.

    `settings` are what decides the answers; they are asked for where there is a folder.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as place:
    ...     for value in (1.0, 2.0):  # the second time, the first is known
    ...         with stages(place, lambda: {"seed": 0}, 1) as run:
    ...             print(run.find("sum", "the sum", lambda: {"sum": torch.tensor(value)})["sum"])
    tensor(1.)
    tensor(1.)
    """
    with tqdm(total=total, desc=what, unit="stage", leave=False, disable=None) as bar:
        if folder is None:
            yield Stages(folder=None, bar=bar)
            return
        with run_folder(folder, settings()) as opened:
            yield Stages(folder=opened, bar=bar)
