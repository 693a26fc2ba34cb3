"""Torch's threads sleep while they wait for each other, as soon as others want the cores.

GNU's OpenMP, to which torch's threads on Linux belong, lets a thread that waits spin for some milliseconds.
On an idle machine small layers gain half their speed by it; on a busy one it keeps from running whom it
waits for, and work takes tens of times as long. `OMP_WAIT_POLICY=passive` ends it, but is read when torch
is loaded, before any code of a plugin. What is left: where its threads outnumber the cores OpenMP spins a
three-hundredth as long, and threads that rest are counted. So while this process's threads wait for cores,
a thread that does nothing holds a team of them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

_SECONDS = 0.25
_HOLD, _RELEASE = 0.2, 0.1
"""Shares of the time of running or waiting for a core that were waiting."""
_SHARED = 1 << 20
"""Elements that torch shares among threads."""

Times = dict[str, tuple[int, int]]
"""Nanoseconds that each thread has run, and waited for a core while it could have run."""


@cache
def yield_cores_to_others() -> None:
    """Watch whether threads of this process wait for cores, and let torch's sleep while they do.

    Systems that do not tell (all but Linux) and users who set ``OMP_WAIT_POLICY`` keep what they have. A
    second call changes nothing.
    """
    if "OMP_WAIT_POLICY" not in os.environ and thread_times():
        threading.Thread(
            target=hold_while_waiting, args=(_shares_waited(),), name="dyn3d-cores", daemon=True
        ).start()


def thread_times() -> Times:
    """Return the times of the threads of this process, none where the system does not tell."""
    times: Times = {}
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            ran, waited, _ = path.read_text().split()
        except OSError:  # the thread has ended
            continue
        times[path.parent.name] = int(ran), int(waited)
    return times


def share_waited(before: Times, after: Times) -> float:
    """Return which share of the time that threads ran or could have run they waited for a core."""
    known = before.keys() & after.keys()
    ran, waited = (sum(after[name][k] - before[name][k] for name in known) for k in (0, 1))
    return waited / max(ran + waited, 1)


class HeldTeam:
    """Two threads of torch's or more that rest, so many that with those at work they outnumber the cores."""

    def __init__(self) -> None:
        held, self._let_go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, args=(held,), name="dyn3d-team", daemon=True)
        self._thread.start()
        held.wait()

    def release(self) -> None:
        """End them."""
        self._let_go.set()
        self._thread.join()

    def _hold(self, held: threading.Event) -> None:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(max(len(os.sched_getaffinity(0)) - threads, 0) + 2)
        torch.zeros(_SHARED).add_(1)  # which makes the team
        torch.set_num_threads(threads)  # for threads that begin later take it over
        held.set()
        self._let_go.wait()


def _shares_waited() -> Iterator[float]:
    """Measure for ever."""
    while True:
        before = thread_times()
        time.sleep(_SECONDS)
        yield share_waited(before, thread_times())


def hold_while_waiting(shares: Iterable[float], hold: Callable[[], HeldTeam] = HeldTeam) -> None:
    """Hold a team while threads wait.

    Args:
        shares: Which share of the time they waited, one after another.
        hold: Makes a team.
    """
    team: HeldTeam | None = None
    for share in shares:
        if team is None and share > _HOLD and "torch" in sys.modules:
            team = hold()
        elif team is not None and share < _RELEASE:
            team.release()
            team = None
