"""What is asked of a run: rivals, fractions, seeds; and which trainings that makes."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from pellucid.errors import InputError
from pellucid.evaluate.leaderboard.board import told_apart
from pellucid.evaluate.metric import Metric, named_metric
from pellucid.evaluate.random_ranking import RandomRanking
from pellucid.evaluate.retrain.data import Part, Taken
from pellucid.evaluate.retrain.ranking import Removal
from pellucid.evaluate.retrain.trainer import Factory, Fit, made
from pellucid.features import Features
from pellucid.method import Method, named
from pellucid.options import number, one_of, whole
from pellucid.run.described import described, fingerprint

RANDOM = "random"
# Of what a run is made, in a form that its folder keeps; raised where that changes.
FORMAT = 2

Explained: TypeAlias = Literal["predicted", "label"]
MethodsLike: TypeAlias = "Sequence[str | Method] | Mapping[str, str | Method]"


class Job(NamedTuple):
    """One training: of which rival's order which fraction is gone, and from which seed.

    Nothing is gone where there is no rival: the model's accuracy on the data as it is.
    """

    rival: str | None
    fraction: float
    seed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """All that decides the answers of a run."""

    rivals: dict[str, Method]
    data: Taken
    factory: Factory
    fit: Fit
    removal: Removal
    percentages: tuple[float, ...]
    seeds: tuple[int, ...]
    target: Explained
    proxies: dict[str, Metric]
    proxy_samples: int

    @property
    def jobs(self) -> Iterator[Job]:
        """The trainings in order, seed by seed, so that a part of them makes whole curves."""
        for seed in self.seeds:
            yield Job(None, 0.0, seed)
            for rival in self.rivals:
                for fraction in self.percentages:
                    yield Job(rival, fraction, seed)

    @property
    def first(self) -> Job:
        """The training of the model that is explained."""
        return Job(None, 0.0, self.seeds[0])

    def fitted(self, seed: int) -> Fit:
        """The trainer, with a seed of its own where it takes one."""
        own: Any = self.fit
        if not dataclasses.is_dataclass(own) or isinstance(own, type):
            return self.fit
        takes = "seed" in {each.name for each in dataclasses.fields(own)}
        return cast("Fit", dataclasses.replace(own, seed=seed)) if takes else self.fit

    def settings(self) -> dict[str, Any]:
        """What decides the answers, by name, as JSON."""
        return {
            "format": FORMAT,
            "protocol": "keep and retrain" if self.removal.keep else "remove and retrain",
            "methods": {label: described(method) for label, method in self.rivals.items()},
            "percentages": list(self.percentages),
            "seeds": list(self.seeds),
            "target": self.target,
            "features": described(self.removal.features),
            "fill": described(self.removal.fill.given),
            "model": described(made(self.factory)),
            "fit": described(self.fit),
            "data": {"train": _content(self.data.train), "test": _content(self.data.test)},
            "proxies": {name: described(metric) for name, metric in self.proxies.items()},
            "proxy_samples": self.proxy_samples,
            "leak": self.removal.leak is not None,
        }


def rivals_of(given: Any) -> dict[str, Method]:
    """Methods by their labels, and the random ranking.

    A method that is there several times is labelled by the options that differ.
    """
    if isinstance(given, Mapping):
        found = {str(label): named(method) for label, method in given.items()}
    elif isinstance(given, str | Method) or not isinstance(given, Sequence):
        hint = f"Pass [{given!r}]." if isinstance(given, str | Method) else ""
        raise InputError(
            "`methods` must be a list of methods, or a dict by label", got=given, hint=hint
        )
    else:
        chosen = [named(each) for each in given]
        found = dict(zip(told_apart(chosen), chosen, strict=True))
    if not found or RANDOM in found:
        raise InputError(
            "`methods` must hold at least one method, and none called 'random', which is always "
            "there",
            found=", ".join(found) or "none",
        )
    return {**found, RANDOM: RandomRanking()}


def percentages_of(given: Any) -> tuple[float, ...]:
    """Fractions above 0 and at most 1, each once, the smallest first."""
    items = given if isinstance(given, Sequence) else [given]
    must = "fractions of the features, above 0 and at most 1"
    found = sorted(number(each, "percentages", must, above=0, most=1) for each in items)
    if not found or len(set(found)) < len(found):
        raise InputError(f"`percentages` must be {must}, each once", got=given)
    return tuple(found)


def seeds_of(given: Any) -> tuple[int, ...]:
    """The seeds themselves, or so many from 0 on."""
    if isinstance(given, Sequence) and not isinstance(given, str):
        found = tuple(whole(each, "seeds", least=0) for each in given)
        if not found or len(set(found)) < len(found):
            raise InputError("`seeds` must be a number of them, or a list, each once", got=given)
        return found
    return tuple(range(whole(given, "seeds")))


def proxies_of(given: Any, features: Features) -> dict[str, Metric]:
    """Metrics by name, on the players of the run where that is an option of theirs."""
    items = [given] if isinstance(given, str | Metric) else list(given or ())
    found = {}
    for each in items:
        metric = named_metric(each)
        fields = {field.name for field in dataclasses.fields(metric)}
        if isinstance(each, str) and "features" in fields:
            own: dict[str, Any] = {"features": features}
            metric = dataclasses.replace(metric, **own)
        if metric.better == "neither" or metric.needs:
            raise InputError(
                "A proxy must be a metric of which one direction is better, and that needs no more "
                "than the model",
                found=metric.name,
            )
        found[metric.name] = metric
    return found


def explained_of(given: Any) -> Explained:
    """Which class is explained."""
    return "label" if one_of(given, "`target`", ("predicted", "label")) == "label" else "predicted"


def _content(part: Part) -> list[str]:
    return [fingerprint(leaf) for leaf in (*part.inputs.leaves, part.classes)]
