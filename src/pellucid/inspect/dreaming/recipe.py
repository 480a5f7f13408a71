"""Ready choices of terms, parameterization and steps, after the papers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from pellucid.inspect.dreaming.ascent import Climb
from pellucid.inspect.dreaming.layout import Layout
from pellucid.inspect.dreaming.parameterization import (
    Decorrelated,
    Fourier,
    ParameterizationLike,
    Pixel,
)
from pellucid.inspect.dreaming.terms import (
    L2,
    Blur,
    ClipNorm,
    Decay,
    Jitter,
    Rotate,
    Scale,
    TermLike,
)
from pellucid.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a dream is made with, where nothing else is said."""

    terms: Sequence[TermLike]
    parameterization: ParameterizationLike
    climb: Climb
    steps: int
    rate: float


RECIPES: Registry[Callable[[Layout], Recipe]] = Registry(what="recipe of dreams")


@RECIPES.register("plain")
def plain(layout: Layout) -> Recipe:
    """Ascent with a cost of length: as much as one, at a mean square of one."""
    terms = (L2(weight=1 / prod(layout.shape)),)
    return Recipe(terms=terms, parameterization=Pixel(), climb="adam", steps=128, rate=0.05)


@RECIPES.register("yosinski")
def yosinski(layout: Layout) -> Recipe:
    """Ascent that fades, is blurred and loses what is faint (Yosinski et al. 2015)."""
    terms = (Decay(rate=0.01), *((Blur(), ClipNorm(share=0.2)) if layout.positions else ()))
    return Recipe(terms=terms, parameterization=Pixel(), climb="normalized", steps=128, rate=0.5)


@RECIPES.register("fourier")
def fourier(layout: Layout) -> Recipe:
    """Waves, of images of three channels with their colors, that are moved (Olah et al. 2017).

    Each wave goes as far as its slope is steep. By Adam all go equally far, also those whose slope
    changes its sign with every motion: of small images these bury what the others make.
    """
    layout.check_positions('recipe="fourier"')
    image, signal = len(layout.positions) == 2, len(layout.positions) < 3
    color = image and layout.channels == 3 and layout.channel_axis == 1
    return Recipe(
        terms=(Jitter(), *((Scale(),) if signal else ()), *((Rotate(),) if image else ())),
        parameterization=Decorrelated() if color else Fourier(),
        climb="normalized",
        steps=128,
        rate=0.02,
    )


def recipe_of(name: str, layout: Layout) -> Recipe:
    """The recipe of a name, for dreams of a layout."""
    return RECIPES.find(name)(layout)
