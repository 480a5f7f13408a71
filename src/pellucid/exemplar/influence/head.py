"""Where only the last layer is asked about: it alone, on the features that it reads.

The network then runs once over the data, however often the layer is differentiated.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.batching import Batcher, BatchSize, auto_rows
from pellucid.exemplar.influence.data import Labelled
from pellucid.exemplar.influence.fitted import Fitted
from pellucid.tape.paths import hooked


def head_of(fitted: Fitted, data: Labelled) -> nn.Linear | None:
    """The linear layer of the chosen parameters, if what it returns is what the network returns."""
    layers = {name.rpartition(".")[0] for name in fitted.names}
    found = fitted.model.get_submodule(layers.pop()) if len(layers) == 1 else None
    if type(found) is not nn.Linear or found is fitted.model:
        return None
    with torch.no_grad():
        given, returned, output = _run(fitted, found, data.read([0])[0])
    alone = len(given) == 1 and isinstance(given[0], Tensor) and len(given[0]) == 1
    return found if alone and returned[0] is output and isinstance(output, Tensor) else None


def alone(fitted: Fitted, head: nn.Linear) -> Fitted:
    """The last layer as a network of its own."""
    layer = fitted.names[0].rpartition(".")[0]
    state = {name: fitted.state[f"{layer}.{name}"] for name, _ in head.named_parameters()}
    names = tuple(name.removeprefix(f"{layer}.") for name in fitted.names)
    return Fitted(model=head, names=names, state=state)


def features(
    fitted: Fitted, head: nn.Linear, data: Labelled, batch_size: BatchSize, what: str
) -> Labelled:
    """The data with the features that the last layer reads instead of inputs, computed once."""
    first = fitted.placed(data.read([0])[0]).leaves[0]
    batcher = Batcher(batch_size, start=auto_rows(first, 1))

    def work(start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        inputs, labels = data.read(range(start, stop))
        with torch.no_grad():
            given, _, _ = _run(fitted, head, inputs)
        return given[0], labels

    parts = list(batcher.run(data.rows, work, what))
    held = torch.cat([part for part, _ in parts])
    known = [labels for _, labels in parts if labels is not None]
    answers = torch.cat(known) if known else None

    def read(rows: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        some = list(rows)
        return held[some], None if answers is None else answers[some]

    return replace(data, read=read)


def _run(fitted: Fitted, head: nn.Module, inputs: Any) -> tuple[list[Any], list[Any], Any]:
    """What the layer was given and returned, each time, and what the network returned."""
    given: list[Any] = []
    returned: list[Any] = []

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if module is head:
            given.append(args[0] if args else None)
            returned.append(output)

    with hooked(lambda *each: None, leave):
        output = fitted.call(fitted.theta, fitted.placed(inputs))
    return given, returned, output
