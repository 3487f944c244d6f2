"""Panoptic results of any program are found, paired and compared; ours are written alike."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction, Segment
from van_dense.data.io.panoptic import read_ids, write_ids
from van_dense.evaluation.panoptic_files import evaluate_panoptic_files
from van_dense.evaluation.results import Outcome, ResultFiles, to_panoptic, write_panoptic

CATEGORIES = [{"id": 2, "name": "cat", "isthing": 1}, {"id": 9, "name": "sky", "isthing": 0}]
INFO = DatasetInfo("pets", ("cat", "sky"), (2, 9), is_thing=(True, False))
TRUTH = np.int32([[5, 5, 5, 5, 700, 700]])
FOUND = np.int32([[5, 5, 5, 700, 700, 700]])  # cat 3/4, sky 2/3
SEGMENTS = [{"id": 5, "category_id": 2}, {"id": 700, "category_id": 9}]


def write(path: Path, maps: dict[int, np.ndarray], segments=SEGMENTS, **lists) -> Path:
    """A JSON with its PNGs in the folder of its name."""
    records = []
    for image_id, ids in maps.items():
        write_ids(path.with_suffix("") / f"{image_id}.png", ids)
        record = {"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": segments}
        records.append(record)
    path.write_text(json.dumps({"annotations": records, **lists}))
    return path


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Annotation file of three images."""
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 1, "width": 6} for i in (1, 2, 3)]
    maps = dict.fromkeys((1, 2, 3), TRUTH)
    return write(tmp_path / "truth.json", maps, images=images, categories=CATEGORIES)


@pytest.fixture
def found(tmp_path: Path) -> Path:
    """Predictions for them."""
    return write(tmp_path / "results.json", dict.fromkeys((1, 2, 3), FOUND))


def test_a_json_and_the_folder_of_its_name_are_compared(truth, found):
    evaluator = evaluate_panoptic_files(found, truth, boundary=True)
    metrics = evaluator.compute()
    assert evaluator.num_images == 3
    assert metrics["panoptic/PQ_th"] == pytest.approx(3 / 4)
    assert metrics["panoptic/PQ_st"] == pytest.approx(2 / 3)
    assert metrics["panoptic/boundary_PQ"] == pytest.approx((3 / 4 + 2 / 3) / 2)


def test_the_official_layout_of_truth_evaluates_to_one(truth):
    assert evaluate_panoptic_files(truth, truth, boundary=False).compute()["panoptic/PQ"] == 1


def test_areas_are_counted_and_not_read(truth, found):
    content = json.loads(truth.read_text())
    for annotation in content["annotations"]:
        annotation["segments_info"] = [{**s, "area": 1000} for s in annotation["segments_info"]]
    truth.write_text(json.dumps(content))
    metrics = evaluate_panoptic_files(found, truth, boundary=False).compute()
    assert metrics["panoptic/PQ_th"] == pytest.approx(3 / 4)


@pytest.mark.parametrize("name", ["predictions_panoptic.json", "other.json"])
@pytest.mark.parametrize("below", [True, False])
def test_a_folder_holds_one_json_with_the_pngs_below_or_beside_it(truth, tmp_path, name, below):
    path = tmp_path / "run" / name
    path.parent.mkdir()
    write(path, dict.fromkeys((1, 2, 3), FOUND))
    if not below:
        for png in path.with_suffix("").iterdir():
            png.rename(path.parent / png.name)
        path.with_suffix("").rmdir()
    if name == "predictions_panoptic.json":
        (path.parent / "metrics_panoptic.json").write_text("{}")
    evaluator = evaluate_panoptic_files(path.parent, truth, boundary=False)
    assert evaluator.compute()["panoptic/PQ_th"] == pytest.approx(3 / 4)


def test_pngs_that_are_nowhere_are_looked_for_in_both_places(truth, tmp_path):
    path = write(tmp_path / "run" / "results.json", dict.fromkeys((1, 2, 3), FOUND))
    path.with_suffix("").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"neither .*results nor .*run holds the PNGs"):
        evaluate_panoptic_files(path, truth, boundary=False)


def test_the_number_of_threads_changes_nothing(truth, tmp_path):
    maps = {i: np.roll(TRUTH, shift, 1) for i, shift in ((1, 0), (2, 1), (3, -1))}
    found = write(tmp_path / "results.json", maps)
    first, *others = (
        evaluate_panoptic_files(found, truth, boundary=True, threads=n).sums for n in (1, 2, 5)
    )
    assert all((sums == first).all() for sums in others)


def test_predictions_of_other_images_are_logged_and_left_out(truth, tmp_path, caplog):
    found = write(tmp_path / "results.json", dict.fromkeys((1, 2, 3, 8), FOUND))
    with caplog.at_level(logging.WARNING):
        assert evaluate_panoptic_files(found, truth, boundary=False).num_images == 3
    assert "not evaluated: 1 prediction of no annotated image: 8" in caplog.text


def test_images_without_a_prediction_are_named(truth, tmp_path):
    found = write(tmp_path / "results.json", {2: FOUND})
    with pytest.raises(ValueError, match=r"results.json: 2 of 3 images have no .*: 1.jpg, 3.jpg"):
        evaluate_panoptic_files(found, truth, boundary=False)


