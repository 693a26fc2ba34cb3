"""Boxes and names of the user, and networks that the test makes itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.masks.follow import mask_in_box
from dyn3d_ns.video.masks.networks import Sa2VA, Sam2
from dyn3d_ns.video.masks.prompts import Prompt, read_boxes, read_names
from dyn3d_ns.video.masks.settings import MasksSettings
from dyn3d_ns.video.masks.stage import MasksStage
from tests.video.cards import MOVER, WALL, Card, CardClip, QuietReport

RED = Card((0.4, -0.2, 4), (0.9, 0.9), (0.02, 0.05, 0), label=1, seed=2)

SA2VA_CODE = """
import numpy as np, torch
from transformers import PretrainedConfig, PreTrainedModel
class TinyConfig(PretrainedConfig):
    model_type = "tiny_sa2va"
class TinySa2VA(PreTrainedModel):
    config_class = TinyConfig
    def __init__(self, config):
        super().__init__(config)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.post_init()
    def predict_forward(self, video, text, past_text, mask_prompts, tokenizer):
        assert tokenizer is not None and text.startswith("<image>Please segment the ")
        masks = np.zeros((len(video), video[0].height, video[0].width), bool)
        if "ghost" in text:
            return {"prediction": "I see none."}
        side = slice(0, 5) if "left" in text else slice(-5, None)
        masks[:, :, side] = True
        return {"prediction": "It is [SEG].", "prediction_masks": [masks]}
