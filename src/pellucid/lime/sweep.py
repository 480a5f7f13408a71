"""How far a local explanation depends on the width of its kernel."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.explanation import Explanation
from pellucid.lime.fitted import models
from pellucid.lime.lime import LIME
from pellucid.options import number
from pellucid.structure import Inputs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# From a tenth to ten times the width that was used.
POINTS, REACH = 21, 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class WidthSweep:
    """The local models of every kernel width, fitted to the same draws.

    `widths` (sample, step), `values` (sample, step, player), `fidelity` (sample, step), the
    weighted R2 at that width, and `draws` (sample, step), the number of draws that the kernel
    leaves: (sum w)^2 / sum w^2. `used` (sample,) is the width of the explanation, `names` those of
    each sample's players.
    """

    widths: Tensor
    values: Tensor
    fidelity: Tensor
    draws: Tensor
    used: Tensor
    names: tuple[tuple[str, ...], ...]

    def flips(self) -> Tensor:
        """The fraction of widths at which each value has the other sign, (sample, player).

        It is compared with the value at the width that was used; zeros have no sign.
        """
        nearest = (self.widths.log() - self.used.log().unsqueeze(1)).abs().argmin(1)
        rows = torch.arange(len(self.values))
        signs = self.values.sign()
        return (signs * signs[rows, nearest].unsqueeze(1) < 0).double().mean(1)

    def plot(self, ax: "Axes | None" = None, *, row: int = 0, most: int = 8) -> "Axes":
        """Draw the values of one sample over the width: see `pellucid.plot.sweep.draw_sweep`."""
        from pellucid.plot.sweep import draw_sweep

        return draw_sweep(self, ax=ax, row=row, most=most)


def sweep_width(explanation: Explanation, widths: Sequence[float] | None = None) -> WidthSweep:
    """Fit the local models of an explanation again with other kernels; the model is not run.

        w(h) minimises sum over draws z of exp(-D(x, z)^2 / (2 h^2)) (f(z) - g(z'))^2, for each h

    Axes: see `WidthSweep`. `widths` are the same for all samples; without them, from a tenth to
    ten times the width that each sample was explained with.
    Law: at the width of the explanation, its values.

    >>> line = lambda x: (x * torch.tensor([2.0, -1.0])).sum(1, keepdim=True)
    >>> found = sweep_width(LIME()(line, torch.tensor([[1.0, 3.0]])), [0.2, 2.0])
    >>> found.values.round(decimals=6)
    tensor([[[ 2., -3.],
             [ 2., -3.]]], dtype=torch.float64)
    """
    method, players = explanation.method, explanation.features
    if not isinstance(method, LIME) or players is None:
        raise InputError(
            "The kernel width must be swept for an explanation by lime",
            found=f"one by {method.name}",
            hint='Make one by pellucid.explain(model, inputs, "lime").',
        )
    scores = explanation.evidence["scores"].cpu().double()
    used = explanation.evidence["draws"].cpu()
    space = method.space(inputs_of(explanation), players)
    own = method.widths(space).expand(len(scores))
    steps = _steps(own, widths)
    recipe = replace(method.recipe, runs=0)
    found = [models(space, scores, used, width, recipe) for width in steps.unbind(1)]
    return WidthSweep(
        widths=steps,
        values=torch.stack([each.values for each in found], 1),
        fidelity=torch.stack([each.fidelity for each in found], 1),
        draws=torch.stack([each.effective for each in found], 1),
        used=own,
        names=tuple(players.named(row) for row in range(len(scores))),
    )


def inputs_of(explanation: Explanation) -> Inputs:
    """The inputs of an explanation, with what it knows of their columns."""
    given, schema = explanation.inputs, explanation.schema
    if schema is None:
        return Inputs.of(given, explanation.batch_axis)
    return Inputs(leaves=(given,), tree=given, schema=schema)  # numbers may be missing


def _steps(own: Tensor, widths: Sequence[float] | None) -> Tensor:
    """The widths of each sample, (sample, step)."""
    if widths is None:
        low, high = torch.log10(torch.tensor([1 / REACH, REACH], dtype=torch.float64))
        return own.unsqueeze(1) * torch.logspace(low, high, POINTS, dtype=torch.float64)
    must = "the width of a kernel, above 0"
    found = [number(width, "widths", must, above=0) for width in widths]
    if not found:
        raise InputError("`widths` must hold at least one width", got=list(widths))
    return torch.tensor(found, dtype=torch.float64).expand(len(own), -1)
