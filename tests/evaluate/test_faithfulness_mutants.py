"""Every metric that removes can be wrong: it is broken, and the test that has to notice does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pellucid.evaluate.faithfulness import (
    MonotonicityCorrelation,
    SensitivityN,
    correlation,
    flips,
    infidelity,
    road,
    selectivity,
)
from pellucid.evaluate.faithfulness.coalitions import Request
from tests.evaluate import test_faithfulness, test_road, test_rounding


def raster(relevance, seed):
    """Those of the same relevance go from the top to the bottom."""
    return relevance.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1).int()


def alike(count, draws, seed):
    """Every set counts as much as any other."""
    sets, weights = _SETS(count, draws, seed)
    return sets, torch.full_like(weights, 1 / len(weights))


def kept(subsets, rows):
    """Sets are kept instead of removed."""
    return _WITHOUT(~subsets, rows)


_ORDER, _DROPS, _SETS = flips.order, correlation.drops, infidelity.random_sets
_WITHOUT, _RUN, _FLIPS = Request.without, flips._run, flips.flips


def anew(trial, schedule, names):
    """No line is shared."""
    for name in names:
        trial.store.pop(schedule.key(name), None)
    return _FLIPS(trial, schedule, names)


def last_of_all(trial, schedule, names, groups):
    """What is left in the end is no longer shared."""
    trial.store.pop(schedule.key("nobody"), None)
    _RUN(trial, schedule, names, groups)


# What is broken -> where, how, and the test that must fail, with its arguments.
MUTANTS: dict[str, tuple[Any, str, Any, Callable[..., None], tuple]] = {
    "the least relevant go first": (
        flips, "order", lambda relevance, seed: _ORDER(-relevance, seed),
        test_faithfulness.test_lines_and_areas_are_those_of_a_loop, (0.0,),
    ),
    "the same relevance goes from the top": (
        flips, "order", raster,
        test_faithfulness.test_equal_players_go_in_an_order_of_chance, (),
    ),
    "means instead of areas": (
        selectivity, "area", lambda line: line.mean(-1),
        test_faithfulness.test_lines_and_areas_are_those_of_a_loop, (0.0,),
    ),
    "a line is run for each metric": (
        selectivity, "flips", anew,
        test_faithfulness.test_metrics_share_their_lines, (),
    ),
    "the last run is not shared": (
        flips, "_run", last_of_all,
        test_faithfulness.test_metrics_share_their_lines, (),
    ),
    "no fall is one": (
        flips, "precision", lambda score: float("inf"),
        test_faithfulness.test_monotonicity_counts_the_steps_up, (),
    ),
    "rounding is a fall": (
        flips, "precision", lambda score: 0.0,
        test_rounding.test_a_fall_by_one_unit_of_the_last_place_is_none, (),
    ),
    "rounding correlates": (
        correlation, "precision", lambda score: 0.0,
        test_rounding.test_what_is_rounding_has_no_correlation, (SensitivityN,),
    ),
    "rounding has ranks": (
        correlation, "precision", lambda score: 0.0,
        test_rounding.test_features_without_effect_share_a_rank, (),
    ),
    "the score rises by what it falls": (
        correlation, "drops", lambda *given: [-each for each in _DROPS(*given)],
        test_faithfulness.test_on_a_linear_model_sets_get_what_they_are_worth, (SensitivityN,),
    ),
    "sets are kept": (
        Request, "without", kept,
        test_faithfulness.test_sensitivity_n_is_the_mean_correlation_over_sizes, (),
    ),
    "values instead of ranks": (
        correlation, "spearman", correlation.pearson,
        test_faithfulness.test_monotonicity_correlation_compares_ranks_one_by_one, (),
    ),
    "all features are drawn": (
        MonotonicityCorrelation, "_chosen", lambda self, count: torch.arange(count),
        test_faithfulness.test_monotonicity_correlation_compares_ranks_one_by_one, (),
    ),
    "slopes without a distance": (
        infidelity, "_step", lambda trial, baseline: None,
        test_faithfulness.test_infidelity_of_slopes_is_that_of_slopes_times_the_distance, (),
    ),
    "not scaled": (
        infidelity, "_fitted", lambda expected, drop, weights: expected,
        test_faithfulness.test_on_a_linear_model_infidelity_is_zero, (),
    ),
    "every set counts alike": (
        infidelity, "random_sets", alike,
        test_faithfulness.test_infidelity_is_the_mean_squared_error_over_all_sets, (),
    ),
    "a margin of one is needed": (
        road.Imputing, "kept",
        lambda self, part, name: flips.Flipped(**{
            **vars(part), "lines": {name: (part.lines[name] >= 1).double()}}),
        test_road.test_lost_decisions_are_those_of_a_loop, ("most",),
    ),
    "noise without its size": (
        road, "NoisyLinear", lambda noise, seed: test_road.NoisyLinear(noise=50.0, seed=seed),
        test_road.test_lost_decisions_are_those_of_a_loop, ("most",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", MUTANTS)
def test_a_broken_metric_is_noticed(fault, monkeypatch):
    where, name, broken, test, given = MUTANTS[fault]
    test(*given)
    monkeypatch.setattr(where, name, broken)
    with pytest.raises(AssertionError):
        test(*given)
