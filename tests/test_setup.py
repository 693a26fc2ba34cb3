"""scripts/setup.sh with a pip and a uv that only note how they are called."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# .venv/bin/python: pip and uv are played, all else is the real one's.
PYTHON = """#!/usr/bin/env bash
note() {{
    echo "$1 system=${{UV_SYSTEM_CERTS:-}} native=${{UV_NATIVE_TLS:-}} cert=${{PIP_CERT:-}}" >> "$LOG"
}}
case "$*" in
    "-m uv --version") [ -z "${{NO_UV:-}}" ] ;;
    "-m uv --help") echo "${{UV_HELP:-}}" ;;
    "-m uv pip compile"*) cat >/dev/null; [ -n "${{CPU_TORCH:-}}" ] ;;
    "-m uv pip install"*) note install; [ -z "${{NO_NETWORK:-}}" ] ;;
    "-m pip install"*) note pip; [ -n "${{PIP_CERT:-}}" ] ;;
    *find_spec*) exit "${{NO_TORCH:-0}}" ;;
    *) exec {python} "$@" ;;
esac
"""
Setup = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    """Return a function that sets up a copy of the repository's few files with variables of its own."""
    for name in ("pyproject.toml", "constraints.txt", "scripts/overrides.txt", "scripts/setup.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    (tmp_path / "certificates.pem").touch()
    (tmp_path / "bin").mkdir()

    def run(**variables: str) -> subprocess.CompletedProcess[str]:
        given = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "LOG": str(tmp_path / "log"), "HOME": str(tmp_path)}
        given["SSL_CERT_FILE"] = str(tmp_path / "certificates.pem")  # the system's
        command = ["bash", "-c", "source scripts/setup.sh; echo READY"]
        return subprocess.run(
            command, cwd=tmp_path, env={**given, **variables}, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize(
    ("variables", "noted"),
    [
        ({"UV_HELP": "--system-certs"}, "system=true native="),
        ({"UV_HELP": "--native-tls"}, "system= native=true"),
        ({"UV_HELP": "--system-certs", "UV_SYSTEM_CERTS": "false"}, "system=false native="),
        ({"UV_HELP": "--system-certs", "UV_NATIVE_TLS": "false"}, "system= native=false"),
    ],
)
def test_uv_takes_the_systems_certificates_unless_told_otherwise(
    setup: Setup, tmp_path: Path, variables: dict[str, str], noted: str
) -> None:
    done = setup(**variables)
    assert done.stdout.endswith("READY\n"), done.stderr
    assert (tmp_path / "log").read_text() == f"install {noted} cert=\n"
    assert "READY" in setup().stdout and (tmp_path / "log").read_text().count("install") == 1, (
        "once is enough"
    )


def test_an_older_pip_is_given_them_too(setup: Setup, tmp_path: Path) -> None:
    done = setup(NO_UV="1")
    assert done.stdout.endswith("READY\n"), done.stderr
    certificates = [line.split("cert=")[1] for line in (tmp_path / "log").read_text().splitlines()]
    assert certificates == ["", str(tmp_path / "certificates.pem"), ""]


def test_a_failed_download_names_what_to_set(setup: Setup, tmp_path: Path) -> None:
    done = setup(NO_NETWORK="1")
    assert done.returncode != 0 and "READY" not in done.stdout
    for name in ("HTTPS_PROXY", "SSL_CERT_FILE", "PIP_CERT", "UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        assert name in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / ".venv/dyn3d-stamp").exists()


@pytest.mark.skipif(
    not sys.platform.startswith("linux")
    or Path("/proc/driver/nvidia").exists()
    or bool(shutil.which("nvidia-smi")),
    reason="what is said on Linux without an NVIDIA driver: run it there",
)
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"CPU_TORCH": "1"}, True),
        ({}, False),  # out of reach
        ({"CPU_TORCH": "1", "DYN3D_TORCH_BACKEND": "cpu"}, False),
        ({"CPU_TORCH": "1", "NO_TORCH": "0"}, False),  # installed already
    ],
)
def test_the_cpu_build_is_named_where_it_helps_and_can_be_had(
    setup: Setup, variables: dict[str, str], said: bool
) -> None:
    done = setup(**{"NO_TORCH": "1", **variables})
    assert done.stdout.endswith("READY\n"), done.stderr
    assert ("3 GB" in done.stdout and "DYN3D_TORCH_BACKEND=cpu" in done.stdout) == said


def test_no_word_of_the_cpu_build_where_there_is_a_driver(setup: Setup, tmp_path: Path) -> None:
    driver = tmp_path / "bin/nvidia-smi"
    driver.write_text("#!/bin/sh\n")
    driver.chmod(0o755)
    assert "DYN3D_TORCH_BACKEND" not in setup(NO_TORCH="1", CPU_TORCH="1").stdout
