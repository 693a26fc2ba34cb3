"""Segmentation networks of those who have them, from local folders: SAM 2 and Sa2VA."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32, UInt8

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.masks.prompts import Prompt
from dyn3d_ns.video.parts import Configured


class Sam2(Configured):
    """SAM 2 (Ravi et al., 2024) by Hugging Face's transformers: follows boxes or masks both ways in time.

    The clip is held in memory at the network's resolution: 12 MiB a frame at 1024 pixels.
    """

    wants: Literal["places", "names"] = "places"

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        transformers = _transformers()
        _require_folder(folder, "a SAM 2 video model (config.json, model.safetensors, processor files)")
        try:
            self.model = transformers.Sam2VideoModel.from_pretrained(folder, local_files_only=True)
            self.processor = transformers.Sam2VideoProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise StageError(f"{folder} is no SAM 2 video model of transformers: {error}") from error
        self.model = self.model.to(device).eval()
        self.device = device

    @classmethod
    def from_settings(cls, settings: Any) -> Sam2:
        """Build it from the settings of the stage `masks`."""
        return cls(_path_of(settings, "sam2"), settings.device)

    def __call__(
        self, images: Sequence[UInt8[np.ndarray, "H W 3"]], prompts: Sequence[Prompt]
    ) -> Iterator[Int32[np.ndarray, "H W"]]:
        """Yield the instance ids of every frame; object k of the prompts has id k + 1."""
        height, width = images[0].shape[:2]
        session = self.processor.init_video_session(
            video=[np.asarray(image) for image in images], inference_device=self.device
        )
        labels = np.zeros((len(images), height, width), np.int32)
        # Objects that are prompted in one frame are followed together; each such frame is a run of its own.
        for start in sorted({prompt.frame for prompt in prompts}):
            session.reset_inference_session()
            for k, prompt in enumerate(prompts, 1):
                if prompt.frame == start:
                    self._prompt(session, k, prompt, (height, width))
            self._propagate(session, start, labels)
        yield from list(labels)

    def _prompt(self, session: Any, k: int, prompt: Prompt, size: tuple[int, int]) -> None:
        if prompt.mask is None and prompt.box is None:
            raise StageError(f"SAM 2 needs a box or a mask of {prompt.name}; use sa2va for names alone")
        where: dict[str, Any] = (
            {"input_boxes": [[list(prompt.box)]]} if prompt.box is not None else {"input_masks": prompt.mask}
        )
        self.processor.add_inputs_to_inference_session(
            session, frame_idx=prompt.frame, obj_ids=k, original_size=size, **where
        )

    def _propagate(self, session: Any, start: int, labels: Int32[np.ndarray, "F H W"]) -> None:
        """Follow the prompted objects forward and backward, and paint them into the labels."""
        import torch

        size = [list(labels.shape[1:])]
        with torch.inference_mode():
            self.model(session, frame_idx=start)
            for reverse in (False, True):
                outputs = self.model.propagate_in_video_iterator(
                    session, start_frame_idx=start, reverse=reverse
                )
                for output in outputs:
                    masks = self.processor.post_process_masks([output.pred_masks], size, binarize=True)[0]
                    for k, mask in zip(output.object_ids, masks[:, 0].cpu().numpy(), strict=True):
                        labels[output.frame_idx][mask > 0] = int(k)


class Sa2VA(Configured):
    """Sa2VA (Yuan et al., 2025): segments what a sentence names, from its own model folder.

    The folder's own Python code is run, as transformers does for models that bring code: name only folders
    that you trust.
    """

    wants: Literal["places", "names"] = "names"

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        transformers = _transformers()
        _require_folder(folder, "Sa2VA (config.json, weights, its modeling files)")
        try:
            self.model = transformers.AutoModel.from_pretrained(
                folder, local_files_only=True, trust_remote_code=True
            )
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=True
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise StageError(f"{folder} is no Sa2VA model: {error}") from error
        self.model = self.model.to(device).eval()

    @classmethod
    def from_settings(cls, settings: Any) -> Sa2VA:
        """Build it from the settings of the stage `masks`."""
        return cls(_path_of(settings, "sa2va"), settings.device)

    def __call__(
        self, images: Sequence[UInt8[np.ndarray, "H W 3"]], prompts: Sequence[Prompt]
    ) -> Iterator[Int32[np.ndarray, "H W"]]:
        """Yield the instance ids of every frame; object k of the prompts has id k + 1, later ones on top."""
        from PIL import Image

        video = [Image.fromarray(image) for image in images]
        height, width = images[0].shape[:2]
        labels = np.zeros((len(images), height, width), np.int32)
        for k, prompt in enumerate(prompts, 1):
            details = f", details: {prompt.details}" if prompt.details else ""
            answer = self.model.predict_forward(
                video=video,
                text=f"<image>Please segment the {prompt.name}{details}.",
                past_text="",
                mask_prompts=None,
                tokenizer=self.tokenizer,
            )
            found = answer.get("prediction_masks") or []
            if "[SEG]" in answer.get("prediction", "") and len(found):
                masks = np.asarray(found[0])
                if masks.shape != labels.shape:
                    raise StageError(f"Sa2VA gave masks of shape {masks.shape}, expected {labels.shape}")
                labels[masks > 0] = k
        yield from list(labels)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise StageError(
            f"this segmenter needs transformers ({error}); install it with: pip install 'dyn3d-ns[nets]'"
        ) from error
    return transformers


def _path_of(settings: Any, name: str) -> Path:
    if settings.segmenter_path is None:
        raise StageError(f"--masks.segmenter {name} needs --masks.segmenter-path FOLDER with the model")
    return settings.segmenter_path


def _require_folder(folder: Path, what: str) -> None:
    if not (folder / "config.json").is_file():
        raise StageError(f"{folder} holds no config.json; give the local folder of {what}")
