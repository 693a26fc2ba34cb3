"""A player's controls in a real viser server, where key presses come while an earlier one is worked on."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import viser

from dyn3d_ns.timeline import Timeline
from dyn3d_ns.viewer.player import DirectPlayer, PlaybackPanel

TIMELINE = Timeline(tuple(i / 10 for i in range(10)), t_obs=0.8, fps=10.0)


class SlowPlayer(DirectPlayer):
    """A player whose page sets the slider further while a time is being shown."""

    def __init__(self, server: viser.ViserServer) -> None:
        super().__init__(TIMELINE)
        self.panel = self._panel = PlaybackPanel(self, server, order=0.0)
        self.presses: list[int] = []
        self.shown: list[int] = []
        self.called: list[threading.Thread] = []

    def show(self, time_to_show: float) -> None:
        """Note a time; the next press of a key comes before that is done."""
        self._shown = time_to_show
        self.shown.append(TIMELINE.frame_index(time_to_show))
        if self.presses:
            self.press(self.presses.pop(0))

    def press(self, frame: int) -> None:
        """Set the slider as viser does for a browser: its value at once, the callback when there is time."""
        slider = self.panel._frame._impl
        slider.value = frame
        event = SimpleNamespace(client=object(), client_id=0, target=self.panel._frame)
        for callback in slider.update_cb:
            self.called.append(threading.Thread(target=callback, args=(event,)))
            self.called[-1].start()


@pytest.fixture
def player() -> Iterator[SlowPlayer]:
    server = viser.ViserServer("127.0.0.1", port=7391, verbose=False)
    yield SlowPlayer(server)
    server.stop()


def settle(player: SlowPlayer) -> None:
    """Wait until every press has been worked on; each begins before the one before it ends."""
    for thread in player.called:
        thread.join()


def test_a_press_while_an_earlier_one_is_worked_on_is_not_lost(player: SlowPlayer) -> None:
    player.presses = [2, 3, 4]
    player.press(1)
    settle(player)
    assert player.shown == [1, 2, 3, 4]
    assert player.panel._frame.value == 4 and player.time == TIMELINE.frame_times[4]
    assert player.panel._now.content.startswith("**frame 4/9**"), "the text belongs to the last of them"


def test_a_place_after_the_last_frame_is_drawn_back(player: SlowPlayer) -> None:
    player.press(12)
    settle(player)
    assert player.shown == [9]
    assert player.panel._frame.value == 9


def test_what_is_sought_otherwise_moves_the_slider(player: SlowPlayer) -> None:
    player.press(3)
    settle(player)
    player.seek(TIMELINE.frame_times[6])
    assert player.panel._frame.value == 6
    player.seek(TIMELINE.frame_times[3])
    assert player.panel._frame.value == 3, "the place that was last sought by hand is no exception"
