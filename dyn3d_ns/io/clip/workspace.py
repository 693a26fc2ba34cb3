"""A reader and a writer for each kind of file in a clip's folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from dyn3d_ns.io.arrays import encode_png, read_npz, read_png, write_npz
from dyn3d_ns.io.atomic import atomic_open, write_json
from dyn3d_ns.io.clip.paths import Tree
from dyn3d_ns.io.clip.types import Cameras, Clip, Flow, SparsePoints, Tracks
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError
from dyn3d_ns.io.flow_files import read_flow_npz, write_flow_npz


@dataclass(frozen=True)
class Workspace(Tree):
    """Readers and writers of one clip's folder; see :class:`~dyn3d_ns.io.clip.paths.Tree` for its paths."""

    def image(self, i: int) -> UInt8[np.ndarray, "H W 3"]:
        """Read one frame as RGB."""
        return read_png(self.frames()[i], "RGB")

    def images(self) -> Images:
        """Return the frames as a sequence that reads each image when it is asked for."""
        return Images(self.frames())

    def clip(self) -> Clip:
        """Read the times of the frames."""
        values = self._json(self.clip_path, "frames")
        try:
            return Clip(**{**values, **{k: tuple(values[k]) for k in ("times", "source_frames")}})
        except (TypeError, KeyError) as error:
            raise DamagedFileError(f"{self.clip_path} is not a clip's description ({error})") from error

    def write_clip(self, clip: Clip) -> None:
        """Write the times of the frames."""
        write_json(self.clip_path, asdict(clip))

    def has_flow(self, i: int, j: int) -> bool:
        """Whether the flow from frame i to frame j is on disk."""
        return self.flow_path(i, j).is_file()

    def flow(self, i: int, j: int) -> Flow:
        """Read the flow from frame i to frame j."""
        return Flow(*read_flow_npz(self.flow_path(i, j)))

    def write_flow(self, i: int, j: int, flow: Flow) -> None:
        """Write the flow from frame i to frame j."""
        write_flow_npz(self.flow_path(i, j), flow.flow, flow.valid)

    def flow_model(self) -> str:
        """Return the name of the method that estimated the flow."""
        return str(self._json(self.flow_info_path, "flow").get("method", "unknown"))

    def keyframes(self) -> list[int]:
        """Return the numbers of the selected frames."""
        return [int(k["index"]) for k in self._json(self.keyframe_info_path, "keyframes")["selected"]]

    def tracks(self) -> Tracks:
        """Read the tracks."""
        path = self.find_tracks()
        values = read_npz(
            path, ("all_tracks", "all_visibilities", "all_confidences", "init_frames", "orig_shape")
        )
        shape = values["orig_shape"]
        return Tracks(
            xy=values["all_tracks"].astype(np.float32, copy=False),
            visible=values["all_visibilities"].astype(bool, copy=False),
            confidence=values["all_confidences"].astype(np.float32, copy=False),
            init_frames=values["init_frames"].astype(np.int64, copy=False),
            height=int(shape[0]),
            width=int(shape[1]),
        )

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

    def labels(self, i: int) -> Int32[np.ndarray, "H W"]:
        """Read the instance ids of frame i; 0 is static."""
        return read_png(self.label_path(i), None, stage="masks").astype(np.int32)

    def write_labels(self, i: int, labels: Int32[np.ndarray, "H W"]) -> None:
        """Write instance ids, 8 bits where they fit, else 16."""
        depth = np.uint8 if labels.max(initial=0) < 256 else np.uint16
        self._write(self.label_path(i), encode_png(labels.astype(depth)))

    def has_masks(self) -> bool:
        """Whether the stage `masks` has written its result."""
        return self.label_path(0).is_file()

    def dynamic_mask(self, i: int) -> Bool[np.ndarray, "H W"]:
        """Read where frame i moves by itself."""
        return self.labels(i) > 0

    def motion(self, i: int, kind: str = "dyna_avg") -> Float32[np.ndarray, "H W"]:
        """Read how likely each pixel moves by itself, in [0, 1]."""
        return read_png(self.motion_path(i, kind), "L", stage="masks").astype(np.float32) / 255

    def write_motion(self, i: int, probability: Float32[np.ndarray, "H W"], kind: str = "dyna_avg") -> None:
        """Write how likely each pixel moves by itself, in [0, 1]."""
        self._write(self.motion_path(i, kind), encode_png(np.rint(probability * 255).astype(np.uint8)))

    def cameras(self, adjusted: bool | None = None) -> Cameras:
        """Read the cameras: the adjusted ones (True), those before (False), the best there are (None)."""
        path = self.adjusted_cameras_path
        if adjusted is False or (adjusted is None and not path.is_file()):
            path = self.cameras_path
        values = read_npz(path, ("poses", "intrinsics"), stage="cameras")
        poses = values["poses"].astype(np.float64)
        registered = values.get("registered", np.ones(len(poses), bool)).astype(bool)
        static = bool(values.get("static", np.array(False)))
        return Cameras(values["intrinsics"].astype(np.float64), poses, registered, static)

    def write_cameras(self, cameras: Cameras, adjusted: bool = False) -> None:
        """Write the cameras with DynamicVerse's keys."""
        write_npz(
            self.adjusted_cameras_path if adjusted else self.cameras_path,
            poses=cameras.camera_to_worlds,
            intrinsics=cameras.Ks,
            registered=cameras.registered,
            static=np.array(cameras.static),
        )

    def points(self) -> SparsePoints:
        """Read the static points that the cameras were found with."""
        names = ("xyz", "rgb", "frame_ids", "point_ids", "xy")
        values = read_npz(self.points_path, names, stage="cameras")
        return SparsePoints(*(values[name] for name in names))

    def write_points(self, points: SparsePoints) -> None:
        """Write the static points that the cameras were found with."""
        write_npz(self.points_path, **{k: np.asarray(v) for k, v in vars(points).items()})

    def depth(self, i: int, adjusted: bool | None = None) -> Float32[np.ndarray, "H W"]:
        """Read planar z of frame i: adjusted (True), as estimated (False), the best there is (None).

        0 where nothing is known.
        """
        path = self.adjusted_frame_path(i)
        if adjusted or (adjusted is None and path.is_file()):
            disparity = read_npz(path, ("disp",), stage="adjust")["disp"].astype(np.float32)
            known = disparity > 0
            return np.where(known, 1 / np.where(known, disparity, 1), 0).astype(np.float32)
        return np.array(self._depths()[i], dtype=np.float32).reshape(self._depths().shape[-2:])

    def has_depth(self) -> bool:
        """Whether there is a depth map of every frame."""
        return self.depth_path.is_file()

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

    def _depths(self) -> np.ndarray:
        if not self.depth_path.is_file():
            raise MissingFileError(f"{self.depth_path} does not exist; run the stage `depth` first")
        try:
            depths = np.load(self.depth_path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DamagedFileError(f"{self.depth_path} is not a readable array ({error})") from error
        return depths[..., 0] if depths.ndim == 4 and depths.shape[-1] == 1 else depths

    def _json(self, path: Path, stage: str) -> dict[str, Any]:
        if not path.is_file():
            raise MissingFileError(f"{path} does not exist; run the stage `{stage}` first")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DamagedFileError(f"{path} is not valid JSON ({error}); delete it and run again") from error
        if not isinstance(content, dict):
            raise DamagedFileError(f"{path} must hold a JSON object; delete it and run `{stage}` again")
        return content

    def _write(self, path: Path, content: bytes) -> None:
        with atomic_open(path) as file:
            file.write(content)


class Images(Sequence[np.ndarray]):
    """The frames as a sequence; each image is read when it is asked for."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> UInt8[np.ndarray, "H W 3"]:  # type: ignore[override]
        return read_png(self.paths[i], "RGB")

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        return (self[i] for i in range(len(self)))
