"""What PyTorch says of a loader process that is gone, in a sentence."""


def lost_worker(error: Exception) -> ChildProcessError | None:
    """The error to raise in place of PyTorch's; None for one about something else.

    PyTorch raises it where the main thread happens to be when the process dies: in the loader, in
    the middle of a training step, anywhere. Where a batch was under way, the pipe breaks instead.
    """
    text = str(error)
    is_broken = isinstance(error, ConnectionError | EOFError) and not text.startswith("Caught ")
    if not is_broken and not text.startswith("DataLoader worker"):
        return None
    what = "a loader process ended unexpectedly, killed by the system or by someone"
    fix = "memory is the usual reason: fewer data.workers, or smaller batches, need less"
    return ChildProcessError(
        f"{what}; {fix} ({text.splitlines()[0] if text else type(error).__name__})"
    )
