"""Parts of folders that ``van-dense check`` is given without a config: Pascal VOC and labelme."""

from collections.abc import Sequence

from van_dense.config.detection_data import LabelmeData, VocData
from van_dense.data.doctor.annotated_images import labelme_parts, voc_parts
from van_dense.data.doctor.doctor import Part
from van_dense.data.readers.voc import find_parts
from van_dense.tasks.detection.files import rules_of


def voc_folder(root: str) -> list[Part]:
    """The parts of a folder of Pascal VOC, read as a config without further settings reads them."""
    data = VocData(root=root)
    return [*voc_parts(root, find_parts(root), rules_of(data), data.first_pixel)]


def labelme_folders(folders: Sequence[str]) -> list[Part]:
    """Folders of labelme, read with masks and as a config without further settings reads them."""
    data = LabelmeData(train=folders[0], val=folders[-1])
    rules, join = rules_of(data), data.join_groups
    return [*labelme_parts(folders, rules, data.numbers, join_groups=join, masks=True)]
