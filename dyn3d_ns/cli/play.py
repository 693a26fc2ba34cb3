"""`dyn3d play`: a stream as a page in the browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from dyn3d_ns.viewer.stream_page import StreamPage


@dataclass(kw_only=True)
class Play:
    """Play a stream of Gaussians in the browser: any frame, from anywhere, also while it is being trained."""

    stream: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STREAM")]
    """Folder of a stream, or the folder or config.yml of the training that writes it."""
    host: str = "127.0.0.1"
    """Address to serve on; 0.0.0.0 lets other machines in."""
    port: int = 7009
    """Port of the page; the next free one if it is taken."""

    def run(self) -> None:
        """Serve the page until it is interrupted."""
        from dyn3d_ns.cli.serving import serve

        page = self.open()
        serve(page, page.folder, page.timeline.num_frames)

    def open(self) -> StreamPage:
        """Start serving and return the running page."""
        from dyn3d_ns.io.stream.header import find_stream
        from dyn3d_ns.viewer.stream_page import StreamPage

        return StreamPage(find_stream(self.stream), self.host, self.port)
