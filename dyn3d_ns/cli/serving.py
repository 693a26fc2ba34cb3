"""A page of ours, served until it is interrupted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dyn3d_ns.engine.interrupt import how_to_stop

if TYPE_CHECKING:
    import viser


class Page(Protocol):
    """A page that is being served."""

    server: viser.ViserServer

    def stop(self) -> None:
        """Stop serving."""


def serve(page: Page, shown: Path, frames: int) -> None:
    """Say what is shown and where, and wait for Ctrl-C."""
    host, port = page.server.get_host(), page.server.get_port()
    print(f"{shown}: {frames} frames at http://{host}:{port} ({how_to_stop()} ends)", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        page.stop()
