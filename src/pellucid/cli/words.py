"""What errors and notes say of calls in Python, in the words of a command."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pellucid.errors import PellucidError

# A pattern in what is said, and what stands in its place: the first that fits goes first.
INFLUENCE = (
    (r"parameters=\[\.\.\.\](, of the last layers)?", r"--parameters LAYER\1"),
    (r"parameters=\[([^\]]+)\]", lambda found: _each("--parameters", found[1])),
    (r"how='(\w+)'", r"--how \1"),
    (r"`memory`, ", "--memory, "),
    (r"memory=\.\.\.", "--memory GB."),
    (r", fewer test examples at once, or another way", ", or another way (--how)"),
    (r"damping=(\d)", r"--damping \1"),
    (r"\b(a|the|as|more|its) damping\b", r"\1 --damping"),
    (r"curvature='gauss_newton', which never bends down", "--how ekfac, which never bends down"),
    (r"Take a larger scale: LiSSA\(scale=[^)]*\), or larger batches; ", "Take "),
    (r"(the loss bends down, more --damping) or curvature='gauss_newton'", r"\1"),
    (r"`(parameters|model|damping)`", r"`--\1`"),
    (r"Call model\.eval\(\) first", "Let the factory return model.eval()"),
    (r"Batch first \(batch_first=True\)", "Let the layer have the batch first"),
)  # fmt: skip


@contextmanager
def as_options(words: Callable[[str], str]) -> Iterator[None]:
    """Errors of ours, as they are put in the words of a command."""
    try:
        yield
    except PellucidError as error:
        error.args = (words(str(error)),)
        raise


def of_influence(text: str) -> str:
    """What is said of `pellucid.exemplar.influence`, as its command is called.

    >>> of_influence("Name the layers: parameters=['1', '2'], or take how='cg'.")
    'Name the layers: --parameters 1 --parameters 2, or take --how cg.'
    """
    for pattern, words in INFLUENCE:
        text = re.sub(pattern, words, text)
    return text


def _each(option: str, names: str) -> str:
    """An option once for each of some names in quotation marks."""
    return " ".join(f"{option} {name}" for name in re.findall(r"'([^']*)'", names))
