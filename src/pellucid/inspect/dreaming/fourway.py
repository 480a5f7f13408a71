"""Dreams of classes in four ways, side by side: what they gain from knowing the data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from pellucid.errors import InputError, UnknownNameError
from pellucid.inspect.dreaming.density import FITS, fit_density
from pellucid.inspect.dreaming.dream import dream
from pellucid.inspect.dreaming.dreams import Dreams
from pellucid.inspect.dreaming.generator import Generator, fit_generator
from pellucid.inspect.dreaming.objective import Objective
from pellucid.inspect.dreaming.quality import judged, made_of
from pellucid.inspect.dreaming.real import check_class, real_labels, real_pairs
from pellucid.inspect.dreaming.start import as_taken
from pellucid.options import whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Options: TypeAlias = Mapping[str, Any]

# The ways, by name.
WAYS = ("plain from mean", "plain", "density", "generator")
# What else may be said of dreams, for all ways alike.
OPTIONS = ("recipe", "terms", "parameterization", "climb", "rate", "channel_axis", "batch_size")
# Peaks of a density are narrow: longer steps leap from one to another.
DENSITY_RATE = 0.02


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DreamComparison:
    """Dreams of the same classes in four ways, and what each is worth.

    `ways` are the dreams by the name of the way; `quality` has the rows of `quality`, with the way
    as `run`, for the score of the class whatever was climbed. `starts` (class, ...) are the means
    of the classes, and `ends` the least and the largest value of the real data. `density` and
    `generator` are those that were used, for the next call.
    """

    classes: tuple[int, ...]
    ways: dict[str, Dreams]
    quality: "pd.DataFrame"
    starts: Tensor
    ends: tuple[float, float]
    density: Any
    generator: Any

    def to_frame(self) -> "pd.DataFrame":
        """A row for each way: means over the classes of what is told of each dream."""
        return self.quality.drop(columns="target").groupby("run", sort=False).mean()

    def plot(
        self,
        *,
        names: Sequence[str] | None = None,
        pictures: Callable[[Tensor], Any] | None = None,
        dark: bool = False,
    ) -> "Figure":
        """Draw a line for each way below the means of the classes, a column for each class.

        Images are drawn in the range of the real data, what is beyond it at its ends; `pictures`
        makes an array of an input of shape (1, channel, height, width) instead. `names` are those
        of all classes of the model.
        """
        from pellucid.plot.fourway import fourway

        return fourway(self, names=names, pictures=pictures, dark=dark)

    def __repr__(self) -> str:
        lines = [f"Dreams of {len(self.classes)} classes, means:"]
        for way, row in self.to_frame().iterrows():
            lines.append(
                f"  {way}: score {row.score:.3g} (real {row.real_score:.3g}), "
                f"distance {row.distance:.3g} (real {row.real_distance:.3g})"
            )
        return "\n".join(lines)


def compare_dreams(
    model: Callable[..., Any],
    data: Any,
    labels: Any = None,
    classes: Sequence[int] | None = None,
    density: Any = None,
    generator: Any = None,
    *,
    codes: Tensor | None = None,
    expert_weight: float = 1.0,
    prior_weight: float = 0.1,
    on: str = "score",
    steps: int | None = None,
    seed: int = 0,
    **options: Any,
) -> DreamComparison:
    """Dream of classes in four ways, of which each knows more of the data.

        plain from mean    argmax score(x) - |x|^2 / elements, from the mean of all data
        plain              the same, from the mean of the class
        density            argmax score(x) + expert_weight log p(x), from the mean of the class
        generator          g(argmax score(g(z)) - prior_weight |z|^2), from its mean code

    `data` (sample, ...) and `labels` (sample,) are real, or batches of both; `classes` are those of
    the labels.
    `density` is a `Density`, its kind, or any callable x -> log p(x) of shape (sample,); without
    one a mixture is fitted. `generator` is a `Generator`, or any callable; without one a small
    autoencoder is trained, on the CPU. One of the user's starts at `codes`, of shape
    (class, ...), or (1, ...) for all. The other `options` are those of `dream`, for all four:
    `recipe`, `terms`, `climb`, `rate`, `channel_axis`, `batch_size`, and `parameterization` for the
    three that are not in code space.
    Source: Montavon, Samek and Mueller (2018), Methods for Interpreting and Understanding Deep
    Neural Networks, figure 4.

    >>> x = torch.rand(40, 1, 4, 4)
    >>> labels = torch.arange(40) % 2
    >>> x[labels == 1, :, :2] += 1
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    >>> generator = fit_generator(x, labels, code=2, epochs=1)
    >>> found = compare_dreams(model, x, labels, generator=generator, steps=2)
    >>> len(found.ways), len(found.quality)                      # of two classes, in four ways
    (4, 8)
    """
    _check_options(options)
    real, known, wanted = _real(data, labels, classes)
    means = torch.stack([real[(known == k).to(real.device)].mean(0) for k in wanted])
    made = generator if generator is not None else fit_generator(real, known, seed=seed)
    expert, begun = _density(density, real, seed), _begun(made, codes, wanted, real)
    shared: Options = {"like": as_taken(real[:1], model), "on": on, "steps": steps, "seed": seed}
    ways = _ways(
        {**shared, **options},
        plain={"start": means},
        density={"expert": expert, "expert_weight": expert_weight},
        generator={"generator": made, "prior_weight": prior_weight, "start": begun},
        mean={"start": real.mean(0, keepdim=True)},
    )
    found = {way: dream(model, list(wanted), **own, what=way) for way, own in ways.items()}
    return DreamComparison(
        classes=wanted,
        ways=found,
        quality=_quality(found, wanted, model, real, known),
        starts=means,
        ends=(float(real.min()), float(real.max())),
        density=expert,
        generator=made,
    )


def _check_options(options: Options) -> None:
    """Raise for what is no option of all ways, before anything is fitted."""
    for name in options:
        if name not in OPTIONS:
            raise UnknownNameError("An option of all ways to dream", name, OPTIONS)


def _real(
    data: Any, labels: Any, classes: Sequence[int] | None
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Real samples, the class of each, and the classes to dream of."""
    real, known = real_pairs(data, labels)
    known = real_labels(known, len(real))  # which must be there
    return real, known, _wanted(classes, known)


