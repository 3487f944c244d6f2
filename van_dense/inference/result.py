"""A prediction that knows its classes and its image, so that it can draw, save and convert itself.

Legend: H, W pixels of the original image; N instances, K keypoints, C classes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.optional import require
from van_dense.core.segments import thing_instances
from van_dense.core.structures import IGNORE_LABEL, Instances, Prediction, decode_masks
from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.masks import write_labels, write_saliency
from van_dense.data.io.outputs import require_folder, require_free
from van_dense.data.io.sources import ImageSource, read_source
from van_dense.evaluation.classification import best_classes, best_columns, best_header
from van_dense.evaluation.results import (
    PANOPTIC,
    CocoResult,
    Outcome,
    ResultFiles,
    as_poses,
    to_panoptic,
    to_results,
    write_panoptic,
)
from van_dense.inference.selection import Selection
from van_dense.inference.summary import summarize
from van_dense.visualize.draw import draw, draw_panel
from van_dense.visualize.palette import class_colors

if TYPE_CHECKING:
    import supervision

_LOSSY = (".jpg", ".jpeg", ".webp")  # of photos, whose pictures are JPEGs as well
# Without chroma subsampling, or thin coloured lines and letters become blurred.
_JPEG: dict[str, Any] = {"quality": 92, "subsampling": 0}
_PNG: dict[str, Any] = {"compress_level": 3}  # as masks: 9 takes five times as long
# Files that save() may write; the PNG of a panoptic map follows its JSON.
_PICTURES = ("pictures/{}.jpg", "pictures/{}.png")
_RESULTS = ("{}.json", "{}.csv", f"{{}}{PANOPTIC}.json")
_SAVED = (*_PICTURES, "masks/{}.png", *(f"predictions/{file}" for file in _RESULTS))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Result(Prediction):
    """The prediction of one image, with everything needed to use it.

    >>> image = np.zeros((48, 64, 3), dtype=np.uint8)
    >>> found = Prediction("a", (48, 64), semantic=np.zeros((48, 64), dtype=np.uint8))
    >>> Result.of(found, image, DatasetInfo("demo", ("road", "sky"), (1, 2)))
    Result('a', 64 x 48 pixels, label map: road 100%)

    Attributes:
        info: What its labels mean.
        source: Where the image comes from; a file is read again when a picture is wanted, so
            results hold no pixels of files.
        min_score: Instances below are not drawn unless asked for: the model's usual limit.
        label_map: Raw values of the data set for the labels of a label map; None = the labels.
        name: File name, without suffix, of what ``save`` writes.
    """

    info: DatasetInfo
    source: ImageSource
    min_score: float = 0.0
    label_map: LabelMap | None = None
    name: str | None = None

    @staticmethod
    def of(
        prediction: Prediction,
        source: ImageSource,
        info: DatasetInfo,
        *,
        min_score: float = 0.0,
        label_map: LabelMap | None = None,
        name: str | None = None,
    ) -> Result:
        """Complete a prediction; see the attributes."""
        found = {field.name: getattr(prediction, field.name) for field in fields(Prediction)}
        return Result(
            **found, info=info, source=source, min_score=min_score, label_map=label_map, name=name
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Class name of each instance, or without instances of each segment of a panoptic map.

        Raises:
            ValueError: For a task that has neither.
        """
        if self.instances is not None:
            labels = self.instances.labels.tolist()
        elif self.segments is not None:
            labels = [segment["label"] for segment in self.segments]
        else:
            raise ValueError(
                f"{self.image_id}: a {self._kind()} has neither instances nor segments"
            )
        return tuple(self.info.class_names[label] for label in labels)

    def filter(
        self,
        *,
        min_score: float | None = None,
        classes: Sequence[str | int] | None = None,
        max_instances: int | None = None,
    ) -> Result:
        """The same result with less in it; nothing is limited by default.

        Args:
            min_score: Lowest score of instances and segments, which is then also the lowest that
                is drawn.
            classes: Names or 0-based labels. In maps, the others become void or ignored.
            max_instances: The best so many instances, or segments of a panoptic map.

        Raises:
            ValueError: As ``Selection.of`` says.
        """
        selection = Selection(min_score, classes, max_instances)
        limit = self.min_score if min_score is None else min_score
        return replace(selection.of(self, self.info), min_score=limit)

    def plot(self, min_score: float | None = None, *, instance_colors: bool = False) -> Image.Image:
        """Draw everything that was found over the image; see ``visualize.draw``.

        Images with a side below 640 pixels are enlarged, so that labels can be read, and legends
        stand below the photo: the picture is then larger than the image.

        Args:
            min_score: Instances below are left out; None is the model's usual limit.
            instance_colors: Colour by instance instead of by class.

        Raises:
            ReadError: When the file cannot be read any more.
        """
        image, limit = self._pixels(), self._limit(min_score)
        return Image.fromarray(
            draw(image, self, self.info, min_score=limit, instance_colors=instance_colors)
        )

    def num_hidden(self, min_score: float | None = None) -> int:
        """Number of instances that ``plot`` leaves out for their score."""
        if self.instances is None or self.instances.scores is None or self.panoptic is not None:
            return 0
        return int((self.instances.scores < self._limit(min_score)).sum())

    def _limit(self, min_score: float | None) -> float:
        return self.min_score if min_score is None else min_score

    def plot_frame(
        self, min_score: float | None = None, *, instance_colors: bool = False
    ) -> np.ndarray:
        """Like ``plot``, for a video: the height depends on the image's size alone.

        The legends of label maps and poses follow what was found, so they are left out; the names
        of classes stand in their regions. Returns uint8 RGB.
        """
        maps = self.semantic, self.panoptic, self.instances
        has_legend = any(one is not None for one in maps)
        function = draw_panel if has_legend else draw
        limit, pixels = self._limit(min_score), self._pixels()
        return function(pixels, self, self.info, min_score=limit, instance_colors=instance_colors)

    def _pixels(self) -> np.ndarray:
        return read_source(self.source, str(self.image_id))

    def to_coco(self) -> list[CocoResult]:
        """COCO results records of the instances, as the official tools read them.

        Boxes and masks of detections, and of a panoptic run that was asked for instances; poses
        have keypoints and no box, as in the official format.

        Raises:
            ValueError: For a task without instances.
        """
        if self.instances is None:
            raise ValueError(
                f"{self.image_id}: a {self._kind()} has no instances, and COCO records describe "
                "nothing else; save() writes it in the format of its task"
            )
        records = to_results(self, self.info)
        return records if self.instances.keypoints is None else as_poses(records)

    def to_supervision(
        self,
    ) -> supervision.Detections | supervision.KeyPoints | supervision.Classifications:
        """Convert for the supervision package.

        Detections with box, mask, score and ``data["class_name"]`` for instances; KeyPoints for
        poses; Detections with one mask for each segment of a panoptic map, or for each class of a
        label map; Classifications with the scores of all classes.

        Raises:
            ImportError: When supervision is not installed.
            ValueError: For a saliency map, which is grey: supervision has nothing for it.
        """
        sv = require("supervision", "to_supervision()")
        if self.panoptic is not None:
            return self._of_instances(sv, self._segments())
        if self.instances is not None:
            return self._of_instances(sv, self.instances)
        if self.semantic is not None:
            return self._to_regions(sv, self.semantic)
        if self.class_scores is not None:
            return sv.Classifications(np.arange(self.info.num_classes), self.class_scores.numpy())
        raise ValueError(
            f"{self.image_id}: supervision has no type for a {self._kind()}, which has no objects; "
            "cut it at a value of your choice, such as result.saliency > 0.5"
        )

    def _of_instances(
        self, sv: Any, instances: Instances
    ) -> supervision.Detections | supervision.KeyPoints:
        labels, masks = instances.labels.numpy(), instances.masks
        data = self._names(labels.tolist())
        if instances.keypoints is not None:
            points = instances.keypoints.numpy()
            # By position: "confidence" of older versions became "keypoint_confidence".
            return sv.KeyPoints(points[..., :2], labels, points[..., 2], data=data)
        if masks is not None:
            dense = masks.numpy() if isinstance(masks, Tensor) else decode_masks(masks, self.size)
        return sv.Detections(
            xyxy=instances.boxes.numpy(),
            mask=None if masks is None else dense.astype(bool),
            confidence=None if instances.scores is None else instances.scores.numpy(),
            class_id=labels,
            data=data,
        )

    def _segments(self) -> Instances:
        """Things and stuff of the panoptic map alike as instances."""
        assert self.panoptic is not None and self.segments is not None  # they go together
        everything = (True,) * self.info.num_classes
        found = thing_instances(torch.from_numpy(self.panoptic), self.segments, everything)
        return replace(found, scores=torch.tensor([s["score"] for s in self.segments]))

    def _to_regions(self, sv: Any, semantic: np.ndarray) -> supervision.Detections:
        labels = [int(label) for label in np.unique(semantic) if label != IGNORE_LABEL]
        masks = np.stack([semantic == label for label in labels]) if labels else None
        rectangles = [cv2.boundingRect((semantic == label).astype(np.uint8)) for label in labels]
        boxes = np.array(rectangles, dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        class_id = np.array(labels, dtype=int)
        return sv.Detections(boxes, mask=masks, class_id=class_id, data=self._names(labels))

    def _names(self, labels: Sequence[int]) -> dict[str, np.ndarray]:
        return {"class_name": np.array([self.info.class_names[label] for label in labels], str)}

    def save(
        self,
        folder: str | Path,
        *,
        name: str | None = None,
        min_score: float | None = None,
        overwrite: bool = False,
    ) -> list[Path]:
        """Write the picture and the results of this image, and return the files.

        The picture goes to pictures/, a JPEG where the image was one, else a PNG; instances to
        predictions/ as COCO JSON, a panoptic map there as COCO's panoptic JSON and PNG, classes as
        CSV, and a label map or saliency map to masks/ as PNG: labels as the raw values of the data
        set.

        All results of one call of ``predict`` or ``stream`` have different names, numbered where
        needed, as ``a`` and ``a_2`` for a.jpg and a.png. The results of two calls belong into two
        folders, or need a ``name``.

        Args:
            folder: Folder, made if missing.
            name: File name without suffix; by default the name of the image.
            min_score: Score below which the picture lacks instances; the results hold everything.
            overwrite: Replace files of this name. What other files the folder holds stays.

        Raises:
            FileExistsError: When the folder has results or a picture of this name, of whatever
                task; nothing is written then.
        """
        folder, name = Path(folder), name or self.name or Path(str(self.image_id)).stem
        require_folder(folder)
        if not overwrite:
            fix = "save to another folder, give a name, or overwrite=True"
            require_free((folder / file.format(name) for file in _SAVED), fix)
        written = [self.save_picture(folder / "pictures" / name, min_score=min_score)]
        return written + self.save_results(folder, name)

    def save_results(self, folder: Path, name: str) -> list[Path]:
        """Write what ``save`` does, but for the picture, over files of this name."""
        with ResultFiles(folder / "predictions" / name) as files:
            files.add(self.outcome(f"{name}.png"))
        return files.written + self.save_maps(folder / "masks", folder / "predictions" / name, name)

    def save_picture(
        self, path: Path, *, min_score: float | None = None, instance_colors: bool = False
    ) -> Path:
        """Write ``plot`` to a path without suffix, which is added and returned."""
        is_photo = isinstance(self.source, Path) and self.source.suffix.lower() in _LOSSY
        path = path.with_name(f"{path.name}{'.jpg' if is_photo else '.png'}")
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = self.plot(min_score, instance_colors=instance_colors)
        picture.save(path, **(_JPEG if is_photo else _PNG))
        return path

    @property
    def raw_labels(self) -> LabelMap:
        """The values that label maps are written in: those of the data set, or the labels."""
        last = self.info.num_classes - 1
        same = [f"0..{last} -> 0..{last}", f"{IGNORE_LABEL} -> ignore"]
        return self.label_map or LabelMap.parse(same)

    def save_maps(self, masks: Path, predictions: Path, name: str) -> list[Path]:
        """Write the maps that there are as PNG.

        Args:
            masks: Folder of label maps and saliency maps.
            predictions: Path of the ``ResultFiles`` that describe a panoptic map.
            name: Name of the files without suffix; it may begin with folders.
        """
        written, path = [], masks / f"{name}.png"
        if self.panoptic is not None:
            written.append(write_panoptic(self, predictions, f"{name}.png"))
        if self.semantic is not None:
            colors = class_colors(self.info)
            write_labels(path, self.semantic, label_map=self.raw_labels, colors=colors)
        elif self.saliency is not None:
            write_saliency(path, self.saliency)
        else:
            return written
        return [*written, path]

    def outcome(self, png: str) -> Outcome:
        """What ``ResultFiles`` write: COCO records, or names and scores of the best classes.

        ``png`` is the name of the PNG of a panoptic map.
        """
        records = None if self.instances is None else self.to_coco()
        panoptic = None if self.panoptic is None else to_panoptic(self, self.info, png)
        if self.class_scores is None:
            return Outcome(records, panoptic)
        best = best_classes(self.class_scores.numpy())
        row = [str(self.image_id), *best_columns(best, self.info.class_names)]
        header = ["image", *best_header(self.info.num_classes)]
        return Outcome(records, panoptic, header=header, row=row)

    def count_bytes(self) -> int:
        """Memory of its maps and masks, and of the image as RGB."""
        count = 3 * self.size[0] * self.size[1]
        maps = self.semantic, self.panoptic, self.saliency
        count += sum(array.nbytes for array in maps if array is not None)
        masks = None if self.instances is None else self.instances.masks
        if isinstance(masks, Tensor):
            return count + masks.nbytes
        return count + sum(len(rle["counts"]) for rle in masks or ())

    def _kind(self) -> str:
        if self.panoptic is not None:
            return "panoptic map"
        if self.semantic is not None:
            return "label map"
        return "classification" if self.saliency is None else "saliency map"

    def __repr__(self) -> str:
        height, width = self.size
        about = summarize(self, self.info, self.min_score, self.num_hidden())
        return f"Result({str(self.image_id)!r}, {width} x {height} pixels, {about})"

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        data = io.BytesIO()
        self.plot().save(data, "PNG", **_PNG)
        return data.getvalue()
