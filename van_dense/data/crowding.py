"""Images with more objects than a metric counts, or than a model can give.

COCO's AP takes the best 100 detections of an image and class (20 of poses), so that the others
count as missed; pycocotools, ``cocoeval.py``, ``maxDets``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from van_dense.core.counting import counted
from van_dense.data.dataset import DenseDataset

Id = int | str
ObjectCounts = Mapping[tuple[Id, str], int]  # objects that are no crowd, by image id and class name


@runtime_checkable
class CountsObjects(Protocol):
    """A reader that knows the objects of its images without reading these."""

    def object_counts(self) -> ObjectCounts:
        """Objects that are no crowd, by image id and class name."""
        ...


def object_counts(dataset: DenseDataset) -> ObjectCounts:
    """Objects in the images of a data set; none where its reader does not know them."""
    reader: object = dataset
    while not isinstance(reader, CountsObjects):
        reader = getattr(reader, "dataset", None)
        if reader is None:
            return {}
    ids = {dataset.image_id(index) for index in range(len(dataset))}
    return {key: count for key, count in reader.object_counts().items() if key[0] in ids}


@dataclass(frozen=True)
class DetectionLimits:
    """How many objects of an image an evaluation counts, and a model gives; None knows no limit."""

    counted: int | None  #: detections of an image and class in AP
    count_more: str = "eval.max_detections="  #: what sets it, up to its value
    given: int | None = None  #: objects of an image, of all classes
    given_key: str = ""  #: what sets it

    def notes(self, counts: ObjectCounts) -> list[str]:
        """A sentence for each limit that lies below the objects of some images."""
        found = [] if self.counted is None else [uncounted(counts, self.counted, self.count_more)]
        if self.given is not None:
            found.append(ungiven(counts, self.given, self.given_key))
        return [note for note in found if note is not None]


def uncounted(counts: ObjectCounts, limit: int, fix: str) -> str | None:
    """What a limit on the detections of an image and class leaves out of AP, or None.

    Args:
        counts: Objects by image id and class name.
        limit: Detections of an image and class that count.
        fix: Setting that changes the limit, up to its value, such as "eval.max_detections=".
    """
    beyond = {key: count for key, count in counts.items() if count > limit}
    if not beyond:
        return None
    (image_id, name), most = max(beyond.items(), key=lambda item: item[1])
    images = counted(len({image_id for image_id, _ in beyond}), "image holds", "images hold")
    classes = counted(len({name for _, name in beyond}), "class", "classes")
    missed, total = sum(beyond.values()) - limit * len(beyond), sum(counts.values())
    return (
        f"AP counts the best {limit} detections of an image and class, and {images} more objects "
        f"of a class ({classes}; most: {most} of {name!r} in image {image_id!r}): {missed} of "
        f"{counted(total, 'object counts', 'objects count')} as missed even if all are found; "
        f"{fix}{most} counts all"
    )


def ungiven(counts: ObjectCounts, limit: int, key: str) -> str | None:
    """What a model that gives so many objects of an image at most cannot find, or None.

    Args:
        counts: Objects by image id and class name.
        limit: Objects of an image that the model gives.
        key: Setting that holds the limit, for the message.
    """
    of_image: Counter[Id] = Counter()
    for (image_id, _), count in counts.items():
        of_image[image_id] += count
    beyond = {image_id: count for image_id, count in of_image.items() if count > limit}
    if not beyond:
        return None
    image_id, most = max(beyond.items(), key=lambda item: item[1])
    held = counted(len(beyond), "image holds", "images hold")
    missed = sum(beyond.values()) - limit * len(beyond)
    return (
        f"the model gives at most {limit} objects of an image ({key}), and {held} more (most: "
        f"{most} in image {image_id!r}): {missed} of {sum(of_image.values())} objects cannot be "
        f"found; set {key} to {most} or more"
    )
