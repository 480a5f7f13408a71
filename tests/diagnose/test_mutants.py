"""Every measure can be wrong: it is broken, and a test that else passes notices."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pellucid.diagnose import (
    decay,
    findings,
    layers,
    noise,
    regions,
    removal,
    saturation,
    sides,
    study,
)
from pellucid.diagnose.sides import Sides
from tests.diagnose import test_decay, test_noise, test_regions, test_removal, test_saturation

# What is broken -> where, how, and the test that must fail, with its arguments.
MUTANTS: dict[str, tuple[Any, str, Any, Callable[..., None], tuple]] = {
    "the weakest are removed": (
        removal, "_ranks", lambda parts: _RANKS([-part for part in parts]),
        test_removal.test_drops_are_those_of_a_loop, ("saliency",),
    ),
    "sizes instead of shares": (
        removal, "is_share", lambda method: False,
        test_removal.test_drops_are_those_of_a_loop, ("gradient_x_input",),
    ),
    "what stays is removed": (
        removal, "_replaced", lambda inputs, made, masks: _REPLACED(
            inputs, made, {i: ~mask for i, mask in masks.items()}),
        test_removal.test_drops_are_those_of_a_loop, ("saliency",),
    ),
    "the pattern is not moved": (
        removal, "_move", lambda part, generator: part,
        test_removal.test_what_the_scattered_pixels_are_worth, ("exact",),
    ),
    "it is moved far away": (
        removal, "NEAR", 0.3,
        test_removal.test_what_the_scattered_pixels_are_worth, ("place",),
    ),
    "random ones are the same for all draws": (
        removal, "seeded", lambda seed, draw: _SEEDED(seed, 0),
        test_removal.test_random_drops_are_those_of_the_seed, (),
    ),
    "the last axis is no channel": (
        study, "channels_last", lambda shape: False,
        test_removal.test_channels_go_together_and_the_last_axis_may_hold_them, (),
    ),
    "sizes of noise without the range": (
        study, "span_of", lambda leaf: torch.ones(len(leaf), *[1] * (leaf.ndim - 1)),
        test_decay.test_correlations_are_those_of_the_textbook, (),
    ),
    "cosines instead of correlations": (
        decay, "correlation", lambda a, b: torch.cosine_similarity(a, b),
        test_decay.test_correlations_are_those_of_the_textbook, (),
    ),
    "maps of a layer instead of the input": (
        study, "_at", lambda method, path, case: _AT(method, path and "1", case),
        test_decay.test_correlations_at_layers_are_those_of_the_textbook, (),
    ),
    "branches are taken for bottlenecks": (
        layers, "_is_passed",
        lambda value, reach: True,
        test_decay.test_layers_are_found_that_all_of_the_signal_passes, (),
    ),
    "upper bounds are no kinks": (
        sides, "_bounded", lambda y, low, high: y > low,
        test_regions.test_kinks_are_found_however_they_are_written, ("relu6",),
    ),
    "choices are no kinks": (
        sides, "_is_choice", lambda dtype: False,
        test_regions.test_pooled_and_clipped_units_as_a_fine_grid_shows, (),
    ),
    "an extreme of all is no choice": (
        sides, "STATES", {**sides.STATES, "max": lambda operation: torch.ones(1, 1)},
        test_regions.test_an_extreme_of_all_elements_is_one_along_their_axis, ("max",),
    ),
    "a choice has samples of its own": (
        sides, "_as_one", lambda state: state,
        test_regions.test_an_extreme_over_samples_is_not_read_for_each, (torch.max,),
    ),
    "the first distance stands for none": (
        findings, "steady", lambda found, row: _STEADY(found, row) or 0,
        test_decay.test_no_map_jumps_while_the_score_stays_where_it_never_does,
        (test_decay.waves,),
    ),
    "deviations instead of ranks": (
        findings, "beyond", lambda value, draws: value > float(draws.mean() + 2 * draws.std()),
        test_removal.test_one_feature_that_is_worth_all_matters_however_many_draws,
        (4, "all 12 orders", 30),
    ),
    "some orders are forgotten": (
        removal, "_every_order", lambda count, steps: _EVERY(count, steps)[1:],
        test_removal.test_all_orders_of_a_few_are_all_subsets_equally_often, (),
    ),
    "all is linear": (
        sides, "_is_linear", lambda operation: True,
        test_regions.test_what_is_not_piecewise_linear_is_named, (torch.tanh, "tanh"),
    ),
    "a switch is overlooked": (
        Sides, "switches", lambda self, other: max(0, _SWITCHES(self, other) - 1),
        test_regions.test_every_hinge_on_the_line_is_a_boundary, (),
    ),
    "nothing is halved": (
        regions, "HALVINGS", 0,
        test_regions.test_a_random_network_has_as_many_as_a_fine_grid_shows, (),
    ),
    "what the score does not read counts": (
        sides, "_towards", lambda tape: tape.operations,
        test_regions.test_what_the_score_does_not_depend_on_is_not_counted, (),
    ),
    "the line runs backwards": (
        saturation, "_on_line", lambda start, end, alpha: _ON_LINE(end, start, alpha),
        test_saturation.test_slopes_are_those_of_autograd_and_add_up_to_the_rise, (),
    ),
    "the way is not from the baseline": (
        saturation, "_along", lambda gradient, inputs, reference, rows: _ALONG(
            gradient, inputs, inputs.replace([0 * leaf for leaf in inputs.leaves]), rows),
        test_saturation.test_slopes_are_those_of_autograd_and_add_up_to_the_rise, (),
    ),
    "the first crossing counts": (
        saturation, "_last_crossing", lambda line, alphas, share: alphas[
            int((line >= share).nonzero()[0])],
        test_saturation.test_a_score_that_comes_back_reaches_a_share_when_it_stays_there, (),
    ),
    "batches are joined in disorder": (
        noise, "_concatenated",
        lambda parts: _CONCATENATED(parts[::-1]),
        test_noise.test_batches_do_not_change_the_numbers, ("table",),
    ),
}  # fmt: skip
_RANKS, _REPLACED, _SEEDED = removal._ranks, removal._replaced, study.seeded
_STEADY, _EVERY = findings.steady, removal._every_order
_AT, _SWITCHES = study._at, Sides.switches
_ON_LINE, _ALONG = saturation._on_line, saturation._along
_CONCATENATED = noise._concatenated


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_measure_is_noticed(name, monkeypatch):
    where, what, broken, check, arguments = MUTANTS[name]
    monkeypatch.setattr(where, what, broken)
    torch.manual_seed(0)
    with pytest.raises((AssertionError, IndexError)):
        check(*arguments)
