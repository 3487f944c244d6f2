"""What semantic segmentation and saliency share: pairs of images and masks, and their truth."""

from collections.abc import Callable, Sequence

import numpy as np

from van_dense.config.segmentation import ImageMaskData
from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.dataset import DenseDataset, FirstImages
from van_dense.data.doctor.doctor import MaskPart, Part
from van_dense.data.io.label_map import LabelMap
from van_dense.data.readers.image_mask import ImageMaskDataset
from van_dense.data.readers.quarantine import Quarantine
from van_dense.tasks.base import Split


def read_pairs(
    data: ImageMaskData, split: Split, *, info: DatasetInfo, labels: LabelMap | None
) -> DenseDataset:
    """Reader of one part; without ``labels`` the masks are saliency masks."""
    part = data.train if split == "train" else data.val
    dataset = ImageMaskDataset(
        part.images,
        part.masks,
        image_pattern=data.image_pattern,
        mask_pattern=data.mask_pattern,
        labels=labels,
        info=info,
        quarantine=Quarantine.load(data.quarantine) if data.quarantine else None,
    )
    return dataset if data.max_images is None else FirstImages(dataset, data.max_images)


def mask_parts(data: ImageMaskData, *, names: Sequence[str], labels: LabelMap | None) -> list[Part]:
    """What the data doctor looks at; without ``labels`` the masks are saliency masks."""
    same = (data.image_pattern, data.mask_pattern, labels, tuple(names), labels is None)
    parts = {"train": data.train, "val": data.val}
    return [MaskPart(name, part.images, part.masks, *same) for name, part in parts.items()]


def truth_of(dataset: DenseDataset) -> Callable[[int | str], np.ndarray]:
    """Ground truth by image id, read from its mask anew each time, so that none piles up."""
    reader = dataset.dataset if isinstance(dataset, FirstImages) else dataset
    assert isinstance(reader, ImageMaskDataset)  # read_pairs made it
    index_of = {dataset.image_id(index): index for index in range(len(dataset))}
    return lambda image_id: reader.truth(index_of[image_id])
