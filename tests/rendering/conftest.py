"""Let the tests of this folder import its reference and helpers; rasterise with two threads."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="package")
def threads():
    """Keep torch to one thread, since its own stall beside a busy process: the reference runs in it."""
    import torch

    from dyn3d_ns.rendering import pool

    before, torch_before = pool._State.num_threads, torch.get_num_threads()
    pool._State.num_threads = 2
    torch.set_num_threads(1)
    yield
    pool._State.num_threads = before
    torch.set_num_threads(torch_before)
