"""A trained scene at the times asked for, in the data's units and turned to the axes of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn.functional import normalize

import dyn3d_ns
from dyn3d_ns.engine.method import DynamicMethod
from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.gaussians.data_units import to_data_units
from dyn3d_ns.geometry.world import World, coordinates, far_from_origin
from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.splats import About, Splats, SplatSequence, Up, View

AXES = {"y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


def turn_to(up: Float[np.ndarray, "3"], axis: Up) -> Float64[np.ndarray, "3 3"]:
    """Return the shortest rotation that brings a scene's up direction to an axis of a file.

    Args:
        up: Direction in the data's world.
        axis: Where it shall point; ``data`` leaves everything as it is.
    """
    if axis == "data":
        return np.eye(3)
    start = np.asarray(up, np.float64) / max(float(np.linalg.norm(up)), 1e-12)
    goal = np.array(AXES[axis])
    around, cosine = np.cross(start, goal), float(start @ goal)
    sine = float(np.linalg.norm(around))
    if sine < 1e-9:
        # Half a turn, of all that lead there the one about x.
        half = np.rint(Rotation.from_euler("x", 180, degrees=True).as_matrix())
        return np.eye(3) if cosine > 0 else half
    matrix = Rotation.from_rotvec(around / sine * np.arctan2(sine, cosine)).as_matrix()
    # Turns of a quarter are exact, so that what lies on an axis stays on one.
    return np.rint(matrix) if np.abs(matrix - np.rint(matrix)).max() < 1e-12 else matrix


def turned(world: World, turn: Float64[np.ndarray, "3 3"]) -> World:
    """Return the world in which a file's turned axes are the data's."""
    if (turn == np.eye(3)).all():
        return world
    transform = np.eye(4)
    transform[:3, :3] = turn.T
    return World(world.transform @ transform, world.scale)


class TrainedSequence:
    """What a trained method shows at some times, as a :class:`~dyn3d_ns.io.splats.SplatSequence`."""

    def __init__(
        self,
        model: DynamicMethod,
        times: Sequence[float],
        about: About,
        world: World | None = None,
    ) -> None:
        """Show ``model`` at normalised times, in the file's ``world``; in that of the data if None."""
        self.model, self.times = model, tuple(times)
        self.world = model.world if world is None else world
        self.seconds = tuple(model.timeline.seconds(time) for time in times)
        self.about = about
        self._moving: Bool[np.ndarray, "N"] | None = None
        self._count: int | None = None
        self._far: bool | None = None

    def at(self, index: int) -> Splats:
        """Return the Gaussians at one of the times."""
        with torch.no_grad():
            gaussians = self.model.gaussians_at(self.times[index])
            self._require_count(gaussians, index)
            splats = splats_of(gaussians, self.world, self.model.timeline.duration, self._far)
            require_finite(splats, self.seconds[index])
            if self._far is None:
                self._far = splats.means.dtype == np.float64
            return splats

    @property
    def moving(self) -> Bool[np.ndarray, "N"]:
        """Which Gaussians move or turn at any of the times."""
        if self._moving is None:
            with torch.no_grad():
                self._moving = self._find_moving().cpu().numpy()
        return self._moving

    def _find_moving(self) -> Bool[Tensor, "N"]:
        first, last = (self.model.gaussians_at(self.times[i]) for i in (0, -1))
        if torch.equal(first.moving, last.moving) and (bool(first.moving.any()) or len(self.times) == 1):
            return first.moving
        # A stream says of each frame what moves in it, and nothing does in its first one.
        moves = torch.zeros_like(first.moving)
        self._require_count(first, 0)
        for index in range(1, len(self.times)):
            found = self.model.gaussians_at(self.times[index])
            self._require_count(found, index)
            moves |= (found.means != first.means).any(1) | (found.quats != first.quats).any(1)
        return moves

    def _require_count(self, gaussians: Gaussians, index: int) -> None:
        if self._count is None:
            self._count = len(gaussians)
        if len(gaussians) != self._count:
            raise CommandError(
                f"the scene has {len(gaussians)} Gaussians at {self.seconds[index]:.4g} s and {self._count} "
                "before, but formats hold the same ones at all times: export one time with --times"
            )


