"""A baseline makes a reference for the inputs it stands against."""

import pytest
import torch
from torch.testing import assert_close

from pellucid.baseline import Baseline
from pellucid.errors import InputError
from pellucid.structure import Inputs

IMAGES = torch.randn(3, 2, 8, 6, dtype=torch.float64)


def reference(given: object, inputs: object = IMAGES) -> object:
    taken = Inputs.of(inputs)
    made = Baseline.of(given).single(taken)
    return made.pack(made.leaves)


def test_nothing_said_is_zero():
    assert_close(reference(None), torch.zeros_like(IMAGES))


def test_a_number_stands_everywhere():
    assert_close(reference(0.5), torch.full_like(IMAGES, 0.5))


@pytest.mark.parametrize("row", [IMAGES[0], IMAGES[:1]], ids=["sample", "row"])
def test_one_row_stands_for_every_sample(row):
    assert_close(reference(row), IMAGES[:1].expand_as(IMAGES))


def test_several_rows_are_a_background():
    background = Baseline.of(IMAGES[:2]).background(Inputs.of(IMAGES))
    assert len(background) == 2
    assert_close(background[1].leaves[0], IMAGES[1:2].expand_as(IMAGES))


def test_a_background_is_not_one_reference():
    with pytest.raises(InputError, match=r"one reference a sample; got .*2 rows.*per_sample"):
        reference(IMAGES[:2])


def test_one_reference_a_sample():
    assert_close(reference(Baseline.per_sample(IMAGES.flip(0))), IMAGES.flip(0))


def test_the_mean_of_each_channel():
    mean = reference(Baseline.mean())
    assert mean.shape == IMAGES.shape
    assert_close(mean[1, 1], IMAGES[1, 1].mean().expand(8, 6))


def test_blur_keeps_a_constant_and_loses_detail():
    constant = torch.full_like(IMAGES, 3.0)
    assert_close(reference(Baseline.blur(), constant), constant)
    blurred = reference(Baseline.blur(0.3))
    assert blurred.std() < 0.5 * IMAGES.std()
    assert_close(blurred[1:2], reference(Baseline.blur(0.3), IMAGES[1:2]))


def test_noise_is_the_same_in_every_call_and_batch():
    before = torch.get_rng_state()
    noise = reference(Baseline.noise(0.5, seed=1))
    assert_close(noise[1:2], reference(Baseline.noise(0.5, seed=1), IMAGES[1:2]))
    assert not torch.equal(noise, reference(Baseline.noise(0.5, seed=2)))
    assert torch.equal(before, torch.get_rng_state())


def test_the_type_of_the_input_is_followed():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = IMAGES.to(dtype)
        for given in (0.5, IMAGES[0], Baseline.mean(), Baseline.noise()):
            assert reference(given, x).dtype == dtype


def test_integer_inputs_stay_as_they_are():
    tokens = torch.tensor([[1, 2], [3, 4]])
    a, b = reference(0.0, (tokens, torch.ones(2, 3)))
    assert torch.equal(a, tokens)
    assert torch.equal(b, torch.zeros(2, 3))


def test_a_dict_goes_by_its_keywords():
    inputs = {"a": torch.ones(2, 3), "b": torch.ones(2, 3)}
    swapped = {"b": torch.full((1, 3), 7.0), "a": torch.full((1, 3), 5.0)}
    made = reference(swapped, inputs)
    assert made["a"].unique().item() == 5
    assert made["b"].unique().item() == 7


X, H = torch.randn(3, 5, 2), torch.randn(1, 3, 4)  # the batch is on axis 0 of X, 1 of H
STATE = (X, {"state": (H, H + 1), "train": False})


def test_a_baseline_has_the_structure_and_the_layout_of_the_inputs():
    taken = Inputs.of(STATE, (0, {"state": 1}))
    given = (X[0], {"state": (H[:, :1], 0.5)})
    made = Baseline.of(given).single(taken)
    x, inner = made.pack(made.leaves)
    assert_close(x, X[:1].expand_as(X))
    assert_close(inner["state"][0], H[:, :1].expand_as(H))
    assert_close(inner["state"][1], torch.full_like(H, 0.5))
    assert inner["train"] is False