def test_two_predictions_of_an_image_are_refused(truth, found):
    content = json.loads(found.read_text())
    found.write_text(json.dumps({"annotations": [*content["annotations"]] * 2}))
    with pytest.raises(ValueError, match=r"annotations\[3\]: image 1 has two predictions"):
        evaluate_panoptic_files(found, truth, boundary=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no COCO panoptic results: expected an object with the list 'annotations'"),
        ('{"annotations": 3}', "no COCO panoptic results"),
        ('{"annotations": [3]}', r"annotations\[0\] must be an object, got 3"),
        ("{", "not valid JSON"),
        ('{"annotations": [{"image_id": 1, "bbox": []}]}', "'segments_info' is missing"),
    ],
)
def test_other_files_are_explained(truth, found, content, message):
    found.write_text(content)
    with pytest.raises(ValueError, match=f"results.json: {message}|results.json: .*{message}"):
        evaluate_panoptic_files(found, truth, boundary=False)


def test_labels_instead_of_category_ids_are_explained(truth, tmp_path):
    found = write(tmp_path / "r.json", {1: FOUND}, [{"id": 5, "category_id": 0}])
    with pytest.raises(ValueError, match=r"category 0 is none of 2, 9; .*, not 0-based labels"):
        evaluate_panoptic_files(found, truth, boundary=False)


def test_pngs_of_the_truth_may_lie_elsewhere(truth, found, tmp_path):
    masks = tmp_path / "elsewhere" / "pngs"
    masks.parent.mkdir()
    truth.with_suffix("").rename(masks)
    evaluator = evaluate_panoptic_files(found, truth, masks=masks, boundary=False)
    assert evaluator.compute()["panoptic/PQ_th"] == pytest.approx(3 / 4)
    with pytest.raises(ValueError, match=r"truth: no such folder; give the folder .* the PNGs"):
        evaluate_panoptic_files(found, truth, boundary=False)


@pytest.mark.parametrize("name", ["/1.png", "../1.png", "a/../../1.png"])
def test_names_that_lead_out_of_the_folder_are_refused(truth, found, name):
    for path in (found, truth):
        content = json.loads(path.read_text())
        content["annotations"][1]["file_name"] = name
        path.write_text(json.dumps(content))
        message = rf"{path.name}: annotations\[1\]: 'file_name' of image 2 leads out of the folder"
        with pytest.raises(ValueError, match=message):
            evaluate_panoptic_files(found, truth, boundary=False)
        content["annotations"][1]["file_name"] = "2.png"
        path.write_text(json.dumps(content))


def test_what_is_wrong_with_a_png_is_said_with_its_name(truth, found):
    folder = found.with_suffix("")
    write_ids(folder / "2.png", FOUND + 1)
    with pytest.raises(ValueError, match=r"2.png with .*2.png: image 2: .* no segment has: \[6, 7"):
        evaluate_panoptic_files(found, truth, boundary=False)
    write_ids(folder / "2.png", FOUND.T)
    with pytest.raises(ValueError, match=r"2.png: image 2: the prediction is 1x6 .* truth 6x1"):
        evaluate_panoptic_files(found, truth, boundary=False)
    (folder / "2.png").unlink()
    with pytest.raises(ValueError, match=r"2.png: no such file"):
        evaluate_panoptic_files(found, truth, boundary=False)


@pytest.mark.parametrize(
    ("names", "message"), [((), "holds no JSON"), (("a", "b"), "2 JSON files")]
)
def test_a_folder_without_a_clear_json_is_refused(truth, tmp_path, names, message):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in names:
        (folder / f"{name}.json").write_text("{}")
    with pytest.raises(ValueError, match=message):
        evaluate_panoptic_files(folder, truth, boundary=False)


# ---------------------------------------------------------------------------------- writing


def prediction(image_id: int = 1) -> Prediction:
    segments = [Segment(id=5, label=0, score=0.75), Segment(id=700, label=1, score=1 / 3)]
    return Prediction(image_id, (1, 6), panoptic=FOUND, segments=segments)


def test_predictions_are_written_as_the_official_servers_want_them(truth, tmp_path):
    base = tmp_path / "run" / "predictions"
    with ResultFiles(base) as files:
        for image_id in (1, 2, 3):
            one, png = prediction(image_id), f"{image_id}.png"
            files.add(Outcome(panoptic=to_panoptic(one, INFO, png)))
            path = write_panoptic(one, base, png)
            assert path == tmp_path / "run" / "predictions_panoptic" / png
    np.testing.assert_array_equal(read_ids(path), FOUND)
    content = json.loads((tmp_path / "run" / "predictions_panoptic.json").read_text())
    assert list(content) == ["annotations"] and len(content["annotations"]) == 3
    assert content["annotations"][0] == {
        "image_id": 1,
        "file_name": "1.png",
        "segments_info": [
            {"id": 5, "category_id": 2, "score": 0.75},
            {"id": 700, "category_id": 9, "score": 0.333333333},
        ],
    }
    evaluator = evaluate_panoptic_files(tmp_path / "run", truth, boundary=False)
    assert evaluator.compute()["panoptic/PQ_th"] == pytest.approx(3 / 4)


def test_the_json_is_complete_after_an_error(tmp_path):
    with pytest.raises(KeyError), ResultFiles(tmp_path / "some") as files:
        files.add(Outcome(panoptic=to_panoptic(prediction(), INFO, "1.png")))
        raise KeyError
    assert len(json.loads((tmp_path / "some_panoptic.json").read_text())["annotations"]) == 1


def test_no_map_is_refused():
    with pytest.raises(ValueError, match="image 3 has no panoptic map"):
        to_panoptic(Prediction(3, (1, 6)), INFO, "3.png")
