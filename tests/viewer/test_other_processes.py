"""Viewers start while another process ends."""

import psutil
import pytest
from viser import _client_autobuild

from dyn3d_ns.viewer.other_processes import let_processes_end


class Gone:
    """A process that has ended since it was listed."""

    def cwd(self) -> str:
        raise psutil.NoSuchProcess(1)


def test_a_process_that_has_ended_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    let_processes_end()
    repaired = _client_autobuild._check_viser_yarn_running
    monkeypatch.setattr(psutil, "process_iter", lambda: iter([Gone()]))
    assert repaired() is False
    with pytest.raises(psutil.NoSuchProcess):
        repaired.__wrapped__()  # type: ignore[attr-defined]
