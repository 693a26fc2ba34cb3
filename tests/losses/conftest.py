"""Rasterise with two threads."""

import pytest


@pytest.fixture(autouse=True, scope="package")
def threads(two_threads: None) -> None:
    """Keep torch to one thread, since its own stall beside a busy process: the reference runs in it."""
