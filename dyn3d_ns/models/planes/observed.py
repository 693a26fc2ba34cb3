"""Where matter is at each observed time of a training: silhouettes, and the scene's own occupancy."""

import math
from typing import Any

import torch
from jaxtyping import Bool, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from dyn3d_ns.models.planes.hull import hull_cells
from dyn3d_ns.models.planes.scene import MatterOverTime, PlanesScene
from dyn3d_ns.timeline import Timeline

COARSE = 40
"""Cells along an axis of the silhouettes' first carving, which only bounds the scene."""
SEEN = 0.75
"""Part of the images of a time that show what bounds the scene; silhouettes of few leave phantoms."""


class ObservedMatter:
    """Keeps the occupancy of the observed times up to date while the scene is trained."""

    def __init__(self, scene: PlanesScene, timeline: Timeline) -> None:
        """Start without silhouettes; :meth:`carve` brings them."""
        self.scene, self.times, self.frame_index = scene, timeline.observed_times, timeline.frame_index
        self.hulls: list[Bool[Tensor, "G G G"]] = []
        self._matter: MatterOverTime | None = None

    def carve(self, views: list[tuple[Cameras, UInt8[Tensor, "C H W 4"]]]) -> None:
        """Fit the scene's cube to the silhouettes of all observed times, and carve each time's cells.

        Args:
            views: Cameras and images with alpha of each observed time.
        """
        s = self.scene

        def cells(view: tuple[Cameras, Tensor], count: int, share: float) -> Tensor:
            cameras, images = view
            few = max(math.ceil(share * len(images)), 2)
            kept = hull_cells(cameras, images.cpu(), s.center, float(s.half_width), count, few)
            return kept.to(s.center.device)

        some = [*views[:: max(len(views) // 8, 1)], views[-1]]
        s.fit_cube([cells(view, COARSE, SEEN) for view in some])
        self.hulls = [cells(view, s.occupancy.cells, 0.0) for view in views]
        for k, t in enumerate(s.key_times):
            hull = self.hull_of(t)
            if hull is not None:
                s.occupancy.restrict(k, hull)

    def hull_of(self, t: float) -> Bool[Tensor, "G G G"] | None:
        """Return the cells that silhouettes leave possible at a recorded time, None where that is unknown."""
        frame = self.frame_index(t)
        known = frame < len(self.hulls) and abs(self.times[frame] - t) < 1e-5
        return self.hulls[frame] if known else None

    @torch.no_grad()
    def get(self) -> MatterOverTime:
        """Return the occupancy of all observed times, made when it is first asked for."""
        if self._matter is None:
            codes, shifts = zip(*(self.cube(t) for t in self.times), strict=True)
            self._matter = MatterOverTime(torch.stack(codes), torch.stack(shifts))
        return self._matter

    @torch.no_grad()
    def update(self, turn: int) -> None:
        """Sample a keyframe's density anew and carry it to one of its times, each in turn."""
        s, matter = self.scene, self.get()
        k = turn % len(s.key_times)

        def density(x: Tensor, keyframe: int) -> Tensor:
            return s.density(x, torch.full((len(x),), keyframe, device=x.device))

        s.occupancy.update(k, density, self.hull_of(s.key_times[k]))
        mine = [f for f, t in enumerate(self.times) if s.nearest(t) == k]
        if mine:
            f = mine[(turn // len(s.key_times)) % len(mine)]
            matter.codes[f], matter.shifts[f] = self.cube(self.times[f])

    @torch.no_grad()
    def cube(self, t: float) -> tuple[Tensor, Tensor]:
        """Return the occupancy of any time, and the way from its cells to the keyframe."""
        s = self.scene
        k = s.nearest(t)
        key_time = s.key_times[k]
        exact = key_time if abs(t - key_time) <= 1e-6 else t
        return s.occupancy.at(k, key_time, exact, s.carry, self.hull_of(t))

    def get_state(self) -> dict[str, Any]:
        """Return the occupancy of the observed times, for an exact resume."""
        matter = self._matter
        return {} if matter is None else {"codes": matter.codes, "shifts": matter.shifts}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`get_state`."""
        if "codes" in state:
            device = self.scene.center.device
            self._matter = MatterOverTime(state["codes"].to(device), state["shifts"].to(device))
