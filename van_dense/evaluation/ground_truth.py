"""Ground truth of any data set as a COCO annotation dictionary.

Source of the format: https://cocodataset.org/#format-data. Sound records of COCO files are kept as
they are, since the size split of the official numbers needs the ``area`` of each annotation itself;
what a run leaves out or reads otherwise is so here too (``CocoRecords.cleaned``).
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from van_dense.core.counting import counted
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import RLE, Instances, Prediction, Size
from van_dense.data.dataset import DenseDataset, ReadError
from van_dense.data.io.packed_records import PackedRecords, pick
from van_dense.data.readers.coco_json import CocoDict
from van_dense.data.readers.segmentation import (
    mask_areas,
    rle_to_json,
    to_rles,
    usable_segmentation,
)
from van_dense.data.readers.table import TableDataset

logger = logging.getLogger(__name__)

Key = TypeVar("Key")
Kind = Literal["bbox", "segm", "keypoints"]


@runtime_checkable
class HasCocoDict(Protocol):
    """A data set that was read from a COCO annotation file."""

    def coco_dict(self) -> CocoDict:
        """The annotation file without what the reader leaves out, with all that evaluators need."""


@runtime_checkable
class Wraps(Protocol):
    """A data set that shows another one differently, or a part of it, under the same image ids."""

    dataset: DenseDataset


def unwrapped(dataset: DenseDataset, protocol: type) -> DenseDataset:
    """The data set, or the first one inside of it that offers a protocol; else the inmost."""
    while not isinstance(dataset, protocol) and isinstance(dataset, Wraps):
        dataset = dataset.dataset
    return dataset


def coco_ground_truth(dataset: DenseDataset) -> CocoDict:
    """Ground truth of the images of a data set, as a COCO annotation dictionary.

    A data set with a method ``coco_dict``, or around one that has it, gives its own annotations,
    as its reader takes them, or ValueError when they lack some of its images. They are built from
    the records of other readers of instances, without decoding an image, and from the raw samples
    of any other data set, which decodes every image once.
    """
    reader = unwrapped(dataset, HasCocoDict)
    if not isinstance(reader, HasCocoDict):
        return _from_records(dataset)
    image_ids = {dataset.image_id(index) for index in range(len(dataset))}
    ground_truth = restrict(reader.coco_dict(), image_ids)
    unknown = image_ids - {image["id"] for image in ground_truth["images"]}
    if unknown:
        absent = (
            f"{counted(len(unknown), 'image id is', 'image ids are')} not in its annotation file, "
            "such as"
        )
        ids = f"{sorted(unknown, key=str)[:5]}; image_id() must return the ids of it"
        raise ValueError(f"data set {dataset.info.name!r}: {absent} {ids}")
    return ground_truth


def restrict(ground_truth: CocoDict, image_ids: Collection[int | str]) -> CocoDict:
    """Keep only some images and their annotations."""
    images = [image for image in ground_truth["images"] if image["id"] in image_ids]
    annotations = pick(ground_truth["annotations"], lambda a: a["image_id"] in image_ids)
    return {**ground_truth, "images": images, "annotations": annotations}


def _from_records(dataset: DenseDataset) -> CocoDict:
    table = unwrapped(dataset, TableDataset)
    if not isinstance(table, TableDataset):
        return from_samples(dataset)
    position = {table.image_id(index): index for index in range(len(table))}
    indices = [position[dataset.image_id(index)] for index in range(len(dataset))]
    paths = {table.image_id(index): table.path(index) for index in indices}
    return _with_files(from_truths(indices, table.truth, dataset.info), paths)


def from_samples(dataset: DenseDataset) -> CocoDict:
    """Ground truth from the samples of a data set, each read and decoded once."""

    paths: dict[int | str, str] = {}

    def read(index: int) -> Prediction:
        sample = dataset.raw(index)
        paths[sample.image_id] = sample.path
        return Prediction.from_sample(sample)

    return _with_files(from_truths(range(len(dataset)), read, dataset.info), paths)


def _with_files(ground_truth: CocoDict, paths: Mapping[int | str, str]) -> CocoDict:
    """Name the file of each image, by which saved results may call it."""
    for image in ground_truth["images"]:
        image["file_name"] = paths[image["id"]]
    return ground_truth


def from_truths(
    keys: Iterable[Key], read: Callable[[Key], Prediction], info: DatasetInfo
) -> CocoDict:
    """Instances of some images, whose masks are RLE, as a COCO annotation dictionary.

    Images for which ``read`` raises a ReadError are logged and left out.
    """
    images: list[dict[str, Any]] = []
    annotations = PackedRecords()
    for key in keys:
        try:
            truth = read(key)
        except ReadError as error:
            logger.warning("left out of the evaluation: %s", error)
            continue
        height, width = truth.size
        images.append({"id": truth.image_id, "height": height, "width": width})
        for entry in _annotations(truth, info.category_ids):
            annotations.append({**entry, "id": len(annotations) + 1})
    categories = zip(info.category_ids, info.class_names, strict=True)
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": id_, "name": name} for id_, name in categories],
    }


def _annotations(truth: Prediction, category_ids: tuple[int, ...]) -> list[dict[str, Any]]:
    instances = truth.instances
    if instances is None or len(instances) == 0:
        return []
    count = len(instances)
    crowd = [0] * count if instances.crowd is None else instances.crowd.int().tolist()
    objects = zip(instances.boxes.tolist(), instances.labels.tolist(), crowd, strict=True)
    entries: list[dict[str, Any]] = [
        {
            "image_id": truth.image_id,
            "category_id": category_ids[label],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": is_crowd,
        }
        for (x1, y1, x2, y2), label, is_crowd in objects
    ]
    if instances.masks is not None:
        rles: list[RLE] = list(instances.masks)  # they are encoded
        areas = mask_areas(rles)
        for entry, rle, area in zip(entries, rles, areas, strict=True):
            entry |= {"segmentation": rle_to_json(rle), "area": area}
    if instances.keypoints is not None:
        seen = (instances.keypoints[:, :, 2] > 0).sum(dim=1).tolist()
        points = keypoints_to_json(instances)
        for entry, keypoints, number in zip(entries, points, seen, strict=True):
            entry |= {"keypoints": keypoints, "num_keypoints": number}
    return entries


def keypoints_to_json(instances: Instances) -> list[list[float]]:
    """N lists of x, y and visibility or score of K keypoints, as COCO counts them.

    COCO means pixel 0 by x = 0, whose centre lies at 0.5 in the continuous coordinates used inside;
    the readers add this half pixel.
    """
    import torch

    assert instances.keypoints is not None
    shifted = instances.keypoints.double() - torch.tensor([0.5, 0.5, 0.0])
    return shifted.flatten(1).numpy().round(4).tolist()


def annotation_rle(annotation: dict[str, Any], size: Size) -> RLE:
    """Turn polygons or RLE of an annotation into compressed RLE, or ValueError with the reason."""
    return annotation_rles([annotation], [size])[0]


def annotation_rles(
    annotations: Sequence[dict[str, Any]], sizes: Sequence[Size], *, is_judged: bool = False
) -> list[RLE]:
    """``annotation_rle`` of many, in images of these sizes; polygons may have been judged."""
    usable: dict[Size, dict[int, Any]] = {}
    for index, (annotation, size) in enumerate(zip(annotations, sizes, strict=True)):
        segmentation, problem = annotation.get("segmentation"), None
        if not (is_judged and isinstance(segmentation, list)):
            segmentation, problem = usable_segmentation(segmentation, size)
        if segmentation is None:
            raise ValueError(f"annotation {annotation.get('id')!r}: {problem}")
        usable.setdefault(size, {})[index] = segmentation
    drawn: dict[int, RLE] = {}
    for size, found in usable.items():
        drawn |= zip(found, to_rles(list(found.values()), size), strict=True)
    return [drawn[index] for index in range(len(annotations))]
