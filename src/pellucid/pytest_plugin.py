"""Tests for explanations: the fixture `explanations` holds them against those that were kept.

    def test_the_cat_is_still_why(explanations):
        found = pl.explain(model, photo, "lrp")
        explanations.check(found, "cat", tolerance=0.05)

`pytest --update-explanations` keeps what is found, in the folder `explanations` beside the test;
afterwards a test fails if more of the relevance lies elsewhere than the tolerance allows.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pellucid.explanation import Explanation
    from pellucid.features import FeaturesLike

FOLDER = "explanations"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that keeps what is found."""
    parser.getgroup("pellucid").addoption(
        "--update-explanations",
        action="store_true",
        help="Keep the explanations that tests find, instead of holding them against kept ones.",
    )


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The explanations that a test keeps: files of one folder, named by test and by name.

    `seen` are the files that it has asked for.
    """

    folder: Path
    test: str
    update: bool
    seen: list[Path] = field(default_factory=list)

    def check(
        self,
        found: "Explanation",
        name: str = "",
        *,
        tolerance: float = 0.1,
        features: "FeaturesLike" = None,
    ) -> None:
        """Fail if more than `tolerance` of the relevance lies elsewhere than when it was kept.

        `name` tells several explanations of one test apart. See `pellucid.evaluate.moved` for what
        is measured, over which `features`.
        """
        from pellucid.archive import load
        from pellucid.evaluate.difference import part_of

        allowed = part_of(tolerance)
        path = self.folder / f"{_plain(self.test)}{f'-{_plain(name)}' if name else ''}.safetensors"
        if path in self.seen:
            pytest.fail(
                "Explanations that one test checks must have names of their own; got "
                f"{name!r} twice. Pass another name to check().",
                pytrace=False,
            )
        self.seen.append(path)
        if self.update:
            path.parent.mkdir(exist_ok=True)
            found.save(path)
            return
        if not path.exists():
            pytest.fail(
                f"An explanation must be kept before it can be checked; got no {path}. Run pytest "
                "--update-explanations once, look at what it keeps, and commit it.",
                pytrace=False,
            )
        _hold(found, load(path), path, allowed, features)


@pytest.fixture
def explanations(request: pytest.FixtureRequest) -> Kept:
    """The explanations that were kept for this test, to hold new ones against them."""
    return Kept(
        folder=Path(request.path).parent / FOLDER,
        test=f"{Path(request.path).stem}-{request.node.nodeid.partition('::')[2]}",
        update=request.config.getoption("--update-explanations"),
    )


def _hold(
    found: "Explanation",
    kept: "Explanation",
    path: Path,
    tolerance: float,
    features: "FeaturesLike",
) -> None:
    """Fail unless both are of the same samples, and alike."""
    from pellucid.evaluate.difference import moved
    from pellucid.evaluate.measure import same_inputs

    if len(found) != len(kept):
        pytest.fail(
            f"The kept explanation must be of as many samples; got {len(found)}, where {path} has "
            f"{len(kept)}. Run pytest --update-explanations if that is meant.",
            pytrace=False,
        )
    distance = moved(kept, found, features)
    worst = int(distance.argmax())
    if float(distance[worst]) > tolerance:
        many = int((distance > tolerance).sum())
        other = "" if same_inputs(found, kept) else ", whose inputs are others"
        pytest.fail(
            f"At most {tolerance:.1%} of the relevance may lie elsewhere; got "
            f"{float(distance[worst]):.1%} in sample {worst}, and more than allowed in {many} of "
            f"{len(distance)} samples, of {found.method.name} against {path}{other}. Run pytest "
            "--update-explanations if the change is meant.",
            pytrace=False,
        )


def _plain(name: str) -> str:
    """A name that every file system takes.

    >>> _plain("test_cat[lrp-3]")
    'test_cat_lrp-3_'
    """
    return re.sub(r"[^\w.-]", "_", name)
