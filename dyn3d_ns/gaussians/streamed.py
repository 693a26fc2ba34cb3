"""A scene of Gaussians that a stream holds: shown at any of its frames, trained at the last one."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.gaussians.gaussians import Gaussians
from dyn3d_ns.gaussians.lattice import Lattice, LatticeGaussians
from dyn3d_ns.gaussians.scene import StaticScene
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


class StreamedScene(StaticScene):
    """Frame 0 while it is trained; once there is a stream, what that holds at the time asked for.

    Between two frames what moves is on its way from one to the other; after the last frame that is written
    the scene stays as it is there.
    """

    def __init__(self, params: dict[str, Float[Tensor, "N *D"]], timeline: Timeline) -> None:
        """Take frame 0's parameters and the times of the recording."""
        super().__init__(params)
        self.timeline = timeline
        self._player: StreamPlayer[LatticeGaussians] | None = None
        self._lattice: Lattice | None = None
        self._kept: tuple[LatticeGaussians, float, Gaussians] | None = None

    def play(self, player: StreamPlayer[LatticeGaussians], lattice: Lattice) -> None:
        """Show a stream from now on."""
        self._player, self._lattice, self._kept = player, lattice, None

    def at(self, t: float) -> Gaussians:
        """Return the scene at a normalised time."""
        if self._player is None or self._lattice is None:
            return super().at(t)
        frame, back = self.frame_at(t, self._player.num_frames())
        state = self._player.seek(frame)
        if self._kept is None or self._kept[0] is not state or self._kept[1] != back:
            shown = gaussians_of(state, self._lattice, self.params["means"].device, back, self.timeline.dt)
            self._kept = state, back, shown
        return self._kept[2]

    def frame_at(self, t: float, count: int) -> tuple[int, float]:
        """Return the first frame at or after a time, and the part of the way back from there to the time."""
        times = self.timeline.frame_times[: max(count, 1)]
        after = int(np.searchsorted(times, t - TIME_EPS))
        if after >= len(times):
            return len(times) - 1, 0.0
        if after == 0 or times[after] - t <= TIME_EPS:
            return after, 0.0
        return after, (times[after] - t) / (times[after] - times[after - 1])

    def forget(self) -> None:
        """Drop what is kept between calls."""
        self._kept = None
