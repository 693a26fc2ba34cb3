"""A scene of Gaussians that a stream holds: shown at any of its frames, trained at the last one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.gaussians.gaussians import Gaussians
from dyn3d_ns.gaussians.lattice import Lattice, LatticeGaussians
from dyn3d_ns.gaussians.scene import StaticScene
from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.stream.player import StreamPlayer
from dyn3d_ns.timeline import TIME_EPS, Timeline


def gaussians_of(
    state: LatticeGaussians, lattice: Lattice, device: torch.device, back: float = 0.0, dt: float = 1.0
) -> Gaussians:
    """Return Gaussians of a stream as the rasteriser takes them.

    Args:
        state: A frame.
        lattice: The stream's steps.
        device: Where they shall be.
        back: Part of the way to the frame before that what moves is moved back by, 0 to 1.
        dt: Time from the frame before, by which velocities count.
    """

    def floats(name: str, values: np.ndarray) -> Tensor:
        return torch.from_numpy(lattice.to_float(name, values)).to(device)

    means, shift = floats("means", state.means), floats("means", state.shift)
    dc, rest = floats("features_dc", state.features_dc), floats("features_rest", state.features_rest)
    return Gaussians(
        means - back * shift if back else means,
        floats("quats", state.quats),
        floats("scales", state.scales).exp(),
        torch.sigmoid(floats("opacities", state.opacities)).squeeze(1),
        torch.cat([dc[:, None], rest], 1),
        shift / dt,
        torch.from_numpy(state.moving).to(device),
    )


def frame_at(times: tuple[float, ...], t: float, count: int) -> tuple[int, float]:
    """Return the first frame at or after a time, and the part of the way back from there to the time.

    Args:
        times: Times of all frames that are planned, rising.
        t: The time.
        count: Frames that are there; after the last one the scene stays as it is there.
    """
    there = times[: max(count, 1)]
    after = int(np.searchsorted(there, t - TIME_EPS))
    if after >= len(there):
        return len(there) - 1, 0.0
    if after == 0 or there[after] - t <= TIME_EPS:
        return after, 0.0
    return after, (there[after] - t) / (there[after] - there[after - 1])


class Shown(NamedTuple):
    """What a stream shows at a time."""

    gaussians: Gaussians
    frame: int
    """The frame that they belong to."""
    problem: DamagedFileError | None
    """Why it is not the frame of that time but an earlier one."""


class StreamedFrames:
    """What a stream of Gaussians holds at any time; safe to ask from several threads.

    Between two frames what moves is on its way from one to the other; after the last frame that is written
    the scene stays as it is there.
    """

    def __init__(self, player: StreamPlayer[LatticeGaussians], lattice: Lattice, timeline: Timeline) -> None:
        """Show what ``player`` plays at the times of ``timeline``."""
        self.player, self.lattice, self.timeline = player, lattice, timeline
        self._kept: tuple[LatticeGaussians, float, torch.device, Gaussians] | None = None

    def at(self, t: float, device: torch.device) -> Shown:
        """Return the scene at a normalised time; behind damage, as it was in the last frame before.

        Raises:
            MissingFileError: no frame is there.
            DamagedFileError: frame 0 is damaged.
        """
        frame, back = frame_at(self.timeline.frame_times, t, self.player.num_frames())
        reached = self.player.reach(frame)
        back = back if reached.problem is None else 0.0
        kept = self._kept
        if kept is None or kept[0] is not reached.state or kept[1:3] != (back, device):
            gaussians = gaussians_of(reached.state, self.lattice, device, back, self.timeline.dt)
            kept = self._kept = reached.state, back, device, gaussians
        return Shown(kept[3], reached.frame, reached.problem)


class StreamedScene(StaticScene):
    """Frame 0 while it is trained; once there is a stream, what that holds at the time asked for."""

    def __init__(self, params: dict[str, Float[Tensor, "N *D"]], timeline: Timeline) -> None:
        """Take frame 0's parameters and the times of the recording."""
        super().__init__(params)
        self.timeline = timeline
        self._frames: StreamedFrames | None = None

    def play(self, player: StreamPlayer[LatticeGaussians], lattice: Lattice) -> None:
        """Show a stream from now on."""
        self._frames = StreamedFrames(player, lattice, self.timeline)

    def at(self, t: float) -> Gaussians:
        """Return the scene at a normalised time.

        Raises:
            DamagedFileError: the stream does not play up to there.
        """
        if self._frames is None:
            return super().at(t)
        shown = self._frames.at(t, self.params["means"].device)
        if shown.problem is not None:
            raise shown.problem
        return shown.gaussians
