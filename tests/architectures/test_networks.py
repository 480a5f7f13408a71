"""Networks written by hand are recorded and walked as they are."""

import pytest

from tests.architectures.networks import NETWORKS
from tests.architectures.program import check


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name):
    check(NETWORKS[name](), f"network: {name}")
