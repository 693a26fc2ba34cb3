"""Energies over many samples and the gradients that their kernels find, against torch."""

import torch
from torch import Tensor

from dyn3d_ns.geometry.rotations import so3_exp
from dyn3d_ns.video.adjust.energies import NEAREST, distance_changes, step_lengths
from dyn3d_ns.video.adjust.sample_energies import motion_terms, reprojection_and_depth, seen_by
from dyn3d_ns.video.adjust.static import CameraState

FRAMES, POINTS, SAMPLES = 4, 7, 19


def draw(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradients(value: Tensor, tensors: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(value, tensors, retain_graph=True))


def test_reprojection_and_depth_are_those_of_torch() -> None:
    points = draw(POINTS, 3, seed=0) + torch.tensor([-0.5, -0.5, 2.0])
    points[3, 2] = -1.0  # behind all cameras
    turns, centers = 0.1 * draw(FRAMES, 3, seed=1), 0.2 * draw(FRAMES, 3, seed=2)
    focal, middle = 90 + 10 * draw(FRAMES, 2, seed=3), 50 * draw(FRAMES, 2, seed=4)
    frames = torch.tensor([k % (FRAMES - 1) for k in range(SAMPLES)])  # the last one sees nothing
    ids = torch.tensor([k % POINTS for k in range(SAMPLES)])
    pixels, depth = 100 * draw(SAMPLES, 2, seed=5), 3 * draw(SAMPLES, seed=6)
    depth[::3] = 0  # not known
    tensors = [x.requires_grad_() for x in (points, turns, centers, focal)]
    cameras = CameraState(so3_exp(turns), centers, focal, middle)

    at, z = cameras.project(points[ids], frames)
    miss = ((at - pixels).square().sum(1) + 1e-12).sqrt()
    by_frame = torch.stack([miss[frames == k].mean() for k in range(FRAMES - 1)]).mean()
    known = depth > 0
    prior = (z[known].clamp_min(NEAREST).log() - depth[known].log()).abs().mean()
    wanted = 2.0 * by_frame + 0.3 * prior

    seen = seen_by(frames, ids, pixels, 2.0, depth, 0.3)
    found = reprojection_and_depth(points, cameras.rotations, centers, focal, middle, seen)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradients(found, tensors), gradients(wanted, tensors))


def test_motion_terms_are_those_of_torch() -> None:
    points = draw(SAMPLES, 3, seed=7).requires_grad_()
    pairs = torch.tensor([[0, 1], [1, 2], [5, 9], [2, 0]])
    quads = torch.tensor([[0, 1, 2, 3], [4, 1, 0, 9], [5, 6, 7, 8]])
    wanted = 10 * step_lengths(points, pairs).mean() + 100 * distance_changes(points, quads).mean()
    found = motion_terms(points, pairs, quads, 10.0, 100.0)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradients(found, [points]), gradients(wanted, [points]))
    none = motion_terms(points, pairs[:0], quads[:0], 10.0, 100.0)
    assert none.item() == 0 and not gradients(none, [points])[0].any()
