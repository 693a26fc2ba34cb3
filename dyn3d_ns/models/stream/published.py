"""Published figures of streaming methods, copied from the papers' tables, not measured here."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """A row of a paper's table; texts as printed, "-" where there is none."""

    method: str
    psnr: str
    megabytes: str
    """A frame; without / with frame 0 where both are given."""
    seconds: str
    """A frame, frame 0 included unless said otherwise."""
    fps: str
    source: str


N3DV = (
    Published("Plenoxels a frame", "30.77", "4106", "1380", "8.3", "3DGStream, table 1 (RTX 3090)"),
    Published("3DGS a frame", "32.08", "47.1", "498", "390", "3DGStream, table 1 (RTX 3090)"),
    Published("StreamRF", "30.68", "17.7 / 31.4", "15", "8.3", "3DGStream, table 1 (RTX 3090)"),
    Published("3DGStream", "31.67", "7.6 / 7.8", "12", "215", "3DGStream"),
    Published("HiCoM", "31.17", "0.7 / 0.9", "6.7", "274", "HiCoM (RTX 4090)"),
    Published("QUEEN-l", "32.19", "0.75", "7.9", "248", "QUEEN (A100)"),
    Published("ComGS-s", "31.87", "0.049", "37", "91", "ComGS (A100)"),
    Published("S2GS-full", "32.76", "0.11", "4.12", "482", "S2GS (RTX 4090)"),
)
"""Means over six scenes, 1352x1014, camera 00 held out."""
MEET_ROOM = (
    Published("StreamRF, distorted", "26.72", "5.7 / 9.0", "10", "10", "3DGStream, table 2 (RTX 3090)"),
    Published("3DGStream", "30.79", "4.0 / 4.1", "7.2", "288", "3DGStream"),
    Published("HiCoM, undistorted", "29.61", "0.3", "3.7", "-", "HiCoM (RTX 4090)"),
    Published("QUEEN-l", "32.21", "0.29", "3.5", "397", "S2GS, table 2"),
    Published("S2GS-full", "32.46", "0.08", "1.96", "513", "S2GS (RTX 4090)"),
)
"""Scene discussion, or three scenes, 1280x720."""
