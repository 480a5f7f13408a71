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


def test_nothing_kept_and_other_samples_are_told(run):
    run([1.0, 2.0]).stdout.fnmatch_lines(["*must be kept before it can be checked*"])
    run([1.0, 2.0], "--update-explanations")
    told = run([1.0, 2.0], rows=3)
    told.stdout.fnmatch_lines(["*must be of as many samples; got 3, where * has 2*"])
