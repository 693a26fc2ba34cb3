"""The dict that `rasterize` returns on the CPU: gsplat's keys, the costly ones made when they are read."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

_TILE_KEYS = ("tiles_per_gauss", "isect_ids", "flatten_ids", "isect_offsets")
LAZY_KEYS = ("radii", *_TILE_KEYS)
_LARGEST_RADIUS = 1e9  # beyond it a radius no longer fits an int32


@torch.no_grad()
def intersect_tiles(
    means2d: Float[Tensor, "*rows 2"],
    depths: Float[Tensor, "*rows"],
    radii: Int[Tensor, "*rows 2"],
    camera_ids: Int[Tensor, " rows"],
    cameras: int,
    tile_size: int,
    grid: tuple[int, int],
) -> dict[str, Tensor]:
    """List which Gaussian meets which tile as gsplat's isect_tiles and isect_offset_encode do.

    `grid` is (tiles in x, tiles in y). An isect id is camera | tile | bits of the depth, sorted; a flatten id
    is the row in means2d. Returns the keys of _TILE_KEYS.
    """
    extent = torch.tensor(grid)
    centers, reach = means2d.reshape(-1, 2) / tile_size, radii.reshape(-1, 2) / tile_size
    low = torch.minimum(torch.floor(centers - reach).long().clamp_min(0), extent)
    high = torch.minimum(torch.ceil(centers + reach).long().clamp_min(0), extent)
    sizes = (high - low) * (radii.reshape(-1, 2) > 0).all(dim=-1, keepdim=True)
    counts = sizes.prod(dim=-1)
    rows = torch.repeat_interleave(torch.arange(len(counts)), counts)
    place = torch.arange(len(rows)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    across = sizes[rows, 0]
    tiles = (low[rows, 1] + place // across) * grid[0] + low[rows, 0] + place % across
    bits = depths.detach().reshape(-1).contiguous().view(torch.int32).long() & 0xFFFFFFFF
    tile_bits = (grid[0] * grid[1]).bit_length()
    cells = (camera_ids[rows] << tile_bits) | tiles
    isect_ids, order = torch.sort((cells << 32) | bits[rows], stable=True)
    filled = torch.bincount(
        camera_ids[rows] * (grid[0] * grid[1]) + tiles, minlength=cameras * grid[0] * grid[1]
    )
    return {
        "tiles_per_gauss": counts.int().view(depths.shape),
        "isect_ids": isect_ids,
        "flatten_ids": rows[order].int(),
        "isect_offsets": (filled.cumsum(0) - filled).int().view(cameras, grid[1], grid[0]),
    }


class RasterInfo(dict[str, Any]):
    """gsplat's `info`; "radii" (whole numbers) and, since our kernels keep lists of another kind,
    "tiles_per_gauss", "isect_ids", "flatten_ids" and "isect_offsets" are computed when they are first read.
    `keys()` shows them from then on.

    `radii_per_axis` gives radii gsplat 1.5's last axis (x, y); else they are the larger of the two.
    """

    def __init__(self, values: dict[str, Any], radii: Float[Tensor, "C 2 N"], radii_per_axis: bool):
        super().__init__(values)
        self._radii, self._per_axis = radii, radii_per_axis

    def __missing__(self, key: str) -> Tensor:
        if key == "radii":
            self["radii"] = self._whole_radii()
            return self["radii"]
        if key not in LAZY_KEYS:
            raise KeyError(key)
        both = self._radii.clamp_max(_LARGEST_RADIUS).int()
        camera_ids, gaussian_ids = self["camera_ids"], self["gaussian_ids"]
        if camera_ids is None:
            rows, camera_ids = both.permute(0, 2, 1), torch.arange(both.shape[0])
            camera_ids = camera_ids.repeat_interleave(both.shape[2])
        else:
            rows = both[camera_ids, :, gaussian_ids]
        grid = (self["tile_width"], self["tile_height"])
        self.update(
            intersect_tiles(
                self["means2d"], self["depths"], rows, camera_ids, len(both), self["tile_size"], grid
            )
        )
        return self[key]

    def _whole_radii(self) -> Tensor:
        shown = self._radii.permute(0, 2, 1) if self._per_axis else self._radii.amax(dim=1)
        shown = shown.clamp_max(_LARGEST_RADIUS).int()
        if self["camera_ids"] is None:
            return shown
        return shown[self["camera_ids"], self["gaussian_ids"]]

    def __contains__(self, key: object) -> bool:
        return key in LAZY_KEYS or super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, the lazy ones included, or the default."""
        try:
            return self[key]
        except KeyError:
            return default


def collect_info(
    means2d: Float[Tensor, "C N 2"],
    depths: Float[Tensor, "C N"],
    conics: Float[Tensor, "C N 3"],
    opacities: Float[Tensor, "*C N"],
    radii: Float[Tensor, "C 2 N"],
    width: int,
    height: int,
    tile_size: int,
    packed: bool,
    radii_per_axis: bool,
) -> RasterInfo:
    """Collect what strategies read, [C, N, …], or packed to the visible pairs [nnz, …] as gsplat does."""
    if opacities.dim() == 1:
        opacities = opacities.unsqueeze(0)
    info: dict[str, Any] = {
        "camera_ids": None, "gaussian_ids": None, "means2d": means2d, "depths": depths,
        "conics": conics, "opacities": opacities, "width": width, "height": height, "tile_size": tile_size,
        "tile_width": -(-width // tile_size), "tile_height": -(-height // tile_size),
        "n_cameras": means2d.shape[0],
    }  # fmt: skip
    if packed:
        camera_ids, gaussian_ids = torch.where((radii > 0).all(dim=1))
        info["camera_ids"], info["gaussian_ids"] = camera_ids, gaussian_ids
        for name in ("means2d", "depths", "conics", "opacities"):
            info[name] = info[name][camera_ids, gaussian_ids]
    return RasterInfo(info, radii, radii_per_axis)
