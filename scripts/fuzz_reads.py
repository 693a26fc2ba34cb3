"""Reads a folder with all of a reader, for `scripts/fuzz.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from dyn3d_ns.io.clip.folder import ClipFolder
from dyn3d_ns.io.errors import UserError


def read_ply(folder: Path) -> None:
    from dyn3d_ns.io.ply import read_points

    read_points(folder / "points.ply")


def read_das3r_ply(folder: Path) -> None:
    from dyn3d_ns.io.das3r_ply import read_das3r_ply

    read_das3r_ply(folder / "s.ply")


def read_colmap(folder: Path) -> None:
    from dyn3d_ns.io.trajectories import read_cameras, read_colmap

    each(partial(read_cameras, folder, "colmap"), partial(read_colmap, folder), partial(read_footage, folder))


def each(*reads: Callable[[], object]) -> None:
    """Read one thing after another, also after an error of ours, of which the last is raised at the end."""
    last = None
    for read in reads:
        try:
            read()
        except UserError as error:
            last = error
    if last is not None:
        raise last


def read_footage(folder: Path) -> None:
    from dyn3d_ns.io.footage.layouts import open_footage

    with contextlib.suppress(UserError):
        read_describe(folder)
    footage = open_footage(folder)
    maps = [
        partial(getattr(footage, name), 0)
        for name in ("dynamic_mask", "motion", "depth")
        if name in footage.names
    ]
    if "flow" in footage.names:
        maps.append(partial(footage.flow, 0, 1))
    if "tracks" in footage.names:
        maps.append(footage.tracks)
    each(footage.cameras, *maps, partial(footage.points, 0))


def read_describe(folder: Path) -> None:
    from dyn3d_ns.io.layouts import describe

    describe(folder)


def read_sintel(folder: Path) -> None:
    from dyn3d_ns.io.ground_truth import SintelTruth

    truth = SintelTruth.open(folder)
    maps = (truth.depth, truth.flow, truth.moving, truth.hidden, truth.invalid)
    each(
        truth.cameras,
        *(partial(read, 0) for read in maps),
        partial(read_describe, folder),
        partial(read_footage, folder / "training/final/alley_1"),
    )


def read_davis(folder: Path) -> None:
    from dyn3d_ns.io.ground_truth import SintelTruth

    SintelTruth.open(folder, "alley_1").instances(0)


def read_clip(folder: Path) -> None:
    clip = ClipFolder(folder)

    def fused() -> None:
        found = clip.fused()
        if found is not None:
            found.moving(2)

    each(
        lambda: clip.times,
        lambda: clip.size,
        lambda: clip.instance_names,
        clip.depth_is_triangulated,
        clip.mask_files,
        clip.cameras,
        clip.tracks,
        clip.points,
        clip.sparse_points,
        clip.flow_model,
        clip.keyframes,
        fused,
        *(partial(read, 0) for read in (clip.image, clip.labels, clip.motion, clip.depth)),
        partial(clip.flow, 0, 1),
        partial(read_footage, folder),
    )


def read_given(folder: Path) -> None:
    from dyn3d_ns.io.frame_matching import ClipFrames
    from dyn3d_ns.video.masks.given import read_given

    frames, _ = read_given(folder / "masks", ClipFrames(np.arange(1)), 16, 12, note=lambda text: None)
    list(frames)


def read_boxes(folder: Path) -> None:
    from dyn3d_ns.video.masks.prompts import read_boxes

    read_boxes(folder / "boxes.json", 5, 100, 80)


def read_depth_files(folder: Path, name: str = "", count: int = 2) -> None:
    from dyn3d_ns.io.frame_matching import ClipFrames
    from dyn3d_ns.video.depth.given import DepthFiles

    maps = DepthFiles(folder / name, ClipFrames(np.arange(count)))
    for i in range(count):
        maps[i]


def read_frames(folder: Path, name: str = "v.mp4") -> None:
    from dyn3d_ns.video.frames.decode import Source

    source = Source(folder / name)
    each(
        partial(source.count_hint, None),
        lambda: [frame.number for frame in source.frames()],
        partial(read_describe, folder / name),
    )


def read_recording_video(folder: Path) -> None:
    from dyn3d_ns.io.recordings.readers import VideoFrames

    for start in (0, 2):
        for decode in VideoFrames(folder / "v.mp4").frames_from(start):
            decode()


def read_image(folder: Path, name: str) -> None:
    from dyn3d_ns.io.arrays import read_png
    from dyn3d_ns.io.images import read_image
    from dyn3d_ns.io.recognised import image_sizes
    from dyn3d_ns.io.transparency import is_transparent

    path = folder / name
    each(
        partial(read_image, path, alpha=True),
        partial(read_png, path, None),
        partial(image_sizes, [path]),
        partial(is_transparent, path),
        partial(read_frames, folder, "."),
    )


def read_scene(folder: Path) -> None:
    from dyn3d_ns.io.frames import assemble_scene
    from dyn3d_ns.io.transforms_scene import read_scene as read_all

    each(partial(read_describe, folder), lambda: assemble_scene(read_all(folder)))


def read_transforms_cameras(folder: Path) -> None:
    from dyn3d_ns.io.trajectories import read_cameras

    each(partial(read_cameras, folder / "transforms.json"), partial(read_footage, folder))


def read_toy(folder: Path) -> None:
    from dyn3d_ns.io.dynamic_scene.opening import open_scene

    def scene() -> None:
        found = open_scene(folder / "s")
        maps = (found.mask, found.depth, found.relative_disparity)
        each(
            lambda: found.times,
            lambda: found.fps,
            found.cameras,
            found.bounds,
            found.points,
            found.views,
            found.side_files,
            partial(found.flow, 0, 1),
            *(partial(read, 0) for read in maps),
        )

    each(partial(read_describe, folder / "s"), scene)


def read_recording(folder: Path) -> None:
    from dyn3d_ns.io.recordings.opening import open_recording

    each(partial(open_recording, folder / "r"), partial(read_describe, folder / "r"))


def read_motion(folder: Path) -> None:
    from dyn3d_ns.io.motion_truth import load_motion_ground_truth, sample_surfaces

    sample_surfaces(load_motion_ground_truth(folder / "ground_truth/motion.json"))


def read_segmentation(folder: Path) -> None:
    from dyn3d_ns.io.segmentation import read_segmentation

    for frame in read_segmentation(folder):
        frame.labels()


def read_path(folder: Path) -> None:
    from dyn3d_ns.engine.command_checks import check_camera_path
    from dyn3d_ns.engine.method import DynamicMethod

    words = ["ns-render", "camera-path", "--camera-path-filename", str(folder / "path.json")]
    check_camera_path(words, DynamicMethod)


def read_stream(folder: Path) -> None:
    from dyn3d_ns.io.stream.decoders import decoder_of
    from dyn3d_ns.io.stream.look import background_of, start_camera_of
    from dyn3d_ns.io.stream.player import StreamPlayer
    from dyn3d_ns.io.stream.reader import StreamReader
    from dyn3d_ns.io.stream.verify import verify_stream

    with contextlib.suppress(UserError):
        read_describe(folder / "s")
    reader = StreamReader(folder / "s")
    decoder = decoder_of(reader.header)
    player = StreamPlayer(reader, decoder)
    each(
        partial(start_camera_of, reader.header),
        partial(background_of, reader.header),
        reader.sizes,
        reader.gap,
        reader.cut_short,
        lambda: list(verify_stream(reader, decoder)),
        *(partial(player.seek, frame) for frame in range(reader.num_frames())),
    )


def read_records(folder: Path) -> None:
    from dyn3d_ns.io.clip.workspace import Workspace
    from dyn3d_ns.video.records import Records

    records = Records(Workspace(folder))
    records.read("frames")
    records.manifest_stages()


def read_stream_run(folder: Path) -> None:
    from dyn3d_ns.engine.stream_run import StreamRun

    run = StreamRun(folder)
    run.figures()
    run.last()