"""


def write_boxes(path: Path, **changes) -> Path:
    item = {"name": "card", "frame": 2, "box": [55, 20, 95, 60], **changes}
    path.write_text(json.dumps({"objects": [item]}))
    return path


def test_a_box_is_followed_both_ways(tmp_path: Path) -> None:
    clip = CardClip((WALL, RED), frames=6)
    for image, labels in zip(clip.images, clip.labels, strict=True):
        image[labels == 1] = image[labels == 1] // 4 + np.array([180, 0, 0], np.uint8)
    workspace = clip.write(tmp_path / "clip", "frames flow")
    settings = MasksSettings(boxes=write_boxes(tmp_path / "boxes.json"), pictures=False)
    MasksStage(settings).run(workspace, QuietReport())
    assert json.loads(workspace.instance_labels_path.read_text()) == {"1": "card"}
    for i in range(6):
        found, true = workspace.labels(i) == 1, clip.labels[i] == 1
        assert (found & true).sum() / (found | true).sum() > 0.75, f"frame {i}"


def test_a_box_of_one_colour_is_taken_whole() -> None:
    mask = mask_in_box(np.full((40, 60, 3), 90, np.uint8), (10, 5, 30, 25))
    assert mask.sum() == 400
    assert mask[5:25, 10:30].all()
    assert mask_in_box(np.zeros((8, 8, 3), np.uint8), (0, 0, 8, 8)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame": 9}, "in frame 9, the clip has 6"),
        ({"box": [60, 20, 50, 40]}, "inside 128x96"),
        ({"box": [0, 0, 200, 40]}, "inside 128x96"),
        ({"box": [1, 2, 3]}, "inside 128x96"),
        ({"box": "here"}, "must look like"),
    ],
)
def test_boxes_that_do_not_fit(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(StageError, match=message):
        read_boxes(write_boxes(tmp_path / "b.json", **changes), 6, 128, 96)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="does not exist"):
        read_boxes(tmp_path / "b.json", 6, 128, 96)
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(StageError, match="not valid JSON"):
        read_boxes(tmp_path / "b.json", 6, 128, 96)
    (tmp_path / "b.json").write_text('{"objects": []}')
    with pytest.raises(StageError, match="names no object"):
        read_boxes(tmp_path / "b.json", 6, 128, 96)
    with pytest.raises(StageError, match="must hold"):
        read_names(tmp_path / "b.json")
    (tmp_path / "n.json").write_text('{"dynamic": ["dog"], "reasoning": {"dog": "It is brown."}}')
    assert read_names(tmp_path / "n.json") == [Prompt("dog", details="It is brown.")]
    with pytest.raises(StageError, match="not both"):
        MasksStage(MasksSettings(masks=tmp_path, boxes=tmp_path)).run(
            CardClip(frames=1).write(tmp_path / "clip", "frames"), QuietReport()
        )


@pytest.fixture(scope="module")
def tiny_sam2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a SAM 2 with random weights, 64 pixels and one layer of everything."""
    transformers = pytest.importorskip(
        "transformers", reason="the extra nets is not installed: pip install -e '.[nets]'"
    )
    torch = pytest.importorskip("torch", reason="torch is not installed: bash scripts/test.sh installs it")
    torch.manual_seed(0)
    trunk = transformers.Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, image_size=[64, 64], blocks_per_stage=[1] * 4,
        embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1] * 4,
        window_size_per_stage=[4, 2, 2, 2], global_attention_blocks=[],
        window_positional_embedding_background_size=[2, 2],
    )  # fmt: skip
    vision = transformers.Sam2VisionConfig(
        backbone_config=trunk, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=128,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
    )  # fmt: skip
    prompts = {"hidden_size": 128, "image_size": 64, "patch_size": 16, "mask_input_channels": 8}
    decoder = {"hidden_size": 128, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    config = transformers.Sam2VideoConfig(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder, image_size=64,
        memory_attention_hidden_size=128, memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=16, memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=128, memory_encoder_output_channels=64, mask_downsampler_embed_dim=128,
        memory_fuser_num_layers=1, memory_fuser_embed_dim=128, memory_fuser_intermediate_dim=16,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("sam2")
    transformers.Sam2VideoModel(config).save_pretrained(folder)
    size = {"height": 64, "width": 64}
    images = transformers.Sam2ImageProcessor(size=size, mask_size={"height": 16, "width": 16})
    videos = transformers.Sam2VideoVideoProcessor(size=size)
    transformers.Sam2VideoProcessor(images, videos, target_size=64).save_pretrained(folder)
    return folder


def test_sam2_follows_boxes_and_masks(tiny_sam2: Path) -> None:
    clip = CardClip((WALL, RED), frames=3, width=80, height=48)
    prompts = [Prompt("a", 1, box=(5, 5, 30, 30)), Prompt("b", 2, mask=clip.labels[2] == 1)]
    labels = list(Sam2(tiny_sam2)(clip.images, prompts))
    assert [frame.shape for frame in labels] == [(48, 80)] * 3
    assert {int(k) for frame in labels for k in np.unique(frame)} <= {0, 1, 2}
    # Weights of chance: what is found means nothing, but each object reaches frames on both sides.
    assert any((frame == 1).any() for frame in labels)
    assert any((frame == 2).any() for frame in labels)


def test_sam2_is_prompted_by_what_moves(tiny_sam2: Path, tmp_path: Path) -> None:
    clip = CardClip((WALL, MOVER), frames=6, camera_step=(0, 0, 0))
    workspace = clip.write(tmp_path / "clip", "frames flow")
    settings = MasksSettings(segmenter="sam2", segmenter_path=tiny_sam2, pictures=False)
    MasksStage(settings).run(workspace, QuietReport())
    assert json.loads(workspace.instance_labels_path.read_text()) == {"1": "moving object 1"}
    assert max(int(workspace.labels(i).max()) for i in range(6)) <= 1


def test_sa2va_is_asked_for_names(tmp_path: Path) -> None:
    transformers = pytest.importorskip(
        "transformers", reason="the extra nets is not installed: pip install -e '.[nets]'"
    )
    tokenizers = pytest.importorskip(
        "tokenizers", reason="tokenizers is not installed: pip install -e '.[nets]'"
    )
    torch = pytest.importorskip("torch", reason="torch is not installed: bash scripts/test.sh installs it")
    folder = tmp_path / "sa2va"
    folder.mkdir()
    (folder / "modeling_tiny.py").write_text(SA2VA_CODE)
    auto = {"AutoConfig": "modeling_tiny.TinyConfig", "AutoModel": "modeling_tiny.TinySa2VA"}
    (folder / "config.json").write_text(json.dumps({"model_type": "tiny_sa2va", "auto_map": auto}))
    torch.save({"weight": torch.zeros(1)}, folder / "pytorch_model.bin")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)
    workspace = CardClip(frames=2).write(tmp_path / "clip", "frames flow")
    names = {"dynamic": ["left card", "ghost", "right card"], "reasoning": {}}
    (tmp_path / "names.json").write_text(json.dumps(names))
    settings = MasksSettings(
        segmenter="sa2va", segmenter_path=folder, objects=tmp_path / "names.json", pictures=False
    )
    MasksStage(settings).run(workspace, QuietReport())
    labels = workspace.labels(1)
    assert (labels[:, :5] == 1).all()
    assert (labels[:, -5:] == 3).all(), "ids stay those of the list, though the ghost was not found"
    assert (labels == 2).sum() == 0


def test_networks_that_are_not_there(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra nets is not installed: pip install -e '.[nets]'")
    workspace = CardClip(frames=2).write(tmp_path / "clip", "frames flow")
    for name in ("sam2", "sa2va"):
        with pytest.raises(StageError, match="needs --masks.segmenter-path"):
            MasksStage(MasksSettings(segmenter=name)).run(workspace, QuietReport())
    for network in (Sam2, Sa2VA):
        with pytest.raises(StageError, match=r"holds no config\.json"):
            network(tmp_path)
    with pytest.raises(StageError, match="no segmenter named"):
        MasksStage(MasksSettings(segmenter="sam9")).run(workspace, QuietReport())
