"""Processes that end while threads rasterise: none is aborted, whoever still renders."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# One interpreter forks those that start two threads, rasterise and exit: starting torch in each would take
# a minute. It rasterises on one thread before, so that it has no workers to lose.
CODE = """
import os, sys, threading, time
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from raster_helpers import scene
from dyn3d_ns.kernels.pool import set_num_threads
from dyn3d_ns.rendering import rasterize

arguments, daemon = scene(n=3000, width=120, height=100, size=0.03), sys.argv[2] == "daemon"

def once():
    means = arguments["means"].clone().requires_grad_()
    rasterize(**{**arguments, "means": means})[0].sum().backward()

def loop(started):
    for _ in range(10**6 if daemon else 2):
        once()
        started.set()

set_num_threads(1)
once()
for k in range(int(sys.argv[3])):
    child = os.fork()
    if child == 0:
        set_num_threads(2)
        for started in [threading.Event(), threading.Event()]:
            threading.Thread(target=loop, args=(started,), daemon=daemon).start()
            started.wait()
        time.sleep(0.002 * k)
        sys.exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"child {k} ended with status {status}"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork: run on Linux or macOS")
@pytest.mark.parametrize(("kind", "times"), [("daemon", 8), ("plain", 6)])
def test_no_exit_beside_rasterising_threads_is_aborted(kind, times):
    """Without the wait at exit most children are aborted."""
    command = [sys.executable, "-W", "ignore", "-c", CODE, str(Path(__file__).parents[1]), kind, str(times)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "terminate called" not in done.stderr and "Fatal" not in done.stderr
