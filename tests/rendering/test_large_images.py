"""Images over 4064 pixels a side, where rectangles of tiles no longer fit one plane of bytes."""

import pytest
import torch
from raster_helpers import compare, scene

from dyn3d_ns.rendering import rasterize
from dyn3d_ns.rendering.binning import PLANE, TILE

LIMIT = PLANE * TILE
VIEW = torch.eye(4)[None] + torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1.8], [0, 0, 0, 0]])


@pytest.mark.parametrize("size", [(LIMIT + 90, 20), (20, LIMIT + 90), (2 * LIMIT + 40, 17)])
def test_long_images_equal_the_reference(size):
    """A strip across the limit: values and all gradients."""
    along, across = (0, 1) if size[0] > size[1] else (1, 0)
    arguments = scene(n=8, seed=3, width=max(size), height=max(size), size=0.1)
    arguments["Ks"][:, across, 2] = min(size) / 2
    arguments["means"][:, across] *= 0.05
    arguments["viewmats"] = VIEW
    arguments["means"][:4, along] = torch.linspace(0.83, 0.9, 4)  # over the limit
    arguments["means"][:4, 2] = 0.0
    arguments["width"], arguments["height"] = size
    # at 4000 pixels float32 places a mean to 2e-4 of one
    *_, info = compare(arguments, image_tolerance=2e-5, grad_tolerance=1e-4)
    assert int((info["means2d"][0, :, along] > LIMIT).sum()) >= 3


def test_the_far_corner_equals_a_crop():
    """Both sides over the limit: four planes; the last tiles are those of a small image there."""
    arguments = scene(n=40, seed=5, width=LIMIT + 32, height=LIMIT + 16, size=0.003, channels=1)
    arguments["viewmats"] = VIEW
    place = torch.rand(40, 2, generator=torch.Generator().manual_seed(1))
    arguments["means"][:, :2] = torch.tensor([0.452, 0.410]) + 0.015 * place
    start = LIMIT - 2 * TILE
    crop = {**arguments, "width": LIMIT + 32 - start, "height": LIMIT + 16 - start}
    crop["Ks"] = arguments["Ks"] - torch.tensor([[0, 0, start], [0, 0, start], [0, 0, 0.0]])
    with torch.no_grad():
        # an orthographic view has no clamp that goes by the image's size
        whole, part = (rasterize(**a, camera_model="ortho")[0] for a in (arguments, crop))
    corner = whole[:, start:, start:]
    assert float(corner.std()) > 0.01
    torch.testing.assert_close(corner, part, rtol=0, atol=5e-4)
