"""What the `dyn3d` command tells its user without a traceback."""


class CommandError(ValueError):
    """Something that the user of the command can mend."""