def _wanted(classes: Sequence[int] | None, labels: Tensor) -> tuple[int, ...]:
    """The classes to dream of: those that are named, of which there are samples, or all."""
    given = labels.unique() if classes is None else classes
    wanted = tuple(whole(each, "classes", least=None) for each in given)
    if not wanted:
        raise InputError("`classes` must name at least one class", got=classes)
    for each in wanted:
        check_class(labels, each)
        if int((labels == each).sum()) < 2:
            raise InputError(
                "There must be two real samples at least of each class to compare dreams with",
                found=f"one of class {each}",
                hint="Leave it out: classes=.",
            )
    return wanted


def _ways(
    options: Options, *, mean: Options, plain: Options, density: Options, generator: Options
) -> dict[str, dict[str, Any]]:
    """What each way is asked for: what the user says goes before what is usual for the way."""
    chosen = (
        {**options, **mean},
        {**options, **plain},
        {"terms": (), "rate": DENSITY_RATE, **options, **plain, **density},
        {"terms": (), **options, **generator, "parameterization": None},
    )
    return dict(zip(WAYS, chosen, strict=True))


def _quality(
    found: Mapping[str, Dreams],
    classes: Sequence[int],
    model: Callable[..., Any],
    real: Tensor,
    labels: Tensor,
) -> "pd.DataFrame":
    """The tables of all ways, one below the other, for the scores of classes."""
    import pandas as pd

    tables = []
    for way, dreams in found.items():
        made = made_of(replace(dreams, targets=tuple(map(Objective.of, classes))), way)
        tables.append(judged(made, model, real, labels, quantile=0.999))
    return pd.concat(tables, ignore_index=True).drop(columns="diversity")


def _density(given: Any, real: Tensor, seed: int) -> Any:
    """The expert: one that is given, or one that is fitted."""
    if callable(given) or hasattr(given, "log_prob"):
        return given
    if given is None or isinstance(given, str):
        return fit_density(real, given or "mixture", seed=seed)
    raise InputError(
        "`density` must be a Density, its kind, or a callable x -> log p(x)",
        got=given,
        hint=f"Kinds: {', '.join(FITS)}.",
    )


def _begun(made: Any, codes: Tensor | None, classes: Sequence[int], real: Tensor) -> Tensor:
    """Where the search for codes starts: as given, or at the mean codes of the classes."""
    if codes is not None:
        return codes
    if not isinstance(made, Generator):
        raise InputError(
            "`codes` must be given with a generator of your own",
            found="none",
            hint="Those where dreams begin: one for each class, or codes=torch.zeros(1, 100) for "
            "all.",
        )
    return made.codes_of(classes).to(real.device)
