"""The yardstick of the rasteriser's benchmark: the same image in plain torch, tile by tile, with autograd."""

from __future__ import annotations

import torch
from torch import Tensor

TILE = 16


def _rotations(quats: Tensor) -> Tensor:
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).view(-1, 3, 3)


def _project(means: Tensor, quats: Tensor, scales: Tensor, viewmat: Tensor, K: Tensor):
    """Return image points, depths, conics (2 x 2) and radii of Gaussians that lie well inside the view."""
    M = _rotations(quats) * scales[:, None, :]
    p = means @ viewmat[:3, :3].T + viewmat[:3, 3]
    x, y, z = p.unbind(-1)
    fx, fy, zero = K[0, 0], K[1, 1], torch.zeros_like(z)
    J = torch.stack([fx / z, zero, -fx * x / z**2, zero, fy / z, -fy * y / z**2], dim=-1).view(-1, 2, 3)
    P = J @ viewmat[:3, :3] @ M
    covariance = P @ P.transpose(1, 2) + 0.3 * torch.eye(2)
    with torch.no_grad():
        radii = (3 * torch.linalg.eigvalsh(covariance)[:, 1].sqrt()).ceil()
    points = torch.stack([fx * x / z + K[0, 2], fy * y / z + K[1, 2]], dim=-1)
    return points, z, torch.linalg.inv(covariance), radii


def rasterize_torch(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor,
    Ks: Tensor, width: int, height: int, packed: bool = False,
) -> tuple[Tensor, Tensor, dict]:  # fmt: skip
    """Render one camera as gsplat does, except that a pixel past transmittance 1e-4 goes on."""
    points, depths, conics, radii = _project(means, quats, scales, viewmats[0], Ks[0])
    order = depths.argsort()
    rows, rests = [], []
    for top in range(0, height, TILE):
        row, rest_row = [], []
        for left in range(0, width, TILE):
            right, bottom = min(left + TILE, width), min(top + TILE, height)
            x, y = points.detach().unbind(-1)
            touches = (x + radii > left) & (x - radii < right) & (y + radii > top) & (y - radii < bottom)
            ids = order[touches[order]]
            v, u = torch.meshgrid(
                torch.arange(top, bottom) + 0.5, torch.arange(left, right) + 0.5, indexing="ij"
            )
            d = torch.stack([u, v], dim=-1).view(-1, 1, 2) - points[ids]
            sigma = 0.5 * torch.einsum("pgi,gij,pgj->pg", d, conics[ids], d)
            alphas = (opacities[ids] * torch.exp(-sigma)).clamp_max(0.999)
            alphas = torch.where(alphas >= 1 / 255, alphas, 0.0)
            rest = torch.cumprod(1 - alphas, dim=1)
            open_t = torch.cat([rest.new_ones(len(rest), 1), rest], dim=1)
            image = (open_t[:, :-1] * alphas) @ colors[ids]
            row.append(image.view(bottom - top, right - left, -1))
            rest_row.append(open_t[:, -1].view(bottom - top, right - left, 1))
        rows.append(torch.cat(row, dim=1))
        rests.append(torch.cat(rest_row, dim=1))
    return torch.cat(rows)[None], 1 - torch.cat(rests)[None], {}
