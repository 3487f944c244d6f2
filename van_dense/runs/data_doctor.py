"""What ``van-dense check`` needs of a config: the parts to check, and pictures of samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from van_dense.config import Config
from van_dense.config.detection_data import LabelmeData, VocData
from van_dense.data.doctor.annotated_images import labelme_parts, voc_parts
from van_dense.data.doctor.doctor import Part
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.readers.voc import find_parts
from van_dense.tasks import task_of
from van_dense.tasks.base import Split
from van_dense.tasks.detection.files import rules_of
from van_dense.visualize.augmented import save_augmented

_DRAWS = 3  # of the augmentation of a training sample; evaluation draws nothing


def parts_of(config: Config) -> tuple[list[Part], Quarantine | None]:
    """What to check, and what is in quarantine already; sample data are written if asked for.

    Raises:
        ValueError: When the transforms or the quarantine list do not fit.
    """
    task, path = task_of(config), config.data.quarantine
    task.prepare_data(config)
    return task.check_parts(config), Quarantine.load(path) if path else None


def voc_folder(root: str) -> list[Part]:
    """The parts of a folder of Pascal VOC, read as a config without further settings reads them."""
    data = VocData(root=root)
    return [*voc_parts(root, find_parts(root), rules_of(data), data.first_pixel)]


def labelme_folders(folders: Sequence[str]) -> list[Part]:
    """Folders of labelme, read with masks and as a config without further settings reads them."""
    data = LabelmeData(train=folders[0], val=folders[-1])
    settings = {"join_groups": data.join_groups, "masks": True}
    return [*labelme_parts(folders, rules_of(data), data.numbers, **settings)]


@dataclass(frozen=True)
class Drawn:
    """What became of the pictures: a line for each part, and whether one of them has none."""

    text: str
    has_failed: bool


def draw_samples(config: Config, folder: Path, num: int) -> Drawn:
    """Draw ``num`` samples of both parts before and after their transforms, from the ground truth.

    The folder gets train, with three draws of the augmentation of each sample, and val, with the
    transform of evaluation. A part whose files do not fit gets a line that says why; unreadable
    images are skipped with a line in the log.
    """
    task = task_of(config)
    lines, has_failed = [], False
    draws_of: dict[Split, int] = {"train": _DRAWS, "val": 0}
    for split, draws in draws_of.items():
        try:
            dataset = task.build_dataset(config, split)
            transform = task.build_transform(config, train=split == "train")
            files = save_augmented(folder / split, dataset, transform, num=num, draws=draws)
            lines.append(f"{split}: {len(files)} pictures in {folder / split}")
        except ValueError as error:
            lines.append(f"{split}: no pictures: {error}")
            has_failed = True
    return Drawn("\n".join(lines), has_failed)
