"""Which files a config names that are not there: asked before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path

from van_dense.config.schema import Config


def missing_data(config: Config) -> str | None:
    """Explain which data files are missing and what to do, or None if all are there."""
    data = config.data
    if data.sample is not None:
        return None  # written when missing
    if data.format == "yolo":
        assert data.yolo_root is not None  # the schema demands it
        wanted = {"data.yolo_root": Path(data.yolo_root) / "data.yaml"}
    else:
        assert data.train is not None and data.val is not None  # the schema demands it
        wanted = {
            "data.train.images": Path(data.train.images),
            "data.train.annotations": Path(data.train.annotations),
            "data.val.images": Path(data.val.images),
            "data.val.annotations": Path(data.val.annotations),
        }
    missing = {key: path for key, path in wanted.items() if not path.exists()}
    if not missing:
        return None
    lines = [f"  {key}: {path} (looked at {path.absolute()})" for key, path in missing.items()]
    key = next(iter(missing))
    return "\n".join(
        [
            f"The data set {data.name!r} is not complete; missing:",
            *lines,
            "Give the right place on the command line, for example "
            f"{key}=PATH, see docs/own-data.md;",
            "or add --sample to run on a small generated data set without any download.",
        ]
    )
