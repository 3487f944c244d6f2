"""Panoptic ground truth as each evaluator wants it: maps with segments, labels, or instances."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from van_dense.core.counting import counted
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.segments import label_map, thing_instances
from van_dense.core.structures import Prediction, encode_masks, size_of
from van_dense.data.dataset import DenseDataset, FirstImages
from van_dense.data.readers.coco_json import CocoDict, dataset_info, read_coco_json
from van_dense.data.readers.coco_records import CocoRecords
from van_dense.data.readers.panoptic import PanopticDataset
from van_dense.data.readers.quarantine import Quarantine
from van_dense.evaluation.ground_truth import from_truths, restrict
from van_dense.evaluation.panoptic import Truth

TruthOf = Callable[[int | str], Truth]  # by image id


def reader_of(dataset: DenseDataset) -> PanopticDataset:
    """The reader of the files, of which ``dataset`` may be the first images."""
    reader = dataset.dataset if isinstance(dataset, FirstImages) else dataset
    assert isinstance(reader, PanopticDataset)  # the task makes no other
    return reader


def maps_of(dataset: DenseDataset) -> TruthOf:
    """Map and segments by image id, read from the PNG anew each time, so that none piles up."""
    reader = reader_of(dataset)
    index_of = {reader.image_id(index): index for index in range(len(reader))}
    return lambda image_id: reader.truth(index_of[image_id])


def ids_of(dataset: DenseDataset) -> list[int | str]:
    """Ids of all images."""
    return [dataset.image_id(index) for index in range(len(dataset))]


def labels_of(maps: TruthOf) -> Callable[[int | str], np.ndarray]:
    """Class of each pixel by image id, uint8 (H, W), 255 for void."""
    return lambda image_id: label_map(*maps(image_id))


def instances_of(
    ids: Sequence[int | str],
    maps: TruthOf,
    info: DatasetInfo,
    annotations: str | None,
    *,
    quarantine: Quarantine | None = None,
) -> CocoDict:
    """Instances of a COCO file for some images; without a file, the things of their maps.

    Raises:
        ValueError: When the file cannot be read, or lacks one of the images.
    """
    if annotations is not None:
        truth = restrict(read_instances(annotations, quarantine)[0], set(ids))
        if missing := set(ids) - {image["id"] for image in truth["images"]}:
            raise ValueError(
                f"{annotations}: lacks {counted(len(missing), 'image')} of the panoptic "
                "annotations, such as "
                f"id {min(missing, key=str)!r}; give the file of the same part, quarantine them in "
                "both, or leave data.val.instances out"
            )
        return truth

    def read(image_id: int | str) -> Prediction:
        panoptic, segments = maps(image_id)
        found = thing_instances(torch.from_numpy(panoptic), segments, info.thing_flags)
        assert isinstance(found.masks, torch.Tensor)
        encoded = replace(found, masks=encode_masks(found.masks))
        return Prediction(image_id, size_of(panoptic), instances=encoded)

    return from_truths(ids, read, info)


def read_instances(annotations: str, quarantine: Quarantine | None) -> tuple[CocoDict, list[str]]:
    """Instances of a COCO file as they are evaluated, and notes of what is left out or changed."""
    data = read_coco_json(annotations)
    info = dataset_info(annotations, data, "instances", keypoints=False)
    left_out = (quarantine or Quarantine()).of(annotations)
    reads: dict[str, Any] = {"masks": True, "keypoints": False, "crowds": "regions"}
    records = CocoRecords(data, info, left_out, **reads, files=False)
    truth = records.cleaned()
    return truth, records.notes(annotations)
