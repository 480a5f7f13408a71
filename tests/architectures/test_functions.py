"""What a forward pass may be written with is recorded and walked as it is."""

import pytest

from tests.architectures.functions import FUNCTIONS
from tests.architectures.program import check
from tests.architectures.tools import ATTENTION, INPUTS, OUTPUTS, TOOLS

TABLES = {"function": FUNCTIONS, "output": OUTPUTS, "input": INPUTS, "attention": ATTENTION,
          "tool": TOOLS}  # fmt: skip
ALL = [(table, name) for table, rows in TABLES.items() for name in rows]


# What torch says of its own tools when they are used without anyone recording, too.
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("table", "name"), ALL, ids=[f"{table}: {name}" for table, name in ALL])
def test_program(table, name):
    check(TABLES[table][name](), f"{table}: {name}")
