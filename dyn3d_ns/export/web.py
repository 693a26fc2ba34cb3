"""`web`: a page that plays a scene from one file, without a server and without the network.

The page is built from the sources in `web/`; what it draws with, three.js and Spark, is part of it. A strict
policy in it keeps the browser from asking any other place for anything.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import zlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from dyn3d_ns.export.web_scene import PackedScene
from dyn3d_ns.io.atomic import write_text
from dyn3d_ns.io.splats import View

FORMAT_VERSION = 1
"""Of the data in a page; web/src/data.ts reads this one alone, as each page brings its own reader."""
LOADER = (
    'const packed=Uint8Array.from(atob(document.getElementById("code").textContent),'
    "letter=>letter.charCodeAt(0));"
    'const stream=new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));'
    'const script=document.createElement("script");script.type="module";'
    "script.textContent=await new Response(stream).text();document.body.append(script);"
)
"""Unpacks the page's code, which is a third as large when it is packed."""


@dataclass(frozen=True)
class PageAbout:
    """What a page tells of its scene, in seconds from the recording's first frame."""

    title: str
    description: str
    """One or two sentences: the method, and what wrote the page."""
    writer: str
    fps: float
    observed: float
    """Last observed second; later ones are predicted."""
    recorded: float
    """Last second of the recording."""
    up: tuple[float, float, float]
    """Along the axes of the scene."""
    near: float
    """Distance from the camera from which on Gaussians are drawn, in units of the scene."""
    background: tuple[float, float, float]
    """Colour behind the scene, 0..1."""
    views: tuple[View, ...]
    """Recorded cameras in the order of the path; the first one is where the page opens."""
    poster: bytes
    """JPEG of what the page opens with."""


def write_page(path: Path, scene: PackedScene, about: PageAbout) -> int:
    """Write a page and return how many of its bytes are the scene's data.

    Args:
        path: File to write (.html).
        scene: The Gaussians and their motion.
        about: What the page tells, and where it opens.
    """
    data = base64.b64encode(scene.columns.deflated()).decode()
    header = json.dumps(_header(scene, about), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    code, style = _part("page.js"), _part("page.css")
    parts = {
        "CSP": _policy((LOADER, code), style),
        "WRITER": html.escape(about.writer),
        "TITLE": html.escape(about.title),
        "ABOUT": html.escape(about.description),
        "LICENCES": html.escape(_part("LICENSES.txt")),
        "POSTER": f"data:image/jpeg;base64,{base64.b64encode(about.poster).decode()}",
        "STYLE": style,
        "LOADER": LOADER,
        "CODE": base64.b64encode(zlib.compress(code.encode(), 9)).decode(),
        "HEADER": header,
        "DATA": data,
    }
    pieces = _part("page.html").split("%")
    # Every other piece of the template is the name of a part.
    write_text(path, "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces)))
    return len(data) + len(header)


def _header(scene: PackedScene, about: PageAbout) -> dict[str, Any]:
    return {
        "version": FORMAT_VERSION,
        "title": about.title,
        "writer": about.writer,
        "background": list(about.background),
        "up": list(about.up),
        "near": about.near,
        "fps": about.fps,
        "observed": about.observed,
        "recorded": about.recorded,
        "end": scene.end,
        "count": scene.count,
        "moving": scene.moving,
        "coefficients": scene.coefficients,
        "motion": scene.motion,
        "cameras": [
            {
                "pose": [round(float(value), 7) for value in np.asarray(view.pose).ravel()],
                "fov": view.fov,
                "size": list(view.size),
            }
            for view in about.views
        ],
        "columns": scene.columns.described,
    }


def _policy(scripts: tuple[str, ...], style: str) -> str:
    """Return what the page may do: run these scripts, a worker and WebAssembly, and show what is in it."""
    allowed = " ".join(_source(script) for script in scripts)
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {allowed} 'wasm-unsafe-eval'",
            f"style-src {_source(style)}",
            "img-src data:",
            "worker-src blob:",
            "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _part(name: str) -> str:
    return (files("dyn3d_ns.export") / "web_page" / name).read_text(encoding="utf-8")
