"""A situation: files as they come, what is read of them, what is said, and the exit code.

The rows of docs/situations.md. Every module of this folder that ends in ``_rows`` holds a list
``SITUATIONS``; ``python docs/write_situations.py`` writes the table.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from van_dense.cli.main import main
from van_dense.config import load_config
from van_dense.core.counting import counted
from van_dense.core.structures import Sample
from van_dense.data.dataset import DenseDataset, ReadError, notes_of
from van_dense.data.io.walk import walk
from van_dense.evaluation.table import load_metrics
from van_dense.runs.data_doctor import parts_of
from van_dense.tasks import task_of

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Situation:
    """One row of the table.

    Attributes:
        title: What is special about the files, for a reader who knows the formats.
        make: Writes the files below a folder, in which the command runs.
        command: Words after "van-dense": "check" with a --config, "eval" with --predictions, or
            any other.
        read: What the reader of the config of "check" gives of the training part, such as "3
            images, 7 objects", or "nothing" where it refuses; the metrics of "eval", such as
            "bbox/AP 1.000"; "" for other commands.
        says: Parts of what is printed or logged, as they stand there. None: nothing is worth a
            word, and neither an error nor a warning is printed.
        exit_code: Of the command.
        objects: Objects, images or classes of pixels that a human finds in the files, in the unit
            of ``read``; None where nothing can be lost.
        quarantined: What is read after "check" has written a quarantine list, and then without
            any error; None where that is not tried.
    """

    title: str
    make: Callable[[Path], None]
    command: tuple[str, ...]
    read: str
    says: tuple[str, ...] = ()
    exit_code: int = 0
    objects: int | None = None
    quarantined: str | None = None

    @property
    def loses(self) -> bool:
        """Whether less is read than a human finds in the files."""
        return self.objects is not None and not self.read.endswith(f" {self.objects} {self._unit}")

    @property
    def _unit(self) -> str:
        return self.read.rsplit(maxsplit=1)[-1]


def situations() -> list[tuple[str, list[Situation]]]:
    """Title and rows of each table, in the order of the modules' names."""
    modules = [importlib.import_module(f"situations.{f.stem}") for f in FOLDER.glob("*_rows.py")]
    modules.sort(key=lambda module: module.__name__)
    return [(module.TITLE, module.SITUATIONS) for module in modules]


def run(command: tuple[str, ...]) -> int:
    """Run a command in this process."""
    try:
        return main(list(command))
    except SystemExit as end:  # argparse
        return int(end.code or 0)


def check_again(command: tuple[str, ...], *overrides: str) -> tuple[str, ...]:
    """The same check of a config with more overrides."""
    return (*command, *overrides)


def read_by(command: tuple[str, ...]) -> str:
    """What the reader of a check's config gives of its training part, in words."""
    dataset = training_part(command)
    return "nothing" if isinstance(dataset, str) else describe(dataset)


def notes_by(command: tuple[str, ...]) -> str:
    """What the plan says of the training part of a check's config: notes, or the refusal."""
    dataset = training_part(command)
    return dataset if isinstance(dataset, str) else "\n".join(notes_of(dataset))


def num_images(command: tuple[str, ...]) -> int:
    """Image files in the folder of the training part of a check's config; 0 where it has none."""
    folders = [word.partition("=")[2] for word in command if word.startswith("data.train.images=")]
    return len(walk(folders[0]).files) if folders and Path(folders[0]).is_dir() else 0


def num_listed(command: tuple[str, ...]) -> int:
    """Images that training takes, of which it finds out later that some cannot be decoded."""
    dataset = training_part(command)
    return 0 if isinstance(dataset, str) else len(dataset)


def training_part(command: tuple[str, ...]) -> DenseDataset | str:
    """Training part of a check's config, or why it is refused."""
    project = command[command.index("--config") + 1]
    overrides = [word for word in command[1:] if "=" in word and not word.startswith("--")]
    config = load_config(project, overrides)
    try:
        parts_of(config)
        return task_of(config).build_dataset(config, "train")
    except ValueError as error:
        return str(error)


def describe(dataset: DenseDataset) -> str:
    """Images that can be read and what they show: "3 images, 7 objects"."""
    samples = list(_readable(dataset))
    images = counted(len(samples), "image")
    if any(sample.segments is not None for sample in samples):
        count = sum(len(sample.segments or ()) for sample in samples)
        return f"{images}, {counted(count, 'segment')}"
    if any(sample.boxes is not None for sample in samples):
        count = sum(0 if s.boxes is None else len(s.boxes) for s in samples)
        crowds = sum(0 if s.crowd is None else int(s.crowd.sum()) for s in samples)
        regions = f"{counted(crowds, 'crowd')}, " if crowds else ""
        return f"{images}, {regions}{counted(count - crowds, 'object')}"
    maps = [m for s in samples for m in (s.semantic, s.saliency) if m is not None]
    if maps:
        values = sorted({int(value) for one in maps for value in set(one.reshape(-1).tolist())})
        return f"{images}, labels {' '.join(map(str, values))}"
    return f"{images}, {counted(len({sample.label for sample in samples}), 'class')}"


def _readable(dataset: DenseDataset) -> Iterator[Sample]:
    """Samples of the images that can be read; training leaves out the others with a line each."""
    for index in range(len(dataset)):
        with contextlib.suppress(ReadError):
            yield dataset.raw(index)


def metrics_of(folder: Path) -> dict[str, float]:
    """Metrics of the only JSON of metrics that "eval" wrote below a folder."""
    (file,) = folder.rglob("metrics*.json")
    return load_metrics(file)[0]
