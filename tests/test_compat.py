"""What stock methods meet of ours: each repair, with and without it, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dyn3d_ns.compat import REPAIRS

PLUGINS = "import dyn3d_ns.dataparsers"


def run(code: str, repaired: bool, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code after our plugins were discovered, with the repairs or without them."""
    env = {**os.environ, "DYN3D_NO_COMPAT": "0" if repaired else "1", **environment}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{PLUGINS}\n{code}"],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )


SAVE_AS_NERFSTUDIO_DOES = """
import sys, torch
from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig
optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))], lr=1e-2)
config = ExponentialDecaySchedulerConfig(lr_final=1e-4, max_steps=100)
scheduler = config.setup().get_scheduler(optimizer, 1e-2)
optimizer.step(); scheduler.step()
torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, sys.argv[1])
state = torch.load(sys.argv[1])
print(float(state["scheduler"]["_last_lr"][0]) == float(scheduler.get_last_lr()[0]))
"""


@pytest.mark.parametrize("repaired", [True, False])
def test_stock_checkpoints_load(tmp_path: Path, repaired: bool) -> None:
    if not repaired and tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
        pytest.skip("this torch checks nothing")
    code = SAVE_AS_NERFSTUDIO_DOES.replace("sys.argv[1]", repr(str(tmp_path / "x.ckpt")))
    result = run(code, repaired)
    if repaired:
        assert result.stdout.strip() == "True", result.stderr
    else:
        assert "Unsupported global" in result.stderr


def test_loading_stays_safe(tmp_path: Path) -> None:
    code = f"""
import os, torch
class Evil:
    def __reduce__(self):
        return (os.system, ("touch {tmp_path}/ran",))
torch.save({{"x": Evil()}}, "{tmp_path}/evil.ckpt")
torch.load("{tmp_path}/evil.ckpt")
"""
    assert "Weights only load failed" in run(code, repaired=True).stderr
    assert not (tmp_path / "ran").exists()


POINTS_WITHOUT_OPEN3D = """
import sys, torch, numpy as np
from pathlib import Path
sys.modules["open3d"] = None  # as where a system library of it is missing
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from dyn3d_ns.io.ply import write_points
write_points(Path("points.ply"), np.ones((2, 3), np.float32), np.full((2, 3), 7, np.uint8))
shifted = torch.eye(4)[:3]; shifted[0, 3] = 1.0
points = NerfstudioDataParserConfig().setup()._load_3D_points(Path("points.ply"), shifted, 0.5)
print(points["points3D_xyz"].tolist(), points["points3D_rgb"].tolist())
"""


@pytest.mark.parametrize("repaired", [True, False])
def test_points_are_read_without_open3d(tmp_path: Path, repaired: bool) -> None:
    result = run(f"import os; os.chdir({str(tmp_path)!r}){POINTS_WITHOUT_OPEN3D}", repaired)
    if repaired:
        expected = "[[1.0, 0.5, 0.5], [1.0, 0.5, 0.5]] [[7, 7, 7], [7, 7, 7]]"
        assert result.stdout.strip() == expected, result.stderr
    else:
        assert "import of open3d halted" in result.stderr


STOCK_NERFACTO = """
import json, sys, types
import torch, yaml
from nerfstudio.scripts import eval, exporter, render, train
from nerfstudio.scripts.viewer import run_viewer
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.data.scene_box import SceneBox
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity as LPIPS

assert "dyn3d-velocity" in all_methods, "our plugins are not discovered"

def fingerprint(value):
    return f"{value.__code__.co_filename}:{value.__code__.co_firstlineno}:{value.__code__.co_code.hex()}"

found = {}
for name, module in sorted(sys.modules.items()):
    if module is None or name.split(".")[0] not in ("nerfstudio", "torchmetrics", "viser", "mediapy"):
        continue
    for attribute, value in list(vars(module).items()):
        if isinstance(value, types.FunctionType):
            found[f"{name}.{attribute}"] = fingerprint(value)
        elif isinstance(value, type):
            found[f"{name}.{attribute}"] = f"{value.__module__}.{value.__qualname__}"
            for member, function in list(vars(value).items()) if value.__module__ == name else ():
                if isinstance(function, types.FunctionType):
                    found[f"{name}.{attribute}.{member}"] = fingerprint(function)
found["torch.serialization.get_safe_globals"] = sorted(map(str, torch.serialization.get_safe_globals()))
found["yaml.load"] = fingerprint(yaml.load)
found["sys.meta_path"] = [str(getattr(finder, "__name__", type(finder))) for finder in sys.meta_path]
found["sys.excepthook"] = sys.excepthook is sys.__excepthook__

torch.manual_seed(0)
config = all_methods["nerfacto"].pipeline.model
config.log2_hashmap_size, config.implementation = 12, "torch"
config.proposal_net_args_list = [{**net, "log2_hashmap_size": 10} for net in config.proposal_net_args_list]
box = SceneBox(torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
model = config.setup(scene_box=box, num_train_data=2, metadata={}, device="cpu", grad_scaler=None).eval()
side = 40
directions = torch.nn.functional.normalize(torch.randn(side, side, 3), dim=-1)
rays = RayBundle(torch.zeros(side, side, 3), directions, torch.ones(side, side, 1),
                 camera_indices=torch.zeros(side, side, 1, dtype=torch.long))
with torch.no_grad():
    outputs = model.get_outputs_for_camera_ray_bundle(rays)
    metrics, _ = model.get_image_metrics_and_images(outputs, {"image": torch.rand(side, side, 3)})
found["nerfacto"] = {**metrics, "rgb": outputs["rgb"].double().sum().item()}
found["lpips"] = f"{type(model.lpips) is LPIPS} {LPIPS.__mro__[1].__module__}"
json.dump(found, open(OUT, "w"))
"""


def test_stock_nerfacto_behaves_as_without_us(tmp_path: Path) -> None:
    import torchvision

    weights = tmp_path / "hub/checkpoints" / torchvision.models.AlexNet_Weights.DEFAULT.url.rsplit("/", 1)[1]
    weights.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), weights)
    seen = []
    for repaired in (True, False):
        out = tmp_path / f"{repaired}.json"
        result = run(f"OUT = {str(out)!r}\n{STOCK_NERFACTO}", repaired, TORCH_HOME=str(tmp_path))
        assert result.returncode == 0, result.stderr
        seen.append(json.loads(out.read_text()))
    ours, stock = seen
    assert ours.keys() == stock.keys() and len(stock) > 1000
    assert {name for name in stock if ours[name] != stock[name]} == set(REPAIRS)
    assert ours["sys.excepthook"] is True
    assert ours["lpips"] == "True torchmetrics.metric" and ours["nerfacto"]["lpips"] > 0


LPIPS_WITHOUT_NETWORK = """
import socket
def refuse(*args, **kwargs): raise OSError("no network in this test")
socket.getaddrinfo = refuse
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
print(LearnedPerceptualImagePatchSimilarity(normalize=True))
"""


def test_stock_lpips_still_wants_its_weights(tmp_path: Path) -> None:
    result = run(LPIPS_WITHOUT_NETWORK, True, TORCH_HOME=str(tmp_path))
    assert "no network in this test" in result.stderr and "nan" not in result.stdout
