"""The fixture `explanations`, in a test run of its own."""

import pytest

pytest_plugins = ["pytester"]

TEST = """
import pytest, torch
import pellucid as pl

@pytest.mark.parametrize("name", ["a/b"])
def test_line(explanations, name):
    model = lambda x: (x * torch.tensor({weights})).sum(1, keepdim=True)
    explanations.check(
        pl.explain(model, torch.ones({rows}, 2), "gradient_x_input"), name, tolerance=0.1
    )
"""


@pytest.fixture
def run(pytester):
    """Run the test on a model of these weights."""

    def run(weights, *options, rows=2):
        pytester.makepyfile(test_it=TEST.format(weights=weights, rows=rows))
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)

    return run


def test_what_was_kept_is_held_against_what_is_found(run, pytester):
    run([1.0, 2.0]).assert_outcomes(failed=1)
    run([1.0, 2.0], "--update-explanations").assert_outcomes(passed=1)
    kept = [path.name for path in (pytester.path / "explanations").iterdir()]
    assert kept == ["test_it-test_line_a_b_-a_b.safetensors"]
    run([1.0, 2.1]).assert_outcomes(passed=1)  # a hundredth of the relevance moved
    failed = run([1.0, -2.0])
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(["*At most 10.0% of the relevance may lie elsewhere; got 66.7%*"])
    failed.stdout.no_fnmatch_line("*whose inputs are others*")


def test_nothing_kept_and_other_samples_are_told(run):
    run([1.0, 2.0]).stdout.fnmatch_lines(["*must be kept before it can be checked*"])
    run([1.0, 2.0], "--update-explanations")
    told = run([1.0, 2.0], rows=3)
    told.stdout.fnmatch_lines(["*must be of as many samples; got 3, where * has 2*"])


CLASSES = """
import torch
import pellucid as pl

def found(*weights):
    model = lambda x: (x * torch.tensor(weights)).sum(1, keepdim=True)
    return pl.explain(model, torch.ones(1, 2), "gradient_x_input")

class TestA:
    def test_it(self, explanations):
        explanations.check(found(1.0, 0.0))

class TestB:
    def test_it(self, explanations):
        explanations.check(found(0.0, 1.0))
"""


def test_tests_of_one_name_keep_their_own(pytester):
    pytester.makepyfile(test_it=CLASSES)
    options = ("-p", "no:cacheprovider")
    pytester.runpytest_inprocess(*options, "--update-explanations").assert_outcomes(passed=2)
    pytester.runpytest_inprocess(*options).assert_outcomes(passed=2)


TWICE = """
import torch
import pellucid as pl

def test_it(explanations):
    found = pl.explain(lambda x: x, torch.ones(1, 1), "gradient_x_input")
    explanations.check(found{first})
    explanations.check(found{second})
"""


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("", "", "*must have names of their own; got '' twice*"),
        (', "a b"', ', "a/b"', "*must have names of their own; got 'a/b' twice*"),
        (", tolerance=5", "", "*`tolerance` must be a part of the relevance, from 0 to 1; got 5*"),
    ],
)
def test_names_and_tolerances_are_checked(pytester, first, second, told):
    pytester.makepyfile(test_it=TWICE.format(first=first, second=second))
    run = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--update-explanations")
    run.assert_outcomes(failed=1)
    run.stdout.fnmatch_lines([told])


RANDOM = """
import torch
import pellucid as pl

def test_it(explanations):
    x = torch.tensor([[1.0, {second}]])
    model = lambda x: x.sum(1, keepdim=True)
    explanations.check(pl.explain(model, x, "gradient_x_input"))
"""


def test_inputs_that_changed_are_told(pytester):
    for second, options in ((1.0, ("--update-explanations",)), (9.0, ())):
        pytester.makepyfile(test_it=RANDOM.format(second=second))
        run = pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)
    run.stdout.fnmatch_lines(["*got 40.0% in sample 0*, whose inputs are others.*"])
