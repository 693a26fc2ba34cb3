"""Time the start of Nerfstudio's commands with our plugins and without, turn by turn on one machine."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass

import tyro

COMMANDS = {
    "ns-train": "nerfstudio.scripts.train:entrypoint",
    "ns-eval": "nerfstudio.scripts.eval:entrypoint",
    "ns-render": "nerfstudio.scripts.render:entrypoint",
    "ns-viewer": "nerfstudio.scripts.viewer.run_viewer:entrypoint",
    "ns-export": "nerfstudio.scripts.exporter:entrypoint",
    "ns-process-data": "nerfstudio.scripts.process_data:entrypoint",
}

RUN_HELP = """
import contextlib, importlib, importlib.metadata, io, json, resource, sys, time
command, entry, plugins = sys.argv[1:]
if plugins == "without":
    stock = importlib.metadata.entry_points
    def entry_points(**kinds):
        found = stock(**kinds)
        if not str(kinds.get("group", "")).startswith("nerfstudio."):
            return found
        return importlib.metadata.EntryPoints(e for e in found if not e.value.startswith("dyn3d_ns."))
    importlib.metadata.entry_points = entry_points
module, function = entry.split(":")
sys.argv = [command, "--help"]
began = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
    getattr(importlib.import_module(module), function)()
used = resource.getrusage(resource.RUSAGE_SELF)
json.dump({"wall": time.perf_counter() - began, "cpu": used.ru_utime + used.ru_stime,
           "ours": sorted(name for name in sys.modules if name.startswith("dyn3d_ns")),
           "modules": sorted(sys.modules), "help": said.getvalue()}, sys.stdout)
"""


@dataclass
class Args:
    """What to time and how often."""

    repeats: int = 3
    """runs of each command with our plugins and without them"""
    commands: tuple[str, ...] = tuple(COMMANDS)
    """commands to start with --help"""


def start(command: str, plugins: bool) -> dict:
    """Run `command --help` in a process of its own; return seconds, modules and the help text."""
    arguments = [command, COMMANDS[command], "with" if plugins else "without"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN_HELP, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def compare(command: str, repeats: int) -> tuple[float, float, float]:
    """Return median wall seconds with our plugins and without, and the ratio of median CPU seconds."""
    runs = {True: [], False: []}
    for _ in range(repeats):
        for plugins, results in runs.items():
            results.append(start(command, plugins))
    wall, without = (statistics.median(run["wall"] for run in runs[plugins]) for plugins in (True, False))
    cpu, cpu_without = (statistics.median(run["cpu"] for run in runs[plugins]) for plugins in (True, False))
    return wall, without, cpu / cpu_without


def main(args: Args) -> None:
    """Print a table."""
    print(f"{'command --help':18} {'with':>8} {'without':>8} {'ratio':>6} {'CPU ratio':>10}")
    for command in args.commands:
        try:
            start(command, plugins=False)
        except subprocess.CalledProcessError as error:
            print(f"{command:18} does not start here without our plugins: {error.stderr.splitlines()[-1]}")
            continue
        wall, without, cpu_ratio = compare(command, args.repeats)
        print(
            f"{command:18} {wall:7.2f}s {without:7.2f}s {wall / without:6.2f} {cpu_ratio:10.2f}", flush=True
        )


if __name__ == "__main__":
    main(tyro.cli(Args))
