"""van-dense report and compare: pages of saved predictions, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from van_dense.cli.main import main

SIDE = 32


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Annotations of six photos, right results, and shifted ones."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    images, annotations = [], []
    for number in range(1, 7):
        Image.new("RGB", (SIDE, SIDE), (90, 120, 40)).save(f"photos/{number}.png")
        name = f"{number}.png"
        images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
        box = [number, 4, 10, 12]
        one = {"id": number, "image_id": number, "category_id": 1 + number % 2, "bbox": box}
        annotations.append({**one, "area": 120, "iscrowd": 0})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "<b>dog</b>"}]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    Path("gt.json").write_text(json.dumps(truth))
    for name, shift in (("good", 0), ("bad", 6)):
        results = [
            {
                "image_id": one["image_id"],
                "category_id": one["category_id"],
                "bbox": [one["bbox"][0] + shift, *one["bbox"][1:]],
                "score": 0.9,
            }
            for one in annotations
        ]
        Path(f"{name}.json").write_text(json.dumps(results))
    return tmp_path


SAVED = ("--annotations", "gt.json", "--type", "bbox", "--images", "photos")


def test_a_report_of_saved_results_is_a_page_and_its_numbers(files, capsys):
    assert main(["report", "--predictions", "bad.json", *SAVED]) == 0
    page = files / "report_bbox" / "report.html"
    assert f"report: {page}" in capsys.readouterr().out
    html = page.read_text(encoding="utf-8")
    assert "<b>dog</b>" not in html and "data:image" in html
    numbers = json.loads(page.with_suffix(".json").read_text())
    main(["eval", "--predictions", "bad.json", *SAVED[:4], "--output", "m.json"])
    expected = json.loads(Path("m.json").read_text())["metrics"]
    assert all(
        numbers[key] == value or numbers[key] == pytest.approx(value, abs=1e-12)
        for key, value in expected.items()
    )


def test_two_files_of_results_are_compared(files, capsys):
    assert main(["compare", "good.json", "bad.json", *SAVED, "--output", "out"]) == 0
    html = (files / "out" / "compare.html").read_text(encoding="utf-8")
    assert "good is better than bad in bbox/AP by 1.000" in html
    numbers = json.loads((files / "out" / "compare.json").read_text())
    assert numbers["bad: bbox/AP, difference"] == -1


@pytest.mark.parametrize("crowds", ["regions", "objects"])
def test_a_report_reads_annotations_as_eval_does(files, crowds):
    """Half of the objects are marked as crowds."""
    truth = json.loads(Path("gt.json").read_text())
    for one in truth["annotations"]:
        one["iscrowd"] = one["id"] % 2
    Path("gt.json").write_text(json.dumps(truth))
    options = ("--crowds", crowds)
    assert main(["report", "--predictions", "bad.json", *SAVED, *options]) == 0
    numbers = json.loads((files / "report_bbox" / "report.json").read_text())
    expected = evaluated("bad.json", *SAVED[:4], *options)
    assert numbers["bbox/AR100"] == pytest.approx(expected["bbox/AR100"], abs=1e-12)
    assert main(["compare", "good.json", "bad.json", *SAVED, *options]) == 0


def as_lvis() -> None:
    """Lists of looked-for classes: a dog in image 1 is absent, in the others nobody looked."""
    truth = json.loads(Path("gt.json").read_text())
    for image in truth["images"]:
        absent = [1] if image["id"] == 1 else []
        image |= {"neg_category_ids": absent, "not_exhaustive_category_ids": []}
    for category in truth["categories"]:
        category["frequency"] = "r" if category["id"] == 1 else "f"
    Path("gt.json").write_text(json.dumps(truth))


def evaluated(*options: str) -> dict[str, float]:
    assert main(["eval", "--predictions", *options, "--output", "m.json"]) == 0
    return json.loads(Path("m.json").read_text())["metrics"]


def assert_equal(numbers: dict[str, float], expected: dict[str, float]) -> None:
    for key, value in expected.items():
        assert numbers[key] == value or numbers[key] == pytest.approx(value, abs=1e-12), key


def test_a_report_by_the_rules_of_lvis_has_the_numbers_of_eval(files, capsys):
    saved = ["bad.json", *SAVED[:4], "--federated"]
    assert main(["report", "--predictions", *saved]) == 1
    assert "have no 'neg_category_ids'" in capsys.readouterr().err
    as_lvis()
    assert main(["report", "--predictions", *saved]) == 0
    html = (files / "report_bbox" / "report.html").read_text(encoding="utf-8")
    assert "Counted by the rules of LVIS" in html
    numbers = json.loads((files / "report_bbox" / "report.json").read_text())
    expected = evaluated(*saved)
    assert "bbox/APr" in expected and "bbox/AR300" in expected
    assert_equal(numbers, expected)
    pair = ["compare", "good.json", *saved, "--output", "out"]
    assert main(pair) == 0
    found = json.loads((files / "out" / "compare.json").read_text())
    assert found["bad: bbox/APr"] == pytest.approx(expected["bbox/APr"], abs=1e-12)


def test_a_report_of_masks_has_boundary_ap_beside_ap(files):
    for name in ("gt", "good", "bad"):
        content = json.loads(Path(f"{name}.json").read_text())
        for entry in content["annotations"] if name == "gt" else content:
            x, y, w, h = entry["bbox"]
            entry["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        Path(f"{name}.json").write_text(json.dumps(content))
    saved = ["bad.json", "--annotations", "gt.json", "--type", "segm", "--boundary"]
    assert main(["report", "--predictions", *saved]) == 0
    numbers = json.loads((files / "report_segm" / "report.json").read_text())
    expected = evaluated(*saved)
    assert "boundary/AP" in expected and "segm/AP" in expected
    assert_equal(numbers, expected)
    assert main(["compare", "good.json", *saved, "--output", "out"]) == 0
    found = json.loads((files / "out" / "compare.json").read_text())
    assert found["bad: boundary/AP, difference"] == pytest.approx(expected["boundary/AP"] - 1)


def test_maps_of_two_folders_are_reported(files, capsys):
    for name, label in (("masks", 1), ("maps", 0)):
        (files / name).mkdir()
        for number in (1, 2):
            labels = np.full((SIDE, SIDE), label, np.uint8)
            labels[:8] = 1
            Image.fromarray(labels).save(files / name / f"{number}.png")
    options = ["--type", "semantic", "--label-map", "0..1 -> 0..1"]
    saved = ["--predictions", "maps", "--annotations", "masks", "--images", "photos"]
    assert main(["report", *saved, *options]) == 0
    numbers = json.loads((files / "report_semantic" / "report.json").read_text())
    assert numbers["semantic/mIoU"] == pytest.approx((0 + 8 / 32) / 2)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["report"], "give either RUN, or --predictions"),
        (["report", "run", "--predictions", "good.json"], "give either RUN, or --predictions"),
        (["report", "run", "--type", "bbox"], "belongs to saved predictions"),
        (["report", "--predictions", "good.json"], "need --annotations and --type"),
        (["report", "--predictions", "x", *SAVED, "--label-map", "0 -> 0"], "belong to --type se"),
        (["report", "--predictions", "x", *SAVED, "--max-detections", "0"], "from 1 on"),
        (
            ["report", "--predictions", "x", *SAVED, "--boundary"],
            "--boundary belongs to --type pan",
        ),
        (
            "report --predictions x --annotations y --type panoptic --data ade20k".split(),
            "--data belongs to a run, or to saved predictions but panoptic ones",
        ),
        (["report", "run", "--federated"], "a run has eval.federated="),
        (
            ["compare", "a", "b", *SAVED, "--federated", "--max-detections", "9"],
            "--federated counts the best 300 of an image; leave out --max-detections",
        ),
        (["compare", "good.json"], "at least two models"),
        (["compare", "a", "b", "--type", "bbox"], "belongs to saved predictions"),
    ],
)
def test_options_that_do_not_fit_end_with_2(files, arguments, problem, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert problem in capsys.readouterr().err


def test_results_on_other_images_are_refused(files, capsys):
    results = json.loads(Path("good.json").read_text())
    Path("other.json").write_text(json.dumps([{**results[0], "image_id": 99}]))
    assert main(["compare", "good.json", "other.json", *SAVED]) == 1
    assert "error: other.json" in capsys.readouterr().err


def test_label_maps_need_a_meaning(files, capsys):
    saved = ["--predictions", "photos", "--annotations", "photos", "--type", "semantic"]
    assert main(["report", *saved]) == 1
    assert "what do the values of the label maps mean?" in capsys.readouterr().err
