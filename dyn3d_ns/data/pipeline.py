"""Where the pipeline lay before: the settings of trainings made then name this module, and no other does."""

from dyn3d_ns import plain_errors
from dyn3d_ns.io.errors import UserError

plain_errors.install()
raise UserError(
    "this config.yml is of a training made with an earlier dyn3d_ns, whose settings this version does not "
    "read; its checkpoint goes on with `ns-train METHOD --data SCENE --load-dir …/nerfstudio_models`"
)
