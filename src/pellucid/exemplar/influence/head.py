"""Where only the last layer is asked about: it alone, on the features that it reads.

The network then runs once over the data, however often the layer is differentiated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pellucid.exemplar.influence.data import Labelled
from pellucid.exemplar.influence.fitted import Fitted
from pellucid.exemplar.influence.objective import Batch, Objective
from pellucid.structure import Inputs
from pellucid.tape.paths import hooked

# Slopes that differ by a smaller part are the same, but for rounding.
NEAR = 1e-4


class Run(NamedTuple):
    """What a layer was given and returned, each time, and what the network returned."""

    given: list[Any]
    returned: list[Any]
    output: Any

    def ends(self, shape: Sequence[int] = ()) -> bool:
        """Whether the layer ran once, on so large features, and what it said is the answer."""
        once = len(self.given) == 1 and isinstance(self.given[0], Tensor)
        alike = once and (not shape or self.given[0].shape == tuple(shape))
        return alike and isinstance(self.output, Tensor) and self.returned[0] is self.output


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """The last layer of a network, by its `path`; of an example it reads features of a `shape`."""

    layer: nn.Linear
    path: str
    shape: torch.Size

    @classmethod
    def of(cls, objective: Objective) -> "Head | None":
        """The linear layer of the chosen parameters, if nothing else is made of these."""
        fitted = objective.fitted
        path, *others = {name.rpartition(".")[0] for name in fitted.names}
        found = fitted.model.get_submodule(path)
        own = {f"{path}.{name}" for name, _ in found.named_parameters()}
        if others or type(found) is not nn.Linear or not path or not own <= set(fitted.state):
            return None
        first = objective.batch([0])
        with torch.no_grad():
            run = _run(fitted, found, first.inputs)
        if not run.ends() or len(run.given[0]) != 1:
            return None
        made = cls(layer=found, path=path, shape=run.given[0].shape[1:])
        return made if made._is_all(fitted, first, run.given[0]) else None

    def alone(self, fitted: Fitted) -> Fitted:
        """The last layer as a network of its own."""
        own = [name for name, _ in self.layer.named_parameters()]
        state = {name: fitted.state[f"{self.path}.{name}"] for name in own}
        names = tuple(name.removeprefix(f"{self.path}.") for name in fitted.names)
        return Fitted(model=self.layer, names=names, state=state)

    def features(self, objective: Objective, data: Labelled, what: str) -> Labelled | None:
        """The data with the features that the layer reads instead of inputs, computed once.

        There are none where the layer does not end the network for all of the data.
        """
        fitted, parts = objective.fitted, []
        labelled = data.read([0])[1] is not None
        held = objective.theta.new_empty(data.rows, *self.shape)

        def work(batch: Batch) -> tuple[Run, Batch]:
            with torch.no_grad():
                return _run(fitted, self.layer, batch.inputs), batch

        for run, batch in objective.over(work, what, data=data):
            if not run.ends((len(batch.rows), *self.shape)):
                return None
            held[list(batch.rows)] = run.given[0]
            parts.append(batch.labels)
        answers = torch.cat(parts) if labelled else None

        def read(rows: Sequence[int]) -> tuple[Tensor, Tensor | None]:
            some = list(rows)
            return held[some], None if answers is None else answers[some]

        return replace(data, read=read)

    def _is_all(self, fitted: Fitted, first: Batch, given: Tensor) -> bool:
        """Whether the slope of an answer in the parameters is that of the layer alone.

        A weight may be used elsewhere too, as one that an embedding shares.
        """
        whole, own = fitted.slope(first.inputs), self.alone(fitted).slope(Inputs.of(given))
        return float((whole - own).norm()) <= NEAR * float(own.norm())


def _run(fitted: Fitted, head: nn.Module, inputs: Inputs) -> Run:
    """Run a network, with an eye on one of its layers."""
    given: list[Any] = []
    returned: list[Any] = []

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if module is head:
            given.append(args[0] if args else None)
            returned.append(output)

    with hooked(lambda *each: None, leave):
        output = fitted.call(fitted.theta, inputs)
    return Run(given, returned, output)
