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
from dyn3d_ns.export.written import Written, provenance, require_space
from dyn3d_ns.io.atomic import write_text
from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.splats import About

FORMAT_VERSION = 2
"""Of the data in a page; web/src/data.ts reads this one alone, as each page brings its own reader."""
MOST_TEXELS = 4096 * 4096
"""Entries of the largest table that phones and computers with WebGL 2 take."""
LOSS = "places to 1/16,000,000 of the scene's size, axes to 0.03 degrees, other numbers to 8 or 12 bits"
LOADER = """try {
  const packed = Uint8Array.from(atob(document.getElementById("code").textContent), one => one.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const script = document.createElement("script");
  script.type = "module";
  script.textContent = await new Response(stream).text();
  document.body.append(script);
} catch (error) {
  document.getElementById("message").textContent =
    "This browser is too old to play the scene: this is a still picture of it.";
}"""
"""Unpacks the page's code, which is a third as large when it is packed."""


@dataclass(frozen=True)
class Page:
    """What a page tells and shows beside the Gaussians."""

    title: str
    about: About
    """Where the scene comes from; its cameras, in the order of the path, are along the axes of the scene, and
    the page opens at the first one."""
    recorded: float
    """Last second of the recording."""
    up: tuple[float, float, float]
    """Direction that the view turns about, along the axes of the scene."""
    near: float
    """Distance from the camera from which on Gaussians are drawn, in units of the scene."""
    background: tuple[float, float, float]
    """Colour behind the scene, 0..1."""
    poster: bytes
    """JPEG of what the page opens with."""


def write_page(path: Path, scene: PackedScene, page: Page) -> Written:
    """Write a scene as a page.

    Args:
        path: File to write (.html).
        scene: The Gaussians and their motion.
        page: What the page tells, and where it opens.

    Raises:
        CommandError: the disk has no room for it, or the scene is larger than graphics cards take.
    """
    if scene.texels > MOST_TEXELS:
        raise CommandError(
            f"{scene.count} Gaussians are more than a page can show: their table would have {scene.texels} "
            f"entries, and graphics cards take {MOST_TEXELS}; train with a smaller max-gaussians"
        )
    data = base64.b64encode(scene.columns.deflated()).decode()
    header = json.dumps(_header(scene, page), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    code, style = _part("page.js"), _part("page.css")
    parts = {
        "CSP": _policy((LOADER, code), style),
        "WRITER": html.escape(page.about.version),
        "TITLE": html.escape(page.title),
        "ABOUT": html.escape(_description(page.about)),
        "LICENCES": html.escape(_part("LICENSES.txt")),
        "POSTER": f"data:image/jpeg;base64,{base64.b64encode(page.poster).decode()}",
        "STYLE": style,
        "LOADER": LOADER,
        "CODE": base64.b64encode(zlib.compress(code.encode(), 6)).decode(),
        "HEADER": header,
        "DATA": data,
    }
    pieces = _part("page.html").split("%")
    # Every other piece of the template is the name of a part.
    text = "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))
    size = len(text.encode())
    require_space(path.parent, size)
    write_text(path, text)
    size_of_scene = (len(data) + len(header)) / 1e6
    return Written(
        path, size, LOSS, f"{size_of_scene:.2f} MB of the page are the scene, the rest what plays it"
    )


def _description(about: About) -> str:
    told = provenance(about)
    return "; ".join(f"{name}: {value}" for name, value in told.items() if name != "up")


def _header(scene: PackedScene, page: Page) -> dict[str, Any]:
    return {
        "version": FORMAT_VERSION,
        "title": page.title,
        "background": list(page.background),
        "up": list(page.up),
        "near": page.near,
        "fps": page.about.fps,
        "observed": page.about.observed[1],
        "recorded": page.recorded,
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
            for view in page.about.views
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
