"""The training cameras in the live viewer, of one scene of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jaxtyping import Int64
from nerfstudio.viewer.viewer_elements import ViewerControl, ViewerDropdown
from torch import Tensor

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer


class SceneCameras(ViewerControl):
    """Draws the training cameras of the scene that a drop-down chooses; those of others are in other worlds.

    Held as a public attribute of a model, it is set up by every viewer that shows the model.
    """

    def __init__(self, scene: ViewerDropdown[str], scene_ids: Int64[Tensor, "N"]) -> None:
        """Follow a drop-down of scenes, given the number of each training image's scene among its options."""
        super().__init__()
        self._scene, self._scene_ids = scene, scene_ids.tolist()
        self._wanted = True
        scene.cb_hook = lambda _: self._show(self._wanted)

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        draw = viewer.init_scene

        def init_scene(*args: Any, **kwargs: Any) -> None:
            draw(*args, **kwargs)
            self._show(True)

        # The viewer draws its cameras after this, and its buttons show all or none of them.
        viewer.init_scene = init_scene
        viewer.set_camera_visibility = self._show

    def _show(self, visible: bool) -> None:
        """Show the cameras of the chosen scene, or none."""
        self._wanted = visible
        chosen = self._scene.options.index(self._scene.value)
        # Not atomic(): drop-downs call from a thread, and viser blocks where two threads send in its block.
        for index, handle in self.viewer.camera_handles.items():
            handle.visible = visible and self._scene_ids[index] == chosen
