"""One exception hierarchy for what the user of a command can mend."""


class UserError(ValueError):
    """Something that the user can mend; the message says what was found, what was expected and the fix.

    Commands show the message alone and end with :data:`dyn3d_ns.plain_errors.EXIT_STATUS`.
    """


class CommandError(UserError):
    """The arguments of a command contradict each other, or name what is not there or cannot be written to."""


class DatasetError(UserError):
    """A dataset cannot be used as it is; the message says what is wrong and how to mend it."""


class MissingFileError(DatasetError):
    """A file that the dataset names, or that its layout needs, does not exist."""


class DamagedFileError(DatasetError):
    """A file exists but cannot be decoded, or lacks what it must contain."""


class UnsafePathError(DatasetError):
    """A path in the dataset leads out of the dataset's folder."""


class ImageSizeError(DatasetError):
    """An image does not have the size that its camera expects."""


class PoseError(DatasetError):
    """A camera pose is not finite, not 4x4 or not a rigid transform."""


class TimeRangeError(DatasetError):
    """A time stamp is missing, not a number or outside [0, 1]."""


class EmptySplitError(DatasetError):
    """A split that is needed holds no frame."""


class StageError(DatasetError):
    """A stage of `dyn3d process` cannot do its work with the clip or the settings it was given."""
