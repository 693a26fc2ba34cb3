"""Files are replaced as a whole or not at all."""

import os
import stat

import pytest

from dyn3d_ns.io.atomic import atomic_folder, atomic_open, atomic_path, write_bytes, write_json, write_text


def test_content_replaces_the_old(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "one")
    write_text(path, "zwei \u00e4")
    assert path.read_text(encoding="utf-8") == "zwei \u00e4"
    write_bytes(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(type(error)), atomic_open(path) as file:
        file.write(b"half")
        raise error
    assert getattr(error, "filename", str(path)) == str(path), "who is told of a full disk is told the file"
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_target_is_untouched_until_the_end(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
        assert temporary.parent == path.parent
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions: run on Linux or macOS")
def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"psnr": float("nan")})
    assert not list(tmp_path.iterdir())


def test_only_whole_writes(tmp_path):
    with pytest.raises(ValueError, match="mode"), atomic_open(tmp_path / "a", "ab"):
        pass


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_folder_appears_whole_or_not_at_all(tmp_path, error):
    with pytest.raises(type(error)), atomic_folder(tmp_path / "a") as folder:
        (folder / "half").write_bytes(b"x")
        raise error
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").mkdir()
    with atomic_folder(tmp_path / "a") as folder:
        (folder / "whole").write_bytes(b"x")
        assert not list((tmp_path / "a").iterdir())
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["a", "a/whole"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions: run on Linux or macOS")
def test_permissions_of_a_folder_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_folder(tmp_path / "a"):
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o750
