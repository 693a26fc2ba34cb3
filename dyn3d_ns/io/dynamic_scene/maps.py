"""Flow, masks and depth of a scene's frames: from its files, or made where they lack."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from rich.console import Console
from rich.progress import track

from dyn3d_ns.geometry.triangulation import FlowView, InverseDepth, relative_transform
from dyn3d_ns.io.clip.types import Cameras, Flow
from dyn3d_ns.io.dynamic_scene import made
from dyn3d_ns.io.dynamic_scene.base import SceneFiles
from dyn3d_ns.io.dynamic_scene.cache import kept, key_of
from dyn3d_ns.io.dynamic_scene.disparity import AffineFit
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.footage.files import resized
from dyn3d_ns.io.images import read_image, resize_area
from dyn3d_ns.io.resampling import nearest_to

Kind = Literal["flow", "masks", "disparity"]
_LONGEST = 960
"""Longer side at which maps are made, at most, pixels."""
_SOME, _FEW = 12, 500
"""Frames that are looked at, and triangulated points that are needed, to tell what holds for all."""
_PARALLAX, _FARTHEST = 6.0, 8
"""Parallax that depth is triangulated by, pixels at the published width, and frames that may lie between."""
_BOUNDS = (95.0, 5.0)
"""Percentiles of inverse depth that are the nearest and the farthest depth."""


class SceneMaps:
    """Maps of the frames; those that have no file are made when first asked for, all frames at once.

    Several threads may ask. ``made`` names the kinds whose files are not looked at.
    """

    def __init__(self, files: SceneFiles, made: Iterable[Kind] = ()) -> None:
        self.files, self._made = files, frozenset(made)
        self._lock = threading.RLock()

    def __deepcopy__(self, memo: dict[int, object]) -> SceneMaps:
        """Return itself: datasets copy their metadata, and what is made is made once."""
        return self

    def flow(self, i: int, j: int) -> Flow:
        """Return the flow from a frame to its neighbour."""
        found = None if "flow" in self._made else self.files.flow(i, j)
        if found is not None:
            return found
        with self._lock:
            flows = self._flows
        return Flow(flows[_flow_name(i, j)].astype(np.float32), flows[_valid_name(i, j)])

    def mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Return what moves in a frame."""
        found = None if "masks" in self._made else self.files.mask(i)
        if found is not None:
            return found
        with self._lock:
            return self._masks[f"mask_{i:05d}"]

    def has_mask_file(self, i: int) -> bool:
        """Tell whether the files say what moves in a frame."""
        return "masks" not in self._made and self.files.mask(i) is not None

    def inverse_depth(self, i: int) -> Float32[np.ndarray, "h w"]:
        """Return 1 / planar z of a frame in the scene's own units; 0 where it is unknown."""
        depth = None if "disparity" in self._made else self.files.depth(i)
        if depth is not None:
            return np.where(depth > 0, 1 / np.where(depth > 0, depth, 1), 0).astype(np.float32)
        with self._lock:
            return self._depths[f"depth_{i:05d}"]

    def measured_bounds(self) -> Float64[np.ndarray, "F 2"]:
        """Return the nearest and farthest depth of triangulated points, of each frame or one near it.

        Raises:
            DatasetError: hardly any point could be triangulated.
        """
        some = self._all[:: max(len(self._all) // _SOME, 1)]
        found = [known.value[known.weight > 0] for known in map(self.triangulated, some)]
        whole = np.concatenate(found)
        if len(whole) < _FEW:
            raise DatasetError(
                f"{self.files.root}: its depth cannot be told from its flow and cameras (the camera "
                "hardly moves, or the poses do not fit); give depth or points, as `dyn3d process` does"
            )
        rows = [1 / np.percentile(values if len(values) > _FEW else whole, _BOUNDS) for values in found]
        nearest = np.abs(np.arange(len(self._all))[:, None] - np.array(some)).argmin(1)
        return np.array(rows)[nearest]

    def triangulated(self, i: int) -> InverseDepth:
        """Return the inverse depth of what stands still in a frame, as far as flow and cameras tell."""
        mask = nearest_to(self.mask(i), self._size)
        views = self._views(i) if self._step == 1 else self._far_views(i)
        return made.triangulated(self._cameras.Ks[i], views, mask)

    def fits(self) -> list[AffineFit | None]:
        """Return how each frame's relative disparity was brought to scene units; None where it was not."""
        with self._lock:
            depths = self._depths
        rows = [depths.get(f"fit_{i:05d}") for i in self._all]
        return [None if row is None else AffineFit(*row.tolist()) for row in rows]

    @property
    def _all(self) -> range:
        return range(len(self.files.frames))

    @cached_property
    def _size(self) -> tuple[int, int]:
        """Width and height at which maps are made."""
        width, height = self.files.size
        scale = min(1.0, _LONGEST / max(width, height))
        return round(width * scale), round(height * scale)

    @cached_property
    def _cameras(self) -> Cameras:
        cameras = self.files.cameras()
        Ks = resized(cameras.Ks, self.files.size, self._size)
        return Cameras(Ks, cameras.camera_to_worlds, cameras.registered)

    @cached_property
    def _key(self) -> str:
        sources = ",".join(sorted(self._made)).encode()
        cameras = self._cameras
        files = [*self.files.frames, *self.files.side_files()]
        return key_of(files, sources, cameras.Ks.tobytes(), cameras.camera_to_worlds.tobytes())

    @cached_property
    def _flows(self) -> dict[str, np.ndarray]:
        return kept(self.files.root, "flow", self._key, self._make_flows)

    @cached_property
    def _masks(self) -> dict[str, np.ndarray]:
        return kept(self.files.root, "masks", self._key, self._make_masks)

    @cached_property
    def _depths(self) -> dict[str, np.ndarray]:
        return kept(self.files.root, "depth", self._key, self._make_depths)

    def _make_flows(self) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        previous = self._image(0)
        for i in self._shown(self._all[:-1], "Flow"):
            current = self._image(i + 1)
            for (a, b), flow in zip(((i, i + 1), (i + 1, i)), made.make_flow(previous, current), strict=True):
                # As precise as dyn3d process keeps it, at half the memory.
                found[_flow_name(a, b)] = flow.flow.astype(np.float16)
                found[_valid_name(a, b)] = flow.valid
            previous = current
        return found

    def _make_masks(self) -> dict[str, np.ndarray]:
        Ks = self._cameras.Ks
        return {
            f"mask_{i:05d}": made.make_mask(Ks[i], self._views(i)) for i in self._shown(self._all, "Masks")
        }

    def _make_depths(self) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for i in self._shown(self._all, "Depth"):
            known = self.triangulated(i)
            relative = None if "disparity" in self._made else self.files.relative_disparity(i)
            scaled = None if relative is None else made.scaled_disparity(relative, known)
            if scaled is not None:
                found[f"depth_{i:05d}"], fit = scaled
                found[f"fit_{i:05d}"] = np.array(fit)
                continue
            if relative is not None:
                name = self.files.frames[i].name
                print(
                    f"{self.files.root}: the disparity of {name} does not fit what its flow and cameras say; "
                    "depth is triangulated instead",
                    file=sys.stderr,
                )
            mask = nearest_to(self.mask(i), self._size)
            found[f"depth_{i:05d}"] = made.spread(known, self._image(i), mask)
        return found

    def _views(self, i: int) -> list[FlowView]:
        """Return the neighbours of a frame as its flow sees them."""
        return [self._view(i, j, self.flow(i, j)) for j in (i - 1, i + 1) if j in self._all]

    def _view(self, i: int, j: int, flow: Flow) -> FlowView:
        cameras = self._cameras
        scale = np.array(self._size, np.float32) / np.array(flow.valid.shape[::-1], np.float32)
        moved = relative_transform(cameras.camera_to_worlds[i], cameras.camera_to_worlds[j])
        valid = nearest_to(flow.valid, self._size)
        return FlowView(nearest_to(flow.flow, self._size) * scale, valid, cameras.Ks[j], moved)

    @cached_property
    def _step(self) -> int:
        """Frames between two that show enough parallax to triangulate by; slow cameras need several."""
        some = self._all[:: max(len(self._all) // _SOME, 1)]
        seen = []
        for i in some:
            mask, K = nearest_to(self.mask(i), self._size), self._cameras.Ks[i]
            seen += [made.parallax(K, view, mask) for view in self._views(i)]
        wanted = _PARALLAX * self._size[0] / made.PUBLISHED_WIDTH
        return int(np.clip(np.ceil(wanted / max(float(np.median(seen)), 1e-3)), 1, _FARTHEST))

    def _far_views(self, i: int) -> list[FlowView]:
        """Return the frames some steps before and after a frame, by flow that is made for it."""
        step = min(self._step, len(self._all) - 1)
        return [
            self._view(i, j, made.make_flow(self._image(i), self._image(j))[0])
            for j in (i - step, i + step)
            if j in self._all
        ]

    def _image(self, i: int) -> UInt8[np.ndarray, "H W 3"]:
        return resize_area(read_image(self.files.frames[i], alpha=False), *self._size)

    def _shown(self, frames: range, what: str) -> Iterable[int]:
        # A console of its own: whoever asks may show a bar already.
        console = Console(stderr=True)
        description = f"{what} of {self.files.name}, which has none"
        return track(frames, description, console=console, transient=True, disable=not console.is_terminal)


def _flow_name(i: int, j: int) -> str:
    return f"flow_{i:05d}_{j:05d}"


def _valid_name(i: int, j: int) -> str:
    return f"valid_{i:05d}_{j:05d}"
