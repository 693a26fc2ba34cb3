"""What is said of a clip."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Description:
    """Names and captions of a clip."""

    dynamic: list[str] = field(default_factory=list)
    """Names of what moves."""
    reasoning: dict[str, str] = field(default_factory=dict)
    """A sentence on the looks of each name."""
    instance_names: dict[int, str] = field(default_factory=dict)
    """Name of each object of the masks."""
    instance_captions: dict[int, str] = field(default_factory=dict)
    """What each object of the masks does."""
    scene_caption: str = ""
    camera_caption: str = ""
    model: str = "measured"
    """Who says so: the vision-language model, or `measured` for text from the measured motion."""
