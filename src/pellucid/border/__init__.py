"""The border: what users have, turned into tensors and callables on tensors, and back.

Estimators, data frames, arrays and lists of texts are taken here once; inside there are none.

    >>> import pandas as pd
    >>> import pellucid as pl
    >>> def price(houses):
    ...     return 2.0 * houses["rooms"] + 5.0 * (houses["town"] == "Ulm")
    >>> house = pd.DataFrame({"rooms": [4], "town": ["Ulm"]})
    >>> other = pd.DataFrame({"rooms": [1], "town": ["Bonn"]})
    >>> found = pl.explain(price, house, "exact_shapley", baseline=other)
    >>> found.by_player()[["name", "value"]].values.tolist()
    [['rooms = 4', 6.0], ['town = Ulm', 5.0]]
"""

from pellucid.border.asked import Asked, asked
from pellucid.border.schema import Schema

__all__ = ["Asked", "Schema", "asked"]
