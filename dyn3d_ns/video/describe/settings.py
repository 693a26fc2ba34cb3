"""Settings of the stage `describe`."""

from __future__ import annotations

from dataclasses import dataclass

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.settings import StageSettings


@dataclass(frozen=True)
class DescribeSettings(StageSettings):
    """Who names what moves."""

    method: str = "auto"
    """auto (a server where --describe.vlm-base-url is given), measured, server, or module:Class."""
    vlm_base_url: str = ""
    """Address of an OpenAI-compatible vision-language server, such as http://127.0.0.1:8000/v1."""
    vlm_model: str = ""
    """Model to ask there."""
    vlm_api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key, if the server wants one."""
    vlm_timeout: float = 120.0
    """Seconds to wait for each answer."""

    def check(self) -> None:
        """Raise a StageError for values that make no sense."""
        if bool(self.vlm_base_url) != bool(self.vlm_model):
            raise StageError(
                "--describe.vlm-base-url and --describe.vlm-model go together: give both or none"
            )
        if self.method == "server" and not self.vlm_base_url:
            raise StageError(
                "--describe.method server needs --describe.vlm-base-url and --describe.vlm-model"
            )