def test_a_baseline_per_sample_is_selected_along_the_batch_of_each_input():
    taken = Inputs.of(STATE, (0, {"state": 1}))
    axes = {(0,): 0, (1, "state", 0): 1, (1, "state", 1): 1}
    whole = Baseline.per_sample((X * 2, {"state": (H * 2, H * 3)}))
    rows = torch.tensor([2, 0])
    made = whole.select(rows, 3, axes).single(taken.select(rows))
    x, inner = made.pack(made.leaves)
    assert_close(x, 2 * X[rows])
    assert_close(inner["state"][1], 3 * H[:, rows])
    first = whole.moved(axes)
    assert [list(t.shape) for t in first.tensors] == [[3, 5, 2], [3, 1, 4], [3, 1, 4]]
    with pytest.raises(InputError, match=r"one row for each of the 3 samples; got \(float32\[1, 3"):
        Baseline.per_sample(H).select(rows, 3)


@pytest.mark.parametrize(
    ("given", "received"),
    [
        ((X[0],), r"`inputs\[0\]`: float32\[5, 2\] on cpu\."),
        (X[0], r"`inputs`: float32\[5, 2\] on cpu\."),
        ((X[0], {"state": H[:, :1]}), r"`inputs\[0\]`: .*, `inputs\[1\]\['state'\]`: "),
        ((X[0], {"state": (H[:, :1], 0.0, 0.0)}), r".*`inputs\[1\]\['state'\]\[2\]`: "),
        ({"x": X[0]}, r"`x`: float32\[5, 2\] on cpu\."),
    ],
    ids=range(5),
)
def test_a_baseline_of_another_structure_is_told_both(given, received):
    expected = (
        r"^`baseline` must have the structure of the inputs, with one tensor for each of the 3 "
        r"inputs, `inputs\[0\]`: float32\[3, 5, 2\] on cpu, `inputs\[1\]\['state'\]\[0\]`: float32"
        r"\[3, 1, 4\] on cpu, `inputs\[1\]\['state'\]\[1\]`: .*; got "
    )
    with pytest.raises(InputError, match=expected + received):
        Baseline.of(given).single(Inputs.of(STATE, (0, {"state": 1})))


def test_equal_baselines_are_equal():
    assert Baseline.of(IMAGES[:1]) == Baseline.of(IMAGES[:1].clone())
    assert Baseline.of(0.0) == Baseline.of(None)
    assert Baseline.of(1.0) != Baseline.of(0.0)
    assert hash(Baseline.of(0.0)) == hash(Baseline.of(None))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: "black", r"`baseline` must be a number, a tensor or a Baseline; got 'black'"),
        (lambda: True, r"`baseline` must be a number, a tensor or a Baseline; got True"),
        (lambda: float("nan"), r"A baseline must be finite; got nan"),
        (lambda: IMAGES[0] / 0, r"A baseline must be finite; got float64\[2, 8, 6\]"),
        (lambda: IMAGES[:, :, :4], r"baseline of `inputs` must have the shape of one sample"),
        (
            lambda: (IMAGES[0], IMAGES[0]),
            r"`baseline` must have the structure of the inputs, with one tensor for each of the 1 "
            r"inputs, `inputs`: float64\[3, 2, 8, 6\] on cpu; got `inputs\[0\]`: float64\[2, 8, 6\]"
            r" on cpu, `inputs\[1\]`: ",
        ),
        (lambda: Baseline.per_sample(IMAGES[:2]), r"must have the shape of `inputs`"),
        (
            lambda: [1.0, 2.0],
            r"one tensor for each of the 1 inputs, .*; got `inputs\[0\]`: float32",
        ),
        (lambda: [IMAGES[0], "black"], r"A baseline must be made of tensors; got 'black'"),
        (lambda: (), r"A baseline must be made of tensors; got \(\)"),
        (lambda: (None,), r"A baseline must be made of tensors; got \(None,\)"),
    ],
)
def test_what_is_no_baseline_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        reference(given())