def splats_of(gaussians: Gaussians, world: World, duration: float, far: bool | None = None) -> Splats:
    """Return Gaussians as files hold them.

    Args:
        gaussians: As a method has them.
        world: The file's world in that of training.
        duration: Seconds of one unit of normalised time, by which velocities count.
        far: Whether single precision is too coarse for places; found out if None.
    """
    found = to_data_units(gaussians, world)
    velocities = found.velocities
    return Splats(
        means=_places(found.means, far),
        quats=_array(normalize(found.quats, dim=-1)),
        scales=_array(found.scales),
        opacities=_array(found.opacities),
        sh=_array(found.colors),
        velocities=None if velocities is None else _array(velocities / duration),
    )


def require_finite(splats: Splats, second: float) -> None:
    """Refuse what no format holds.

    Raises:
        CommandError: there is no Gaussian, or values are NaN or infinite.
    """
    if not len(splats):
        raise CommandError(f"the scene has no Gaussian at {second:.4g} s, so there is nothing to export")
    columns = (splats.means, splats.quats, splats.scales, splats.opacities, splats.sh)
    # A sum of squares is finite where all are, and quick; it may overflow where they are.
    if all(np.isfinite(np.dot(column.ravel(), column.ravel())) for column in columns):
        return
    fine = np.isfinite(splats.opacities)
    for values in (splats.means, splats.quats, splats.scales, splats.sh.reshape(len(splats), -1)):
        fine &= np.isfinite(values).all(1)
    if not fine.all():
        raise CommandError(
            f"{(~fine).sum()} of {len(fine)} Gaussians are NaN or infinite at {second:.4g} s, which no "
            "format holds: the training has diverged; train again, or export other times with --times"
        )


def about_model(
    model: DynamicMethod, method: str, up: Up, views: Sequence[View], turn: Float64[np.ndarray, "3 3"]
) -> About:
    """Return what is known of a trained scene.

    Args:
        model: The method.
        method: Its name.
        up: Axis of the file that points up.
        views: Recorded cameras in the data's world.
        turn: From the data's axes to the file's.
    """
    timeline, rotation = model.timeline, np.eye(4)
    rotation[:3, :3] = turn
    return About(
        method=method,
        version=f"dyn3d_ns {dyn3d_ns.__version__}",
        up=up,
        fps=timeline.fps,
        observed=(timeline.seconds(timeline.frame_times[0]), timeline.seconds(timeline.t_obs)),
        views=tuple(replace(view, pose=rotation @ view.pose) for view in views),
    )


class _Centred:
    """A sequence around its own origin, in single precision."""

    def __init__(self, sequence: SplatSequence, center: Float64[np.ndarray, "3"]) -> None:
        self._sequence, self._center = sequence, center
        about = sequence.about
        shift = np.eye(4)
        shift[:3, 3] = -center
        views = tuple(replace(view, pose=shift @ view.pose) for view in about.views)
        self.seconds = sequence.seconds
        self.about = replace(about, views=views, origin=tuple(center.tolist()))

    def at(self, index: int) -> Splats:
        splats = self._sequence.at(index)
        return replace(splats, means=np.float32(splats.means - self._center))

    @property
    def moving(self) -> Bool[np.ndarray, "N"]:
        return self._sequence.moving


def centred(sequence: SplatSequence) -> SplatSequence:
    """Return a sequence whose places fit into single precision: around an origin that ``about`` states."""
    first = sequence.at(0).means
    if first.dtype != np.float64 or not far_from_origin(first):
        return sequence
    return _Centred(sequence, np.rint(first.mean(0)))


def _places(means: Tensor, far: bool | None) -> Float[np.ndarray, "N 3"]:
    places = means.detach().cpu().numpy()
    if places.dtype != np.float64 or far:
        return places
    return coordinates(places) if far is None else places.astype(np.float32)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
