"""The folder that a clip becomes: DynamicVerse's tree, with a reader and a writer for each kind of file.

rgb/00000.png …                         frames (`clip.json`: their times)
flow/00000_00001.npz, .flo              flow from one frame to another, with its consistency mask
key_frames/rgb/<scene>_high_motion_…    frames with much motion; keyframe_info.json, processing_summary.json
cotrackerv3_<interval>_<grid>/results.npz
motion/dyna_avg/00000.png, dyna_max/…   how likely each pixel moves by itself, 0 to 255
segmentation/label/00000.png            instance ids, 0 = static; frames/, videos/, instance_labels.json
qwen/Annotations/frame_00000.png        the same ids in colours, as DynamicVerse names them
cameras/poses.npz, points.npz           cameras and static points before adjustment
unidepth/depth.npy, intrinsics.npy      depth (F,1,H,W) before adjustment
dynamicBA/<experiment>/                 adjusted cameras and depth, fused_4d.npz
transforms.json                         what Nerfstudio reads
manifest.json                           what ran, with which settings
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from dyn3d_ns.io.atomic import atomic_open, atomic_path, write_json
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError
from dyn3d_ns.io.flow_files import read_flow_npz, write_flow_npz
from dyn3d_ns.video.arrays import encode_png, read_npz, read_png, write_npz
from dyn3d_ns.video.types import Cameras, Clip, Flow, SparsePoints, Tracks

EXPERIMENT = "base"
"""Folder of dynamicBA/ that is written."""


@dataclass(frozen=True)
class Workspace:
    """Paths, readers and writers of one clip's folder. Frames are numbered from 0."""

    root: Path

    # -- frames -------------------------------------------------------------------------------------

    @property
    def scene(self) -> str:
        """Name of the scene: that of its folder."""
        return self.root.resolve().name

    @property
    def rgb_dir(self) -> Path:
        return self.root / "rgb"

    @property
    def clip_path(self) -> Path:
        return self.root / "clip.json"

    def frame_path(self, i: int) -> Path:
        """Image of a frame, where the stage `frames` writes it."""
        return self.rgb_dir / f"{i:05d}.png"

    def frames(self) -> list[Path]:
        """List the images of the clip in order."""
        found = sorted(p for p in self.rgb_dir.glob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
        if not found:
            raise MissingFileError(f"{self.rgb_dir} holds no frame; run the stage `frames` first")
        return found

    @property
    def num_frames(self) -> int:
        """Number of frames of the clip."""
        return len(self.frames())

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

    @property
    def cache_dir(self) -> Path:
        """What can be computed again; the runner's records lie beside it."""
        return self.root / ".dyn3d"

    # -- flow ---------------------------------------------------------------------------------------

    def flow_path(self, i: int, j: int) -> Path:
        """File of the flow from frame i to frame j; over more than one frame it is a cache."""
        folder = self.root / "flow" if abs(i - j) == 1 else self.cache_dir / "flow"
        return folder / f"{i:05d}_{j:05d}.npz"

    def has_flow(self, i: int, j: int) -> bool:
        """Whether the flow from frame i to frame j is on disk."""
        return self.flow_path(i, j).is_file()

    def flow(self, i: int, j: int) -> Flow:
        """Read the flow from frame i to frame j."""
        return Flow(*read_flow_npz(self.flow_path(i, j)))

    def write_flow(self, i: int, j: int, flow: Flow) -> None:
        """Write the flow from frame i to frame j."""
        write_flow_npz(self.flow_path(i, j), flow.flow, flow.valid)

    @property
    def flow_info_path(self) -> Path:
        return self.root / "flow" / "flow_info.json"

    def flow_model(self) -> str:
        """Return the name of the method that estimated the flow."""
        return str(self._json(self.flow_info_path, "flow").get("method", "unknown"))

    # -- keyframes ----------------------------------------------------------------------------------

    @property
    def keyframes_dir(self) -> Path:
        return self.root / "key_frames"

    @property
    def keyframe_info_path(self) -> Path:
        return self.keyframes_dir / "keyframe_info.json"

    def keyframes(self) -> list[int]:
        """Return the numbers of the selected frames."""
        return [int(k["index"]) for k in self._json(self.keyframe_info_path, "keyframes")["selected"]]

    # -- tracks -------------------------------------------------------------------------------------

    def tracks_path(self, interval: int = 10, grid: int = 50) -> Path:
        """File of the tracks, where the stage `tracks` writes it."""
        return self.root / f"cotrackerv3_{interval}_{grid}" / "results.npz"

    def find_tracks(self) -> Path:
        """Return the newest file of tracks in the tree."""
        found = sorted(self.root.glob("cotrackerv3_*/results.npz"), key=lambda p: p.stat().st_mtime_ns)
        if not found:
            raise MissingFileError(f"{self.root} holds no cotrackerv3_*/results.npz; run the stage `tracks`")
        return found[-1]

    def tracks(self) -> Tracks:
        """Read the tracks."""
        path = self.find_tracks()
        values = read_npz(
            path, ("all_tracks", "all_visibilities", "all_confidences", "init_frames", "orig_shape")
        )
        shape = values["orig_shape"]
        return Tracks(
            xy=values["all_tracks"].astype(np.float32),
            visible=values["all_visibilities"].astype(bool),
            confidence=values["all_confidences"].astype(np.float32),
            init_frames=values["init_frames"].astype(np.int64),
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

    # -- masks --------------------------------------------------------------------------------------

    @property
    def segmentation_dir(self) -> Path:
        return self.root / "segmentation"

    @property
    def annotations_dir(self) -> Path:
        """Colour masks under the name that DynamicVerse's adjustment reads."""
        return self.root / "qwen" / "Annotations"

    @property
    def instance_labels_path(self) -> Path:
        return self.segmentation_dir / "instance_labels.json"

    def label_path(self, i: int) -> Path:
        """Instance ids of frame i."""
        return self.segmentation_dir / "label" / f"{i:05d}.png"

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

    def motion_path(self, i: int, kind: str = "dyna_avg") -> Path:
        """Probability of motion of frame i: `dyna_avg` or `dyna_max`."""
        return self.root / "motion" / kind / f"{i:05d}.png"

    def motion(self, i: int, kind: str = "dyna_avg") -> Float32[np.ndarray, "H W"]:
        """Read how likely each pixel moves by itself, in [0, 1]."""
        return read_png(self.motion_path(i, kind), "L", stage="masks").astype(np.float32) / 255

    def write_motion(self, i: int, probability: Float32[np.ndarray, "H W"], kind: str = "dyna_avg") -> None:
        """Write how likely each pixel moves by itself, in [0, 1]."""
        self._write(self.motion_path(i, kind), encode_png(np.rint(probability * 255).astype(np.uint8)))

    # -- cameras ------------------------------------------------------------------------------------

    @property
    def cameras_path(self) -> Path:
        return self.root / "cameras" / "poses.npz"

    @property
    def points_path(self) -> Path:
        return self.root / "cameras" / "points.npz"

    @property
    def adjusted_dir(self) -> Path:
        return self.root / "dynamicBA" / EXPERIMENT

    @property
    def adjusted_cameras_path(self) -> Path:
        return self.adjusted_dir / "poses.npz"

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

    # -- depth --------------------------------------------------------------------------------------

    @property
    def depth_path(self) -> Path:
        return self.root / "unidepth" / "depth.npy"

    def adjusted_frame_path(self, i: int) -> Path:
        """Adjusted frame: disparity, image and camera in one file, as DynamicVerse writes it."""
        return self.adjusted_dir / f"{i:04d}.npz"

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
        with atomic_path(self.depth_path) as temporary:
            target = None
            count = 0
            for depth in depths:
                if target is None:
                    shape = (num_frames, 1, *depth.shape)
                    target = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
                target[count, 0] = depth
                count += 1
            if target is None or count != num_frames:
                raise ValueError(f"expected {num_frames} depth maps, got {count}")
            target.flush()

    def _depths(self) -> np.ndarray:
        if not self.depth_path.is_file():
            raise MissingFileError(f"{self.depth_path} does not exist; run the stage `depth` first")
        try:
            depths = np.load(self.depth_path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DamagedFileError(f"{self.depth_path} is not a readable array ({error})") from error
        return depths[..., 0] if depths.ndim == 4 and depths.shape[-1] == 1 else depths

    # -- results ------------------------------------------------------------------------------------

    @property
    def fused_path(self) -> Path:
        return self.adjusted_dir / "fused_4d.npz"

    @property
    def transforms_path(self) -> Path:
        return self.root / "transforms.json"

    @property
    def manifest_path(self) -> Path:
        return self.root / "manifest.json"

    # -- helpers ------------------------------------------------------------------------------------

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
