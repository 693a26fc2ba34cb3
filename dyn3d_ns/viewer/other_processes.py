"""What viser asks of other processes when a viewer starts."""

from __future__ import annotations

from functools import cache, wraps


@cache
def let_processes_end() -> None:
    """Let viewers of this process start while some other process ends.

    viser looks through all processes for a `yarn start` of its own client and fails on one that is gone.
    """
    import psutil
    from viser import _client_autobuild

    stock = _client_autobuild._check_viser_yarn_running

    @wraps(stock)
    def check() -> bool:
        try:
            return stock()
        except psutil.NoSuchProcess:
            return False

    _client_autobuild._check_viser_yarn_running = check
