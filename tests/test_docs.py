"""Links and pictures of the documentation lead somewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "scripts").rglob("*.md"))
    if ".venv" not in path.parts
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"^(?:\$ )?dyn3d (\S+) (\S+)", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert not wrong, f"{page} links to what is not there: {wrong}"


def test_commands_in_the_documentation_exist() -> None:
    from dyn3d_ns.cli.main import DESCRIPTION

    known = {tuple(found) for found in COMMAND.findall(DESCRIPTION.replace("   dyn3d", "dyn3d"))}
    known |= {("path", name) for name in ("spiral", "camera", "<preset>")}
    used = {tuple(found) for page in PAGES for found in COMMAND.findall(page.read_text(encoding="utf-8"))}
    assert used <= known, used - known
    assert used


def test_no_page_names_a_place_of_one_machine() -> None:
    names = [path for path in PAGES if re.search(r"(?<![\w.])/(?:work|home|root|tmp)/", path.read_text())]
    assert not names


def test_every_picture_is_used() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "docs/images"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in tracked if Path(name).name not in text] == []
