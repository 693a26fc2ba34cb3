"""Torch's threads give way: what tells that others want the cores, and the team that is held meanwhile."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dyn3d_ns.engine.waiting_threads import HeldTeam, hold_while_waiting, share_waited, thread_times

pytestmark = pytest.mark.skipif(not thread_times(), reason="this system does not tell its threads' times")

SPINS = """
import torch
from dyn3d_ns.engine.waiting_threads import HeldTeam
torch.set_num_threads(2)
torch.zeros(1 << 20).add_(1)
threads = lambda: len(__import__("os").listdir("/proc/self/task"))
before = threads()
team = HeldTeam()
during = threads()
team.release()
print(before, during, torch.get_num_threads())
"""


def test_the_share_is_of_threads_that_live_on() -> None:
    before = {"1": (1_000, 50), "2": (500, 0), "gone": (10**9, 10**9)}
    after = {"1": (1_300, 150), "2": (500, 0), "new": (10**9, 10**9)}
    assert share_waited(before, after) == pytest.approx(100 / 400)
    assert share_waited(before, before) == 0


def test_a_thread_that_works_has_run() -> None:
    before, end = thread_times(), time.process_time() + 0.05
    while time.process_time() < end:
        pass
    ran = thread_times()[str(threading.get_native_id())][0] - before[str(threading.get_native_id())][0]
    assert ran > 20e6


def test_a_held_team_adds_threads_that_outnumber_the_cores_and_leaves_torchs_number() -> None:
    done = subprocess.run([sys.executable, "-c", SPINS], capture_output=True, text=True, check=True)
    before, during, threads = map(int, done.stdout.split())
    # The thread that holds, and its team: with the two at work one more than there are cores, at least.
    assert during - before >= max(len(os.sched_getaffinity(0)) - 2, 0) + 2
    assert threads == 2


def test_threads_of_later_take_over_torchs_number() -> None:
    team, seen = HeldTeam(), []
    try:
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert seen == [torch.get_num_threads()]
    finally:
        team.release()


def test_a_team_is_held_while_threads_wait_and_given_back_when_they_no_longer_do() -> None:
    did: list[str] = []

    class Team(HeldTeam):
        def __init__(self) -> None:
            did.append("hold")

        def release(self) -> None:
            did.append("release")

    def shares() -> Iterator[float]:
        for share in (0.05, 0.5, 0.9, 0.15, 0.02, 0.15):
            did.append("look")
            yield share

    hold_while_waiting(shares(), Team)
    assert did == ["look", "look", "hold", "look", "look", "look", "release", "look"]


def test_who_sets_the_policy_keeps_it() -> None:
    code = (
        "import threading; from dyn3d_ns.engine.waiting_threads import yield_cores_to_others as y; y(); y();"
        "print([t.name for t in threading.enumerate()].count('dyn3d-cores'))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    for extra, watching in (({}, "1"), ({"OMP_WAIT_POLICY": "active"}, "0")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**environment, **extra},
            cwd=Path(__file__).parents[2],
        )
        assert done.stdout.strip() == watching
