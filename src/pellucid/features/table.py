"""The values of players as a table."""

from typing import TYPE_CHECKING

from torch import Tensor

from pellucid.errors import InputError
from pellucid.features.players import Players

if TYPE_CHECKING:
    import pandas as pd


def table(features: Players | None, values: Tensor | None, error: Tensor | None) -> "pd.DataFrame":
    """One row for each player of each sample, those of the largest absolute value first.

    Columns: sample, player, name, value, error (standard errors; nothing where none was sampled).

    >>> import torch
    >>> players = Players(labels=(torch.tensor([[0, 1]]),), count=2, names=(("age", "sex"),))
    >>> table(players, torch.tensor([[1.0, -2.0]]), None)["name"].tolist()
    ['sex', 'age']
    """
    import pandas as pd

    if features is None or values is None:
        raise InputError(
            "An explanation must be one of players to be listed by player",
            found="one of elements",
            hint="Take to_frame(), or a method that has the option `features`.",
        )
    alive = features.alive.cpu().expand(len(values), -1)
    sample, player = alive.nonzero().T.tolist()
    known = [features.named(row) for row in range(len(values))]
    frame = pd.DataFrame(
        {
            "sample": sample,
            "player": player,
            "name": [known[i][j] for i, j in zip(sample, player, strict=True)],
            "value": values.detach().cpu().double()[alive].numpy(),
            "error": float("nan")
            if error is None
            else error.detach().cpu().double()[alive].numpy(),
        }
    )
    frame["error"] = frame["error"].astype(float)
    order = frame["value"].abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].sort_values("sample", kind="stable").reset_index(drop=True)
