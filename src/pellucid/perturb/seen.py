"""What a learned mask leaves of the inputs, to be looked at or asked about again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

from pellucid.baseline import Baseline
from pellucid.errors import InputError
from pellucid.explanation import Explanation
from pellucid.options import one_of
from pellucid.perturb.extremal import LEVELS, WIDEST, ExtremalPerturbation
from pellucid.perturb.mask import WIDTH, MeaningfulPerturbation
from pellucid.perturb.mask_levels import between
from pellucid.perturb.mask_search import SIDES, fade
from pellucid.perturb.mask_sheets import sheet_of
from pellucid.structure import Inputs, Structure

Side: TypeAlias = Literal["within", "without"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """The inputs of an explanation within its mask, or without what the mask holds.

        within:   m x + (1 - m) x0          without:  (1 - m) x + m x0

    x0 is the baseline of the mask's method; without one, what has positions fades through the same
    Gaussians as in the search. `inputs` has the structure and shape (batch, ...) of the inputs,
    with the batch first; `area` (sample,) is the part of the input that the mask holds, and `left`
    (sample,) what the score has over that of the baseline, as a part of what it had, if the search
    asked for that side.

    >>> import torch, pellucid as pl
    >>> line = lambda x: (x * torch.tensor([5.0, 0.1, 1.0])).sum(1, keepdim=True)
    >>> found = pl.explain(line, torch.ones(1, 3), "meaningful_perturbation", steps=20)
    >>> Seen.of(found).inputs
    tensor([[0., 1., 1.]])
    """

    inputs: Structure
    side: Side
    area: Tensor
    left: Tensor | None

    @classmethod
    def of(cls, explanation: Explanation, side: Side | None = None) -> "Seen":
        """Look through a mask; `side` is by default the one that it was learned for."""
        method = explanation.method
        if not isinstance(method, MeaningfulPerturbation | ExtremalPerturbation):
            raise InputError(
                "An explanation must be a mask that was learned",
                got=method,
                hint="Ask with meaningful_perturbation or extremal_perturbation.",
            )
        areas = method.areas if isinstance(method, ExtremalPerturbation) else (0.0,)
        if len(areas) > 1:
            raise InputError(
                "An explanation must be of one area, to look through its mask",
                found=f"masks of {len(areas)} areas, which are summed",
                hint="Ask for one area at a time.",
            )
        asked = SIDES[method.mode]
        shown = one_of(asked[0] if side is None else side, "`side`", ("within", "without"))
        found = explanation.batch_first()
        inputs, masks = Inputs.of(found.inputs), Inputs.of(found.values).leaves
        leaves = _left(method, inputs, masks, shown == "within")
        evidence = found.evidence
        return cls(
            inputs=inputs.pack(leaves),
            side="within" if shown == "within" else "without",
            area=evidence["area"][:, 0],
            left=evidence[shown][:, 0] if shown in asked else None,
        )


def _left(
    method: MeaningfulPerturbation | ExtremalPerturbation,
    inputs: Inputs,
    masks: Sequence[Tensor],
    within: bool,
) -> list[Tensor]:
    """Each input through its mask, or through all that its mask is not."""
    if not all(leaf.is_floating_point() for leaf in inputs.leaves):
        raise InputError(
            "Inputs must be floating-point numbers to be looked at through a mask",
            found="whole numbers, which were masked where they are embedded",
        )
    absent = Baseline.of(method.baseline).single(inputs).leaves
    widest, most = (WIDTH, 1) if isinstance(method, MeaningfulPerturbation) else (WIDEST, LEVELS)
    found = []
    for number, (leaf, mask, start) in enumerate(zip(inputs.leaves, masks, absent, strict=True)):
        sheet = sheet_of(number, leaf, method.grid)
        levels = between(leaf, start, sheet, method.baseline is None, widest, most)
        there = mask if within else 1 - mask
        found.append(fade(levels, there.to(leaf)))
    return found
