"""The dict that `rasterize` returns on the CPU: gsplat's keys, as far as its strategies read them."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_LARGEST_RADIUS = 1e9  # beyond it a radius no longer fits an int32


class RasterInfo(dict[str, Any]):
    """gsplat's `info`, less its lists of tiles, since our kernels keep lists of another kind.

    "radii" (whole numbers) are computed when they are first read; `keys()` shows them from then on.
    `radii_per_axis` gives radii gsplat 1.5's last axis (x, y); else they are the larger of the two.
    """

    def __init__(self, values: dict[str, Any], radii: Float[Tensor, "C 2 N"], radii_per_axis: bool):
        super().__init__(values)
        self._radii, self._per_axis = radii, radii_per_axis

    def __missing__(self, key: str) -> Tensor:
        if key != "radii":
            raise KeyError(key)
        self["radii"] = self._whole_radii()
        return self["radii"]

    def _whole_radii(self) -> Tensor:
        shown = self._radii.permute(0, 2, 1) if self._per_axis else self._radii.amax(dim=1)
        shown = shown.clamp_max(_LARGEST_RADIUS).int()
        if self["camera_ids"] is None:
            return shown
        return shown[self["camera_ids"], self["gaussian_ids"]]

    def __contains__(self, key: object) -> bool:
        return key == "radii" or super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, radii included, or the default."""
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
