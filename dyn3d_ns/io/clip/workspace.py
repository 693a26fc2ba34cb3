"""Write the folder of a clip: a writer for each kind of file, beside the readers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from dyn3d_ns.io.arrays import encode_png, write_npz
from dyn3d_ns.io.atomic import atomic_open, write_bytes, write_json
from dyn3d_ns.io.clip.folder import ClipFolder
from dyn3d_ns.io.clip.types import Cameras, Clip, Flow, SparsePoints, Tracks
from dyn3d_ns.io.flow_files import write_flow_npz


@dataclass(frozen=True)
class Workspace(ClipFolder):
    """The folder of a clip that is being processed: readers and writers."""

    def has_masks(self) -> bool:
        """Whether the stage `masks` has written its result; DynamicVerse's coloured masks do not count."""
        return self.label_path(0).is_file()

    def write_clip(self, clip: Clip) -> None:
        """Write the times of the frames."""
        write_json(self.clip_path, asdict(clip))

    def write_flow(self, i: int, j: int, flow: Flow) -> None:
        """Write the flow from frame i to frame j."""
        write_flow_npz(self.flow_path(i, j), flow.flow, flow.valid)

    def write_tracks(self, tracks: Tracks, interval: int, grid: int) -> None:
        """Write the tracks with DynamicVerse's keys."""
        write_npz(
            self.tracks_path(interval, grid),
            all_tracks=tracks.xy,
            all_visibilities=tracks.visible,
            all_confidences=tracks.confidence,
            init_frames=tracks.init_frames,
            orig_shape=np.array([tracks.height, tracks.width]),
        )

    def write_labels(self, i: int, labels: Int32[np.ndarray, "H W"]) -> None:
        """Write instance ids, 8 bits where they fit, else 16."""
        depth = np.uint8 if labels.max(initial=0) < 256 else np.uint16
        write_bytes(self.label_path(i), encode_png(labels.astype(depth)))

    def write_motion(self, i: int, probability: Float32[np.ndarray, "H W"], kind: str = "dyna_avg") -> None:
        """Write how likely each pixel moves by itself, in [0, 1]."""
        write_bytes(self.motion_path(i, kind), encode_png(np.rint(probability * 255).astype(np.uint8)))

    def write_cameras(self, cameras: Cameras, adjusted: bool = False) -> None:
        """Write the cameras with DynamicVerse's keys."""
        write_npz(
            self.adjusted_cameras_path if adjusted else self.cameras_path,
            poses=cameras.camera_to_worlds,
            intrinsics=cameras.Ks,
            registered=cameras.registered,
            static=np.array(cameras.static),
        )

    def write_points(self, points: SparsePoints) -> None:
        """Write the static points that the cameras were found with."""
        write_npz(self.points_path, **{k: np.asarray(v) for k, v in vars(points).items()})

    def write_depths(self, depths: Iterable[Float32[np.ndarray, "H W"]], num_frames: int) -> None:
        """Write depth maps one after another into a (F,1,H,W) file; memory holds one of them."""
        # Written, not mapped: the pages of a mapped file count as this process's memory.
        with atomic_open(self.depth_path) as file:
            count, shape = 0, None
            for depth in depths:
                if shape is None:
                    shape = (num_frames, 1, *depth.shape)
                    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                if depth.shape != shape[2:]:
                    raise ValueError(f"depth map {count} is {depth.shape}, those before it {shape[2:]}")
                file.write(np.ascontiguousarray(depth, dtype="<f4").tobytes())
                count += 1
            if count != num_frames:
                raise ValueError(f"expected {num_frames} depth maps, got {count}")

    def write_depth_info(self, source: str, **details: Any) -> None:
        """Say where the depth came from, and what else is worth knowing."""
        write_json(self.depth_info_path, {"source": source, **details})
