"""The tests of patterns can fail: each fault is noticed by the one that is about it."""

from collections.abc import Callable
from functools import cached_property

import pytest
import torch

from pellucid.propagate.patterns import fit, methods, places
from pellucid.propagate.patterns.affine import Affine
from pellucid.propagate.patterns.methods import _Walk
from pellucid.propagate.patterns.moments import Moments
from pellucid.propagate.patterns.neurons import Convolution, TransposedWiring, as_weight
from pellucid.propagate.patterns.patterns import Fingerprint
from pellucid.propagate.patterns.places import Places
from pellucid.tape.adjoints import adjoint
from tests.propagate import test_patterns as walks
from tests.propagate import test_patterns_fit as fits


def statistics(name: str, *, biased: bool = True) -> Callable:
    """A case of the textbook of statistics."""
    return lambda patch: fits.test_patterns_are_those_of_the_textbook(name, biased, 0, patch)


def matrices(network: str, name: str) -> Callable:
    """A case of the textbook of walks."""
    return lambda patch: walks.test_the_walk_is_that_of_matrices(network, name, True)


def without_means(self, part, wiring):
    return part.means("xy", wiring)


def mean_of_the_regime(self, part, wiring):
    mean = wiring.spread(part.mean("y"))
    return part.means("xy", wiring) - part.means("x", wiring) * mean


def without_norming(self, found, part, wiring, weight):
    return torch.ones_like(part.count)


def without_padding(self):
    return Convolution._weight_gradient(self, torch.ones_like(self.y), self.wiring.shape) * 1.01


def one_phase(self):
    return torch.zeros(self.shape[2:].numel(), dtype=torch.long)


def weights_for_patterns(self, affine, pattern, signal):
    return affine.linear.backward(signal, affine.linear.weight)


def always_weighs(self, affine, pattern, signal):
    return affine.linear.backward(signal, as_weight(affine, pattern) * affine.linear.weight)


def all_to_both(self, operation, signals):
    return [signals[0] for _ in operation.slots]


def rectified_is_linear(self, operation):
    return torch.zeros_like(self.places.rectified_outputs(operation))


def no_constants_behind(linear, readers):
    return FOLLOWED(linear, {})


def one_for_all_outputs(self, operation):
    found = OUTPUTS(self, operation)
    return torch.full_like(found, bool(found.any()))


def as_coarse_as_the_weights(self, other):
    tolerance = 64 * max(self.precision, other.precision) * max(self.norm, other.norm)
    return self.key == other.key and self.distance(other) <= tolerance


def the_first_of_the_same(self, known):
    return next((i for i, each in enumerate(known) if each.is_of(self)), None)


def writing(name: str, method: str = "patternnet") -> Callable:
    """A case of the writings of one network."""
    return lambda patch: walks.check_writings(method, [name])


def order(parts: Callable) -> Callable:
    """A case of two signals that are added in either order."""
    return lambda patch: walks.test_the_order_of_two_signals_does_not_matter(parts, "patternnet")


FOLLOWED, OUTPUTS = Affine.of, Places.rectified_outputs


def same_shape_is_same(self, other):
    return self.key == other.key


def phased() -> cached_property:
    made = cached_property(one_phase)
    made.__set_name__(TransposedWiring, "phase")
    return made


# What is broken -> where, by what, and the test that has to notice.
MUTANTS: dict[str, tuple[object, str, object, Callable]] = {
    "means left out": (Moments, "_covariance", without_means, statistics("dense")),
    "mean of the regime": (Moments, "_covariance", mean_of_the_regime, statistics("conv2d")),
    "not normed": (Moments, "_scale", without_norming, statistics("conv1d")),
    "presence": (Convolution, "presence", without_padding, statistics("conv2d_grouped")),
    "phases mixed": (TransposedWiring, "phase", phased(), statistics("transposed2d")),
    "weights": (_Walk, "_back", weights_for_patterns, matrices("conv2d", "patternnet")),
    "weighs": (_Walk, "_back", always_weighs, matrices("dense", "patternnet")),
    "one estimator": (_Walk, "_is_positive", rectified_is_linear, matrices("conv1d", "patternnet")),
    "norm counted twice": (
        methods,
        "_passed",
        adjoint,
        lambda patch: walks.test_a_norm_behind_or_folded_is_the_same("patternnet"),
    ),
    "doubled at sums": (
        _Walk,
        "_summed",
        all_to_both,
        lambda patch: walks.test_relevance_is_shared_at_a_sum_and_not_doubled(),
    ),
    "blind fingerprint": (
        Fingerprint,
        "is_of",
        same_shape_is_same,
        lambda patch: walks.test_patterns_of_another_model("patternnet"),
    ),
    "constants not followed": (Affine, "of", no_constants_behind, writing("minus")),
    "parts not followed": (places, "_passes", lambda operation: False, writing("slices")),
    "sign of a constant factor": (
        methods,
        "own_factor",
        lambda operation: None,
        writing("from the right", "pattern_attribution"),
    ),
    "all outputs rectified": (
        Places,
        "rectified_outputs",
        one_for_all_outputs,
        lambda patch: walks.test_only_the_outputs_that_a_rectifier_reads_have_the_positive_pattern(
            "patternnet"
        ),
    ),
    "the first of two signals": (
        places,
        "_latest",
        lambda operation: operation.slots[0],
        order(walks.beside_the_input),
    ),
    "axes not followed": (
        places,
        "_kept_axis",
        lambda reader, value, axis: axis,
        order(walks.of_two_convolutions),
    ),
    "coarse fingerprint": (
        Fingerprint,
        "is_of",
        as_coarse_as_the_weights,
        lambda patch: fits.test_layers_that_are_alike_have_a_pattern_each(torch.bfloat16, 0.02),
    ),
    "the first that is alike": (
        Fingerprint,
        "nearest",
        the_first_of_the_same,
        lambda patch: fits.test_of_weights_that_are_alike_the_nearest_are_taken(),
    ),
    "labels taken for inputs": (
        fit,
        "_inputs_of",
        lambda batch, select: batch,
        lambda patch: fits.test_batches_of_a_data_loader(),
    ),
    "factor kept": (
        methods,
        "factor",
        lambda operation: None,
        lambda patch: walks.test_a_constant_factor_is_part_of_the_weights("patternnet"),
    ),
}


@pytest.mark.parametrize("broken", MUTANTS)
def test_the_fault_is_noticed(broken, monkeypatch):
    where, what, by, test = MUTANTS[broken]
    test(monkeypatch)
    monkeypatch.setattr(where, what, by)
    noticed = (AssertionError, pytest.fail.Exception, Exception)
    with pytest.raises(noticed[:2] if broken != "labels taken for inputs" else noticed[2]):
        test(monkeypatch)
