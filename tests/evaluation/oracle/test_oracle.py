"""The oracle check passes on a sound pipeline and names the mistake in a broken one."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Instances, Prediction, Sample, Size
from van_dense.data.dataset import ReadError
from van_dense.evaluation.coco import CocoEvaluator
from van_dense.evaluation.ground_truth import coco_ground_truth
from van_dense.evaluation.oracle.instances import check_instances
from van_dense.evaluation.oracle.metrics import OracleReport

INFO = DatasetInfo("shapes", ("circle", "square", "star"), (1, 3, 7))
SIZES = [(120, 160), (160, 120), (120, 160), (100, 100), (120, 160), (90, 140)]


def scene(index: int) -> Sample:
    """Three right triangles without any symmetry, and one crowd region, drawn from the index."""
    height, width = SIZES[index]
    generator = np.random.default_rng(index)
    masks = np.zeros((4, height, width), dtype=np.uint8)
    for mask in masks:
        h, w = generator.integers(24, 44, size=2)
        top, left = generator.integers(0, [height - h, width - w])
        rows, columns = np.mgrid[:h, :w]
        mask[top : top + h, left : left + w] = rows * w >= columns * h
    corners = [(np.nonzero(mask.any(0))[0], np.nonzero(mask.any(1))[0]) for mask in masks]
    boxes = [[x[0], y[0], x[-1] + 1, y[-1] + 1] for x, y in corners]
    return Sample(
        image=np.zeros((height, width, 3), dtype=np.uint8),
        image_id=100 + index,
        path=f"{index}.png",
        orig_size=(height, width),
        boxes=np.array(boxes, dtype=np.float32),
        labels=generator.integers(0, 3, size=4),
        crowd=np.array([False, False, False, True]),
        masks=masks,
    )


class Scenes:
    """Six scenes; ``edit`` stands for a mistake in the reader."""

    info = INFO

    def __init__(self, edit: Callable[[Sample], Sample] = lambda sample: sample) -> None:
        self.edit = edit

    def __len__(self) -> int:
        return len(SIZES)

    def raw(self, index: int) -> Sample:
        return self.edit(scene(index))

    def size(self, index: int) -> Size:
        return SIZES[index]

    def image_id(self, index: int) -> int:
        return 100 + index


def resize_masks(masks: np.ndarray, size: Size) -> np.ndarray:
    rows = np.arange(size[0]) * masks.shape[1] // size[0]
    columns = np.arange(size[1]) * masks.shape[2] // size[1]
    return masks[:, rows][:, :, columns]


def enlarge(sample: Sample, _: np.random.Generator) -> Sample:
    """The test transform: twice as large."""
    assert sample.boxes is not None and sample.masks is not None
    size = (sample.size[0] * 2, sample.size[1] * 2)
    return replace(
        sample,
        image=np.zeros((*size, 3), dtype=np.uint8),
        boxes=sample.boxes * 2,
        masks=resize_masks(sample.masks, size),
    )


def undo(batch: Batch) -> list[Prediction]:
    """Post-processing of the tests: the way back to original pixels."""
    assert batch.targets is not None
    predictions = []
    for image_id, size, found in zip(batch.image_ids, batch.orig_sizes, batch.targets, strict=True):
        assert isinstance(found.masks, torch.Tensor)
        masks = torch.from_numpy(resize_masks(found.masks.numpy(), size))
        instances = replace(found, boxes=found.boxes / 2, masks=masks)
        predictions.append(Prediction(image_id, size, instances))
    return predictions


def editing(edit: Callable[[Instances, Size], Instances]) -> Callable[[Batch], list[Prediction]]:
    """Post-processing with a mistake."""
    return lambda batch: [
        replace(p, instances=edit(p.instances, p.size)) for p in undo(batch) if p.instances
    ]


def check(
    dataset: Scenes | None = None,
    to_prediction: Callable[[Batch], list[Prediction]] = undo,
    **options: object,
) -> OracleReport:
    evaluator = CocoEvaluator(coco_ground_truth(Scenes()), INFO, backend="hotcoco")
    arguments = {"evaluator": evaluator, "num_images": 6} | options
    return check_instances(
        dataset or Scenes(), enlarge, to_prediction=to_prediction, size_divisor=32, **arguments
    )


def test_a_sound_pipeline_passes_at_its_ceiling() -> None:
    report = check()
    assert report.ok and report.diagnosis == ""
    assert report.num_images == 6
    assert report.metrics["bbox/AP"] == pytest.approx(1.0)
    assert report.metrics["segm/AP"] > 0.9
    assert report.ceiling["segm/AP"] == pytest.approx(1.0)
    assert str(report).startswith("oracle check passed on 6 images: bbox/AP 1.000 (ceiling 1.000)")


def test_few_images_are_enough_and_the_first_with_objects_are_among_them() -> None:
    assert check(num_images=1).num_images == 1
    assert check(num_images=3).num_images == 3


def test_masks_do_not_matter_where_only_boxes_are_measured() -> None:
    evaluator = CocoEvaluator(coco_ground_truth(Scenes()), INFO, ("bbox",), backend="hotcoco")
    assert check(to_prediction=editing(lambda i, _: replace(i, masks=None)), evaluator=evaluator).ok
    report = check(to_prediction=lambda batch: undo(batch)[:1], evaluator=evaluator)
    assert "no prediction for 3 of 6 images" in report.diagnosis


def shift_labels(sample: Sample) -> Sample:
    return replace(sample, labels=(sample.labels + 1) % 3)


def test_labels_off_by_one_in_the_reader_are_named_with_their_classes() -> None:
    report = check(Scenes(shift_labels))
    assert not report.ok
    assert "in what the data set reads: wrong labels" in report.diagnosis
    assert "'circle' (id 1) arrives as 'square' (id 3)" in report.diagnosis


def test_one_based_labels_are_named_although_some_have_no_class() -> None:
    report = check(Scenes(lambda s: replace(s, labels=s.labels + 1)))
    assert not report.ok and report.metrics == {}
    assert "'star' (id 7) arrives as a label outside the classes" in report.diagnosis
    assert "labels 1..3, but data set 'shapes' has classes 0..2" in report.diagnosis


def test_boxes_off_by_10_px_are_named_with_their_offset() -> None:
    report = check(to_prediction=editing(lambda i, _: replace(i, boxes=i.boxes + 10)))
    assert not report.ok and report.metrics["bbox/AP"] < 0.3
    assert report.diagnosis.startswith("after transform and post-processing: boxes are shifted")
    assert "by (+10.0, +10.0) px" in report.diagnosis


def test_boxes_left_in_transformed_pixels_are_named() -> None:
    report = check(to_prediction=editing(lambda i, _: replace(i, boxes=i.boxes * 2)))
    assert "boxes are scaled by (2, 2)" in report.diagnosis
    assert "the factor of the transform, which was not undone" in report.diagnosis


def test_relative_boxes_are_named_as_scaled() -> None:
    def relative(instances: Instances, size: Size) -> Instances:
        return replace(instances, boxes=instances.boxes / torch.tensor(size[::-1] * 2))

    assert "boxes are scaled by (0.00" in check(to_prediction=editing(relative)).diagnosis


def xywh_as_xyxy(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def xyxy_as_xywh(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] + boxes[:, :2]], axis=1)


@pytest.mark.parametrize(
    ("edit", "diagnosis"),
    [
        (xywh_as_xyxy, "boxes hold x, y, width, height where x1, y1, x2, y2 is expected"),
        (xyxy_as_xywh, "boxes hold x1, y1, x2, y2 where x, y, width, height is expected"),
        (lambda boxes: boxes[:, [1, 0, 3, 2]], "boxes have x and y swapped"),
    ],
)
def test_a_mistaken_box_format_of_the_reader_is_named(
    edit: Callable[[np.ndarray], np.ndarray], diagnosis: str
) -> None:
    report = check(Scenes(lambda sample: replace(sample, boxes=edit(sample.boxes))))
    assert not report.ok
    assert f"in what the data set reads: {diagnosis}" in report.diagnosis


@pytest.mark.parametrize(
    ("columns", "axis", "diagnosis"),
    [([2, 1, 0, 3], 0, "boxes are mirrored"), ([0, 3, 2, 1], 1, "boxes are upside down")],
)
def test_flipped_boxes_are_named(columns: list[int], axis: int, diagnosis: str) -> None:
    def flip(instances: Instances, size: Size) -> Instances:
        boxes = instances.boxes[:, columns].clone()
        boxes[:, [axis, axis + 2]] = size[1 - axis] - boxes[:, [axis, axis + 2]]
        return replace(instances, boxes=boxes)

    assert diagnosis in check(to_prediction=editing(flip)).diagnosis


@pytest.mark.parametrize(
    ("edit", "diagnosis"),
    [
        (lambda masks: masks.flip(2), "masks are mirrored left to right; boxes fit"),
        (lambda masks: masks.flip(1), "masks are upside down"),
        (lambda masks: 1 - masks, "masks are inverted"),
        (lambda masks: masks.roll((3, -5), (1, 2)), "masks are shifted by (-5, +3) px"),
        (lambda masks: masks.roll(1, 0), "masks belong to other objects"),
        (lambda masks: masks * 0, "masks disagree: their median IoU with the annotation is 0.00"),
    ],
)
def test_wrong_masks_are_named_while_boxes_fit(
    edit: Callable[[torch.Tensor], torch.Tensor], diagnosis: str
) -> None:
    report = check(to_prediction=editing(lambda i, _: replace(i, masks=edit(i.masks))))
    assert not report.ok
    assert report.metrics["bbox/AP"] == pytest.approx(1.0)
    assert diagnosis in report.diagnosis


def test_detail_lost_in_a_coarse_resize_is_a_remark_and_no_failure() -> None:
    def coarse(instances: Instances, size: Size) -> Instances:
        small = resize_masks(instances.masks.numpy(), (size[0] // 4, size[1] // 4))
        return replace(instances, masks=torch.from_numpy(resize_masks(small, size)))

    # An image shrunk to a quarter: the transform says so, and the masks are as coarse.
    def shrink(sample: Sample, generator: np.random.Generator) -> Sample:
        size = (sample.size[0] // 4, sample.size[1] // 4)
        return replace(enlarge(sample, generator), image=np.zeros((*size, 3), dtype=np.uint8))

    report = check_instances(
        Scenes(),
        shrink,
        to_prediction=editing(coarse),
        evaluator=CocoEvaluator(coco_ground_truth(Scenes()), INFO, backend="hotcoco"),
        num_images=6,
        size_divisor=32,
    )
    assert report.metrics["segm/AP"] < 0.9
    assert report.ok and "masks lose detail" in report.diagnosis


def test_unknown_image_ids_are_named() -> None:
    report = check(Scenes(lambda sample: replace(sample, image_id=sample.image_id + 1000)))
    assert not report.ok
    assert "wrong image ids: 6 of 6 images carry an id which the annotations lack" in (
        report.diagnosis
    )


def test_image_ids_of_other_images_are_named() -> None:
    ids = [(100 + i, 100 + (i + 1) % 6) for i in range(6)]
    report = check(Scenes(lambda sample: replace(sample, image_id=dict(ids)[sample.image_id])))
    assert not report.ok
    assert "in what the data set reads: wrong image ids: 6 of 6 images" in report.diagnosis
    assert "the objects under id 101 are those annotated for id 100" in report.diagnosis


def test_lost_objects_are_named_with_their_sizes() -> None:
    report = check(to_prediction=editing(lambda i, _: i[torch.tensor([0, 2])]))
    assert not report.ok
    assert "lost objects: 6 of 18 do not arrive; their sides are" in report.diagnosis
    nothing = check(to_prediction=editing(lambda i, _: i[torch.tensor([], dtype=torch.long)]))
    assert "lost objects: none of 18 objects arrives" in nothing.diagnosis


def test_images_without_a_prediction_are_named() -> None:
    report = check(to_prediction=lambda batch: undo(batch)[:1])
    assert not report.ok
    assert "no prediction for 3 of 6 images" in report.diagnosis


def test_boxes_without_any_pattern_are_shown_beside_the_nearest_annotation() -> None:
    def scatter(instances: Instances, _: Size) -> Instances:
        moves = torch.tensor([[40.0, 0.0], [0.0, 70.0], [-90.0, 20.0]])
        return replace(instances, boxes=instances.boxes + moves.repeat(1, 2))

    report = check(to_prediction=editing(scatter))
    assert "boxes disagree: 0% of them reach IoU 0.9" in report.diagnosis
    assert "arrives, the nearest annotation is [" in report.diagnosis


def test_crowd_regions_are_neither_predicted_nor_missed() -> None:
    seen: list[Instances] = []

    def record(batch: Batch) -> list[Prediction]:
        seen.extend(batch.targets or [])
        return undo(batch)

    assert check(to_prediction=record).ok
    assert [len(target) for target in seen] == [3] * 6
    assert all(target.scores is not None for target in seen)


def test_unreadable_images_are_left_out_and_named_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(sample: Sample) -> Sample:
        if sample.image_id == 101:
            raise ReadError("1.png: truncated")
        return sample

    report = check(Scenes(broken))
    assert report.ok and report.num_images == 5
    assert "left out of the oracle check: 1.png: truncated" in caplog.text


def test_a_data_set_that_cannot_be_read_at_all_raises() -> None:
    def broken(sample: Sample) -> Sample:
        raise ReadError(f"{sample.path}: missing")

    with pytest.raises(ReadError, match="missing"):
        check(Scenes(broken))


def test_annotations_without_objects_fail_the_check() -> None:
    nothing = coco_ground_truth(Scenes()) | {"annotations": []}
    report = check(evaluator=CocoEvaluator(nothing, INFO, backend="hotcoco"))
    assert not report.ok
    assert "no objects at all" in report.diagnosis


def test_at_least_one_image_is_needed() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        check(num_images=0)
