"""Spaces of scenes, and from their cubes to the world."""

from __future__ import annotations

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from dyn3d_ns.geometry.cameras import from_pixels, to_camera, to_world, viewmats_of
from dyn3d_ns.geometry.ndc import GridSpace, disparity_of, is_forward_facing, mean_viewmat


def to_homogeneous_world(space: GridSpace) -> Float[Tensor, "4 4"]:
    """Return the projective map from a space's cube to the world."""
    half, device = (space.high - space.low) / 2, space.low.device
    scale = torch.eye(4, device=device)
    scale[:3, :3], scale[:3, 3] = torch.diag(half), half + space.low
    if not space.is_ndc:
        return scale
    n = 2 * space.near
    # (x/z, y/z, 1 - 2 near / z) to (x, y, z): all times 2 near, over 1 minus the third.
    bend = torch.tensor(
        [[n, 0, 0, 0], [0, n, 0, 0], [0, 0, 0, n], [0, 0, -1.0, 1]], dtype=half.dtype, device=device
    )
    return torch.linalg.inv(space.viewmat) @ bend @ scale


def space_of(cameras: Cameras, box: Float[Tensor, "2 3"], depths: tuple[float, float] | None) -> GridSpace:
    """Return the space of a video: NDC of what its cameras see where they look about the same way, else the
    scene's box.

    Args:
        cameras: One a frame.
        box: Lowest and highest corner.
        depths: Least and largest planar depth that the cameras see, if that is known.
    """
    poses = cameras.camera_to_worlds.cpu()
    if not is_forward_facing(poses):
        return GridSpace(torch.eye(4), box[0].cpu().clone(), box[1].cpu().clone())
    viewmat = mean_viewmat(poses)
    least, largest = depths or (1.0, 100.0)
    ahead = -to_camera(poses[:, :, 3], viewmat)[:, 2]
    near = max(0.9 * (least - float(ahead.max())), 0.3 * least)
    far = 1.1 * (largest - float(ahead.min()))
    low, high = torch.full((3,), torch.inf), torch.full((3,), -torch.inf)
    for depth in (near, far):
        seen = disparity_of(to_camera(_corners(cameras, depth), viewmat).clamp_min(-1e6), near)
        low, high = torch.minimum(low, seen.amin(0)), torch.maximum(high, seen.amax(0))
    low[2], high[2] = -1.0, 1 - 2 * near / far
    return GridSpace(viewmat, low, high, near)


def _corners(cameras: Cameras, depth: float) -> Float[Tensor, "P 3"]:
    """Return the corners of all pictures at a planar depth, in the world."""
    c = cameras.to("cpu")
    corners = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    sizes = torch.cat([c.width, c.height], dim=-1).float()
    pixels = corners[None] * sizes[:, None]
    focal, center = torch.cat([c.fx, c.fy], -1)[:, None], torch.cat([c.cx, c.cy], -1)[:, None]
    seen = from_pixels(pixels, torch.full(pixels.shape[:2], depth), focal, center)
    poses = torch.linalg.inv(viewmats_of(c.camera_to_worlds))
    return to_world(seen, poses).reshape(-1, 3)
