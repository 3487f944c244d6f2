"""Which files a config names that are not there: asked before anything heavy is imported."""

from pathlib import Path

from van_dense.config.tasks import Config


def missing_data(config: Config) -> str | None:
    """Explain which data files are missing and what to do, or None if all are there."""
    if config.data.sample is not None:
        return None  # written when missing
    wanted = {key: Path(path) for key, path in config.data.files().items()}
    missing = {key: path for key, path in wanted.items() if not path.exists()}
    if not missing:
        return None
    lines = [f"  {key}: {path} (looked at {path.absolute()})" for key, path in missing.items()]
    key = next(iter(missing))
    head = f"The data set {config.data.name!r} is not complete; missing:"
    fix = "Give the right place on the command line, for example "
    fix += f"{key}=PATH (van-dense check --help lists formats);"
    if "data.detections" in missing:  # a project of COCO names them, and other data have none
        fix += "\ndata.detections=null takes the boxes of the annotations;"
    other = "or add --sample to run on a small generated data set without any download."
    return "\n".join([head, *lines, fix, other])
