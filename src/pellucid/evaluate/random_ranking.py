"""The zero line of every comparison: a method that knows nothing of the model."""

import zlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.case import Case
from pellucid.method import Attribution, Method
from pellucid.options import whole
from pellucid.seeding import seeded


@dataclass(frozen=True, kw_only=True)
class RandomRanking(Method):
    """Values drawn evenly from 0 to 1, whatever the model.

    They depend on the seed and on the sample itself, neither on its place in a batch nor on the
    target. It is a rival in comparisons, and no method of the registry.
    """

    seed: int = 0

    name: ClassVar[str] = "random"
    answers: ClassVar[str] = "How well does a ranking by chance do?"
    weakness: ClassVar[str] = "It knows nothing of the model."
    agnostic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole(self.seed, "seed", least=None)

    @property
    def reads(self) -> frozenset[str]:
        """Nothing."""
        return frozenset()

    def attribute(self, case: Case) -> Attribution:
        """Numbers in the shape of the inputs."""
        return Attribution(
            values=[
                torch.stack([self._drawn(row, place) for row in leaf]).to(leaf.device)
                for place, leaf in enumerate(case.inputs.leaves)
            ]
        )

    def _drawn(self, row: Tensor, place: int) -> Tensor:
        plain = row.detach().cpu().contiguous()
        content = zlib.crc32(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
        drawn = torch.rand(row.shape, generator=seeded(self.seed, content, place))
        return drawn.to(row.dtype) if row.is_floating_point() else drawn
