"""What ``van-dense check`` needs of a config: the parts to check, sizes of boxes, and pictures."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from van_dense.config import Config
from van_dense.core.counting import counted
from van_dense.data.crowding import DetectionLimits
from van_dense.data.doctor.box_report import BoxStatistics
from van_dense.data.doctor.boxes import BoxTable
from van_dense.data.doctor.doctor import Part, Report
from van_dense.data.readers.quarantine import Quarantine
from van_dense.tasks import task_of
from van_dense.tasks.base import Split
from van_dense.visualize.augmented import save_augmented
from van_dense.visualize.box_sizes import plot_boxes

_SPLITS: tuple[Split, ...] = ("train", "val")  # which ``Task.check_parts`` begins with
_DRAWS = 3  # of the augmentation of a training sample; evaluation draws nothing


def parts_of(config: Config) -> tuple[list[Part], Quarantine | None]:
    """What to check, and what is in quarantine already; sample data are written if asked for.

    Raises:
        ValueError: When the transforms or the quarantine list do not fit.
    """
    task, path = task_of(config), config.data.quarantine
    task.prepare_data(config)
    return task.check_parts(config), Quarantine.load(path) if path else None


def limits_of(config: Config) -> DetectionLimits:
    """How many objects of an image an evaluation of the config counts, and its model gives."""
    return task_of(config).detection_limits(config)


def measure_boxes(config: Config, report: Report) -> dict[Split, BoxStatistics]:
    """Add sizes of boxes to the report of both parts, in a task where something depends on them.

    They are those that the reader gives. A part that it refuses has none; the report says why.
    """
    task = task_of(config)
    if (setting := task.box_setting(config)) is None:
        return {}
    found: dict[Split, BoxStatistics] = {}
    # Parts of further annotations come behind those two.
    for split, part in zip(_SPLITS, report.parts, strict=False):
        if (table := part.box_table()) is None:
            with silent():  # the doctor has told what the reader leaves out
                try:
                    table = BoxTable.of(task.build_dataset(config, split))
                except ValueError:
                    continue
        if table is not None:
            found[split] = BoxStatistics(table, setting, is_train=split == "train")
            found[split].add_to(part)
    return found


@contextmanager
def silent() -> Iterator[None]:
    """Keep readers from logging what the caller says itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@dataclass(frozen=True)
class Drawn:
    """What became of the pictures: a line for each part, and whether one of them has none."""

    text: str
    has_failed: bool


def draw_samples(
    config: Config, boxes: Mapping[Split, BoxStatistics], folder: Path, num: int
) -> Drawn:
    """Draw ``num`` samples of both parts before and after their transforms, from the ground truth.

    The folder gets train, with three draws of the augmentation of each sample, and val, with the
    transform of evaluation; beside them boxes_train.png and boxes_val.png, where there are sizes
    of ``boxes``. A part whose files do not fit gets a line that says why; unreadable images are
    skipped with a line in the log.
    """
    task = task_of(config)
    lines, has_failed = [], False
    draws_of: dict[Split, int] = {"train": _DRAWS, "val": 0}
    for split, draws in draws_of.items():
        try:
            dataset = task.build_dataset(config, split)
            transform = task.build_transform(config, train=split == "train")
            files = save_augmented(folder / split, dataset, transform, num=num, draws=draws)
            lines.append(f"{split}: {counted(len(files), 'picture')} in {folder / split}")
        except ValueError as error:
            lines.append(f"{split}: no pictures: {error}")
            has_failed = True
        if split in boxes and len(boxes[split].table.boxes) > 0:
            plot_boxes(boxes[split], path := folder / f"boxes_{split}.png")
            lines.append(f"{split}: sizes of boxes in {path}")
    return Drawn("\n".join(lines), has_failed)
