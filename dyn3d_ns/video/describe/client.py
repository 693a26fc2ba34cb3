"""A client for any server that speaks OpenAI's chat protocol, with pictures."""

from __future__ import annotations

import base64
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dyn3d_ns.io.errors import StageError


class ServerError(StageError):
    """The vision-language server did not answer, or not with what was asked for."""


@dataclass(frozen=True)
class ChatClient:
    """Asks a model one question at a time."""

    base_url: str
    """Address up to and with the version: http://127.0.0.1:8000/v1."""
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; a server without keys needs none."""
    timeout: float = 120.0
    """Seconds to wait for an answer."""
    tries: int = 3

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise StageError(
                f"a vision-language server's address starts with http:// or https://, got {self.base_url!r}"
            )

    def ask(self, text: str, images: Sequence[np.ndarray] = ()) -> str:
        """Return the model's answer to a text with pictures (RGB).

        Raises:
            ServerError: no answer after several tries; the message never holds the key.
        """
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": _data_url(image)}} for image in images
        ]
        content.append({"type": "text", "text": text})
        body = {"model": self.model, "messages": [{"role": "user", "content": content}], "temperature": 0}
        error: Exception | None = None
        for _ in range(self.tries):
            try:
                return self._post(body)
            except urllib.error.HTTPError as failure:
                reason = failure.read(500).decode("utf-8", "replace").strip()
                error = ServerError(f"{failure.code} {failure.reason} {reason}".strip())
                if failure.code in (400, 401, 403, 404):
                    break
            except (OSError, ValueError, RecursionError, http.client.HTTPException) as failure:
                error = failure
        raise ServerError(f"{self.base_url} gave no answer from {self.model!r}: {error}")

    def ask_json(self, text: str, images: Sequence[np.ndarray] = ()) -> dict[str, Any]:
        """Return the JSON object in the model's answer; asks again when there is none.

        Raises:
            ServerError: no answer, or none with a JSON object.
        """
        answer = ""
        for _ in range(self.tries):
            answer = self.ask(text, images)
            found = find_json(answer)
            if found is not None:
                return found
        raise ServerError(f"{self.model!r} at {self.base_url} answered without JSON: {answer[:200]!r}")

    def _post(self, body: dict[str, Any]) -> str:
        request = urllib.request.Request(
            self.base_url.rstrip("/") + "/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **self._authorization()},
        )
        with urllib.request.urlopen(request, timeout=self.timeout) as response:
            answer = json.loads(response.read())
        try:
            content = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise ServerError(f"the answer has no choices[0].message.content: {str(answer)[:200]}") from error
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
        if not isinstance(content, str) or not content.strip():
            raise ServerError("the answer is empty")
        return content

    def _authorization(self) -> dict[str, str]:
        key = os.environ.get(self.api_key_env, "")
        return {"Authorization": f"Bearer {key}"} if key else {}


def find_json(text: str) -> dict[str, Any] | None:
    """Return the first whole JSON object in a text, None if there is none."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            found, _ = decoder.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
        start = text.find("{", start + 1)
    return None


def _data_url(image: np.ndarray) -> str:
    import cv2

    bgr = np.ascontiguousarray(image[..., ::-1])
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(encoded).decode()
