"""The base of errors that end a command for what a user can mend, and are no wrong argument."""


class Failure(RuntimeError):
    """The work cannot go on; the message says why and what to do, as a command's last line."""
