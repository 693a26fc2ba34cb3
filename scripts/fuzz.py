"""Hand damaged files to every reader, and tell where one ends in anything but success or an error of ours.

    python scripts/fuzz.py                         # prefixes, and 80 further inputs a reader
    python scripts/fuzz.py --inputs 1000 ply flo   # of these readers (parts of their names)
    python scripts/fuzz.py --repeat "ply ascii" bit 17    # one input again, with its traceback

An input is a reader, a kind of damage and a number, from which its random choices follow, and which is all
it takes to repeat it: nothing damaged is kept. Each is read in a process of its own, forked from one in which
what the reader needs is imported, with 2 GiB of address space beyond what that has taken, 5 seconds of CPU
time, and 60 of the clock since other programs may run. A reader may end in success or in a ``UserError``; a
traceback, a process that is killed and one that does not end are finds, and the status is 1 if there are any.
Readers stand in the order of what they import, so that most processes are small and quick to fork.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

from fuzz_readers import READERS, Reader  # noqa: E402

from dyn3d_ns.io.errors import UserError  # noqa: E402

MEMORY, CPU_SECONDS, SECONDS = 2 << 30, 5, 60
ALL_PREFIXES, SOME_PREFIXES = 600, 200
"""Longest file of which every prefix is tried, and how many of a longer one, evenly spread."""
OUTCOMES = ("success", "our error", "traceback", "killed", "hang")
_CODES = {0: "success", 10: "our error", 11: "traceback"}


@dataclass(frozen=True)
class Input:
    """What an input is made of."""

    reader: Reader
    damage: str
    number: int

    def content(self, whole: bytes) -> bytes:
        """Return the damaged file, given the whole one."""
        if self.damage == "prefix":
            return whole[: self.number]
        rng = random.Random(f"{self.reader.name}/{self.damage}/{self.number}")  # noqa: S311
        return self.reader.damages[self.damage](whole, rng)

    def __str__(self) -> str:
        return f'"{self.reader.name}" {self.damage} {self.number}'


def inputs_of(reader: Reader, whole: bytes, count: int) -> Iterator[Input]:
    """List prefixes, evenly spread if there are many, and so many inputs of the kinds of damage in turn."""
    step = 1 if len(whole) <= ALL_PREFIXES else -(-len(whole) // min(SOME_PREFIXES, count + 50))
    if count < SOME_PREFIXES // 4:
        step = max(step, -(-len(whole) // max(count, 1)))
    yield from (Input(reader, "prefix", length) for length in range(0, len(whole), step))
    kinds = list(reader.damages)
    yield from (Input(reader, kinds[i % len(kinds)], i // len(kinds)) for i in range(count))


def run(one: Input, template: Path, whole: bytes, scratch: Path) -> tuple[str, str]:
    """Read an input in a process of its own; return how that ended, and what it said."""
    folder = scratch / "input"
    shutil.copytree(template, folder, copy_function=os.link)
    try:
        (folder / one.reader.file).unlink()
        (folder / one.reader.file).write_bytes(one.content(whole))
        with tempfile.TemporaryFile() as said:
            child = os.fork()
            if child == 0:
                _read(one.reader, folder, said.fileno())
            status = _wait(child)
            said.seek(0)
            words = said.read().decode(errors="replace")
        if status is None:
            return "hang", words
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            name = signal.Signals(number).name
            return ("hang" if number == signal.SIGXCPU else "killed"), f"{name} {words}"
        return _CODES.get(os.WEXITSTATUS(status), "killed"), words
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(reader: Reader, folder: Path, said: int) -> None:
    """Read a folder in this process, the child, and end it."""
    code = 11
    try:
        _limit()
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        warnings.simplefilter("ignore")
        reader.read(folder)
        code = 0
    except UserError as error:
        code = 10
        os.write(said, str(error).encode(errors="replace")[:2000])
    except BaseException:  # Rust's panics are no Exception
        os.write(said, traceback.format_exc().encode(errors="replace")[-4000:])
    finally:
        os._exit(code)


def _limit() -> None:
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    spent = int(time.process_time()) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (spent + CPU_SECONDS, spent + CPU_SECONDS + 2))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _wait(child: int) -> int | None:
    """Return the status of a child; None, and its end, where it takes too long."""
    end, pause = time.monotonic() + SECONDS, 0.0005
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(pause)
        pause = min(2 * pause, 0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=place) as folder:
        yield Path(folder)


def _prepare(reader: Reader, template: Path) -> bytes:
    """Write what a reader reads, and read it whole, which imports all that it needs; return the file."""
    with tempfile.TemporaryDirectory(dir=template.parent) as folder:
        reader.make(Path(folder))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(Path(folder))  # which may leave files of its own
    template.mkdir()
    reader.make(template)
    gc.collect()
    gc.freeze()
    return (template / reader.file).read_bytes()


def fuzz(readers: list[Reader], count: int, shown: int = 3) -> tuple[dict[str, Counter[str]], list[str]]:
    """Try all inputs of readers; return the outcomes of each, and the finds."""
    table, finds = {}, []
    for reader in readers:
        outcomes: Counter[str] = Counter()
        seen: Counter[str] = Counter()
        with _scratch() as scratch:
            template = scratch / "template"
            whole = _prepare(reader, template)
            for one in inputs_of(reader, whole, count):
                outcome, said = run(one, template, whole, scratch)
                outcomes[outcome] += 1
                if outcome not in ("success", "our error"):
                    last = said.strip().splitlines()[-1] if said.strip() else ""
                    finds.append(f"{outcome}: {one}: {last[:200]}")
                    seen[last[:40]] += 1
                    if seen[last[:40]] <= shown:
                        print(finds[-1], flush=True)
        table[reader.name] = outcomes
        print(_row(reader.name, outcomes), flush=True)
    return table, finds


def _row(name: str, outcomes: Counter[str]) -> str:
    return f"{name:38} {outcomes.total():7} " + " ".join(f"{outcomes[o]:9}" for o in OUTCOMES)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("readers", nargs="*", help="parts of readers' names; all if none")
    parser.add_argument("--inputs", type=int, default=80, help="inputs of a reader beside prefixes")
    parser.add_argument("--repeat", nargs=3, metavar=("READER", "DAMAGE", "NUMBER"), help="one input again")
    options = parser.parse_args()
    if options.repeat:
        name, damage, number = options.repeat
        reader = next(r for r in READERS if r.name == name)
        with _scratch() as scratch:
            template = scratch / "template"
            whole = _prepare(reader, template)
            outcome, said = run(Input(reader, damage, int(number)), template, whole, scratch)
        print(f"{outcome}\n{said}")
        return 0 if outcome in ("success", "our error") else 1
    chosen = [r for r in READERS if not options.readers or any(part in r.name for part in options.readers)]
    start = time.process_time(), time.monotonic()
    print(f"{'reader':38} {'inputs':>7} " + " ".join(f"{name:>9}" for name in OUTCOMES), flush=True)
    table, finds = fuzz(chosen, options.inputs)
    print(_row(f"all {len(table)} readers", sum(table.values(), Counter())))
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = time.process_time() - start[0] + children.ru_utime + children.ru_stime
    print(f"{len(finds)} finds; {spent:.0f} s of CPU time in {time.monotonic() - start[1]:.0f} s")
    return 1 if finds else 0


if __name__ == "__main__":
    raise SystemExit(main())
