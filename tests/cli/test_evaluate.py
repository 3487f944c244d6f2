"""``van-dense eval`` evaluates runs and saved predictions from the command line."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import van_dense
from van_dense.cli import evaluate
from van_dense.config import presets
from van_dense.config.detection import DetectionEval
from van_dense.data.io.panoptic import write_ids
from van_dense.evaluation.coco_engines import BACKENDS

TRUTH = {
    "images": [{"id": 1, "height": 100, "width": 100, "file_name": "1.png"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "bbox": [0, 0, 40, 50], "area": 2000}
    ],
    "categories": [{"id": 7, "name": "cat"}],
}
RESULTS = [{"image_id": 1, "category_id": 7, "score": 0.9, "bbox": [0, 0, 40, 40]}]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Arguments for a results file whose only box has IoU 0.8: AP 0.7."""
    (tmp_path / "gt.json").write_text(json.dumps(TRUTH))
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    annotations, predictions = str(tmp_path / "gt.json"), str(tmp_path / "results.json")
    return ["--predictions", predictions, "--annotations", annotations, "--type", "bbox"]


def test_saved_predictions_are_measured_by_the_library_of_a_run():
    assert DetectionEval().backend == BACKENDS[0]


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_saved_predictions_are_printed_and_written(files, backend, tmp_path, capsys):
    assert evaluate.main([*files, "--backend", backend]) == 0
    printed = capsys.readouterr().out
    assert "1 result in 1 of 1 images" in printed
    assert "AP50" in printed and "70.0" in printed and "cat" in printed
    written = json.loads((tmp_path / "metrics_bbox.json").read_text())
    assert written["metrics"]["bbox/AP"] == pytest.approx(0.7)
    assert written["metrics"]["bbox/APl"] is None
    assert written["per_class"]["bbox"]["cat"]["AP"] == pytest.approx(0.7)


def test_federated_annotations_have_the_metrics_of_lvis(files, tmp_path, capsys):
    assert evaluate.main([*files, "--federated"]) == 1
    assert "have no 'neg_category_ids'; add it as LVIS v1 has it" in capsys.readouterr().err
    listed = {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    truth = {
        **TRUTH,
        "images": [{**TRUTH["images"][0], **listed}],
        "categories": [{**TRUTH["categories"][0], "frequency": "r"}],
    }
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(RESULTS * 302))
    assert evaluate.main([*files, "--federated"]) == 0
    printed = capsys.readouterr().out
    assert "AR300" in printed and "rare classes of LVIS" in printed
    assert "2 of 302 results are beyond the best 300 of their image, over all classes" in printed
    assert "--max-detections" not in printed
    written = json.loads((tmp_path / "metrics_bbox.json").read_text())["metrics"]
    assert written["bbox/APr"] == written["bbox/AP"] == pytest.approx(0.7)
    assert evaluate.main([*files, "--federated", "--backend", "pycocotools"]) == 1
    assert "pycocotools has no federated evaluation" in capsys.readouterr().err


def test_boundary_ap_stands_beside_ap_of_masks(files, tmp_path, capsys):
    square = [[10, 10, 50, 10, 50, 50, 10, 50]]
    truth = {**TRUTH, "annotations": [{**TRUTH["annotations"][0], "segmentation": square}]}
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    moved = [[12, 10, 52, 10, 52, 50, 12, 50]]  # IoU 0.905, of outlines 0.5
    (tmp_path / "results.json").write_text(json.dumps([{**RESULTS[0], "segmentation": moved}]))
    assert evaluate.main([*files[:-1], "segm", "--boundary"]) == 0
    assert "boundary" in capsys.readouterr().out
    written = json.loads((tmp_path / "metrics_segm.json").read_text())
    assert written["metrics"]["segm/AP"] == pytest.approx(0.9)
    assert written["metrics"]["boundary/AP"] == pytest.approx(0.1)
    assert written["per_class"]["boundary"]["cat"]["AP50"] == pytest.approx(1)
    assert evaluate.main([*files[:-1], "segm"]) == 0
    written = json.loads((tmp_path / "metrics_segm.json").read_text())
    assert not any("boundary" in name for name in written["metrics"])


def test_the_json_goes_where_output_says(files, tmp_path):
    assert evaluate.main([*files, "--output", str(tmp_path / "a" / "b.json")]) == 0
    assert (tmp_path / "a" / "b.json").is_file()


def test_a_wrong_record_is_one_line_and_no_traceback(files, tmp_path, capsys):
    broken = [*RESULTS, {**RESULTS[0], "image_id": 3}]
    (tmp_path / "results.json").write_text(json.dumps(broken))
    assert evaluate.main(files) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "results.json, record 1 (counted from 0): image_id 3 is not in the annotation" in error


@pytest.mark.parametrize("missing", ["gt.json", "results.json"])
def test_a_missing_file_is_named(files, tmp_path, capsys, missing):
    (tmp_path / missing).unlink()
    assert evaluate.main(files) == 1
    assert missing in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a run folder, or --predictions, or --config"),
        (["run", "--predictions", "r.json"], "give either a run folder"),
        (
            [*"--config p.yaml --predictions r.json --annotations a.json".split()],
            "give either a run folder",
        ),
        (
            [*"--config p.yaml --predictions maps --type semantic".split()],
            "--predictions with --config takes one of --type bbox, segm, keypoints",
        ),
        (["--config", "p.yaml", "--data", "d.yaml"], "--data belongs to a run"),
        (
            [*"--predictions r --annotations a --type saliency --max-detections 9".split()],
            "--max-detections belongs to --type bbox, segm, keypoints; a run has eval.max_",
        ),
        (
            [*"--predictions r --annotations a --type bbox --max-detections 0".split()],
            "--max-detections takes a number from 1 on",
        ),
        (["run", "--federated"], "--federated belongs to --type bbox or segm; a run has eval.fed"),
        (
            [*"--predictions r --annotations a --type keypoints --federated".split()],
            "--federated belongs to --type bbox or segm",
        ),
        (
            [*"--predictions r --annotations a --type bbox --federated --max-detections 9".split()],
            "--federated counts the best 300 of an image; leave out --max-detections",
        ),
        (["run", "--quarantine", "bad.json"], "a run has data.quarantine"),
        (["run", "--crowds", "objects"], "a run has data.crowds"),
        (
            [*"--predictions r.json --annotations a.json --type panoptic --data d.yaml".split()],
            "saved predictions but panoptic ones",
        ),
        (["--predictions", "r.json", "--type", "bbox"], "needs --annotations and --type"),
        (["--predictions", "r.json", "--annotations", "a.json"], "needs --annotations and --type"),
        (["run", "--label-map", "1 -> 0"], "--label-map and the patterns belong"),
        (["run", "--boundary"], "--boundary belongs to --type panoptic"),
        (
            [*"--predictions r --annotations a --type bbox --boundary".split()],
            "--boundary belongs to --type panoptic or segm; a run has eval.boundary=true",
        ),
        (
            [*"--predictions r --annotations a --type segm --boundary --federated".split()],
            "--boundary is COCO's AP of outlines; leave out --federated",
        ),
        (["run", "--masks", "pngs"], "--masks belongs to --type panoptic"),
        (
            [*"--predictions r.json --annotations a.json --type panoptic --data d.yaml".split()],
            "--data belongs to a run",
        ),
        (
            [*"--predictions r.json --annotations a.json --type bbox --resume".split()],
            "--resume belongs to a run; saved predictions are scored at once",
        ),
    ],
)
def test_incomplete_arguments_are_explained(arguments, message, capsys):
    with pytest.raises(SystemExit):
        evaluate.main(arguments)
    assert message in capsys.readouterr().err


@pytest.fixture
def api(monkeypatch) -> list[dict]:
    """Stand-in for van_dense.api, which notes its calls and writes metrics."""
    calls: list[dict] = []

    def evaluate_run(run: Path, **options: object) -> dict[str, float]:
        from van_dense.evaluation.table import save_metrics

        calls.append({"run": run, **options})
        metrics = {"bbox/AP": 0.25}
        save_metrics(options["output"] / "metrics.json", metrics, {"bbox": {"cat": {"AP": 0.25}}})
        return metrics

    def evaluate_weights(config: dict, **options: object) -> dict[str, float]:
        return evaluate_run(Path("none"), config=config, **options)

    stand_in = types.ModuleType("van_dense.api")
    stand_in.evaluate_run = evaluate_run
    stand_in.evaluate_weights = evaluate_weights
    monkeypatch.setattr(
        "van_dense.config.load_config",
        lambda path, overrides: {"path": path, "overrides": overrides},
    )
    monkeypatch.setitem(sys.modules, "van_dense.api", stand_in)
    monkeypatch.setattr(van_dense, "api", stand_in, raising=False)  # another test may have set it
    return calls


def test_a_run_is_evaluated_into_its_own_folder(api, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    assert evaluate.main([str(run), "--checkpoint", "last", "seed=1", "eval.batch_size=2"]) == 0
    assert api == [
        {
            "run": run,
            "checkpoint": "last",
            "fragments": [],
            "overrides": ["seed=1", "eval.batch_size=2"],
            "output": run / "eval" / "last",
            "resume": False,
        }
    ]
    printed = capsys.readouterr().out
    assert "25.0" in printed and "cat" in printed
    assert str(run / "eval" / "last" / "metrics.json") in printed


def test_a_run_is_evaluated_into_the_folder_asked_for(api, tmp_path):
    assert evaluate.main([str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    assert api[0]["output"] == tmp_path / "out"
    assert api[0]["checkpoint"] == "best"


def test_data_fragments_are_laid_over_the_config_of_a_run(api, tmp_path):
    assert evaluate.main([str(tmp_path), "--data", "a.yaml", "--data", "ecssd", "seed=1"]) == 0
    packaged = presets.ROOT / "configs/_data/ecssd.yaml"
    assert (api[0]["fragments"], api[0]["overrides"]) == ([Path("a.yaml"), packaged], ["seed=1"])


def test_the_weights_of_a_project_are_evaluated(api, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("van_dense.config.files.missing_data", lambda config: None)
    assert evaluate.main(["--config", "projects/van.yaml", "seed=1", "data.val=here"]) == 0
    config = {"path": "projects/van.yaml", "overrides": ["seed=1", "data.val=here"]}
    output = Path("runs/van/eval/weights")
    assert api == [{"run": Path("none"), "config": config, "output": output, "resume": False}]
    assert str(output / "metrics.json") in capsys.readouterr().out
    assert evaluate.main(["--config", "projects/van.yaml", "--output", "there", "--resume"]) == 0
    assert api[1]["output"] == Path("there") and api[1]["config"]["overrides"] == []
    assert api[1]["resume"]


# ------------------------------------------------------------------------------ keypoints


def test_saved_poses_are_scored_with_the_skeleton_of_a_fragment(tmp_path, capsys):
    pose = {"image_id": 1, "category_id": 7, "keypoints": [5, 5, 2, 30, 40, 2]}
    annotation = {**TRUTH["annotations"][0], **pose}
    (tmp_path / "gt.json").write_text(json.dumps({**TRUTH, "annotations": [annotation]}))
    (tmp_path / "results.json").write_text(json.dumps([{**pose, "score": 1}]))
    (tmp_path / "data.yaml").write_text(
        "data: {name: cats, skeleton: {keypoints: [nose, paw], sigmas: [0.1, 0.1]}}"
    )
    files = [str(tmp_path / name) for name in ("results.json", "gt.json", "data.yaml")]
    arguments = ["--predictions", files[0], "--annotations", files[1], "--data", files[2]]
    assert evaluate.main([*arguments, "--type", "keypoints"]) == 0
    printed = capsys.readouterr().out
    assert "PCK@0.2" in printed and "nose" in printed and "cat" in printed
    written = json.loads((tmp_path / "metrics_keypoints.json").read_text())
    assert written["metrics"]["keypoints/AP"] == pytest.approx(1)
    assert written["metrics"]["pck/PCK@0.2"] == 1
    assert list(written["per_class"]["pck"]) == ["nose", "paw"]


# -------------------------------------------------------------------------- folders of maps


@pytest.fixture
def maps(tmp_path: Path) -> list[str]:
    """Arguments for one label map: raw 1 right twice, raw 2 once instead of 1, raw 0 ignored."""
    for folder, values in (("masks", [[1, 1, 1, 0]]), ("maps", [[1, 1, 2, 2]])):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.array(values, np.uint8)).save(tmp_path / folder / "a.png")
    folders = ["--predictions", str(tmp_path / "maps"), "--annotations", str(tmp_path / "masks")]
    return [*folders, "--type", "semantic"]


LABEL_MAP = ["--label-map", "0 -> ignore", "1..2 -> 0..1"]


def test_label_maps_are_compared_through_a_label_map(maps, tmp_path, capsys):
    assert evaluate.main([*maps, *LABEL_MAP]) == 0
    printed = capsys.readouterr().out
    assert "1 map" in printed and "mIoU" in printed and "33.3" in printed
    written = json.loads((tmp_path / "metrics_semantic.json").read_text())
    assert written["metrics"]["semantic/mIoU"] == pytest.approx((2 / 3 + 0) / 2)
    assert written["per_class"]["semantic"]["1"]["IoU"] == pytest.approx(2 / 3)
    assert (tmp_path / "confusion.csv").read_text().split("\n")[1] == "1,2,1,0"


def test_a_data_fragment_gives_label_map_names_and_pattern(maps, tmp_path, capsys):
    (tmp_path / "masks" / "a.png").rename(tmp_path / "masks" / "a_labels.png")
    (tmp_path / "data.yaml").write_text(
        'data: {name: x, label_map: ["0 -> ignore", "1..2 -> 0..1"], classes: [sky, road],\n'
        'mask_pattern: "{key}_labels.png"}'
    )
    assert evaluate.main([*maps, "--data", str(tmp_path / "data.yaml")]) == 0
    assert "sky" in capsys.readouterr().out


def test_the_command_line_outweighs_the_fragment(maps, tmp_path):
    (tmp_path / "data.yaml").write_text('data: {label_map: ["0..9 -> 0"], mask_pattern: "no{key}"}')
    output = str(tmp_path / "out" / "x.json")
    changes = [*LABEL_MAP, "--mask-pattern", "{key}.png", "--output", output]
    assert evaluate.main([*maps, "--data", str(tmp_path / "data.yaml"), *changes]) == 0
    assert json.loads(Path(output).read_text())["metrics"]["semantic/aAcc"] == pytest.approx(2 / 3)
    assert (tmp_path / "out" / "confusion.csv").is_file()


def test_label_maps_need_to_be_told_what_values_mean(maps, capsys):
    assert evaluate.main(maps) == 1
    assert (
        "error: what do the values of the label maps mean? Give --data" in capsys.readouterr().err
    )


def test_saliency_maps_need_no_label_map(maps, tmp_path, capsys):
    for folder in ("masks", "maps"):
        values = np.array([[0, 255, 255, 0]], np.uint8)
        Image.fromarray(values).save(tmp_path / folder / "a.png")
    assert evaluate.main([*maps[:-1], "saliency"]) == 0
    printed = capsys.readouterr().out
    assert "pysod" in printed and "edn" in printed and "class" not in printed
    written = json.loads((tmp_path / "metrics_saliency.json").read_text())
    assert written["metrics"]["edn/MAE"] == 0 and written["per_class"] == {}
    assert (tmp_path / "curves.csv").is_file()


def test_a_missing_prediction_is_one_line_and_no_traceback(maps, tmp_path, capsys):
    Image.fromarray(np.zeros((1, 4), np.uint8)).save(tmp_path / "masks" / "b.png")
    assert evaluate.main([*maps, *LABEL_MAP]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "1 of 2 annotations have no prediction: b" in error


# ------------------------------------------------------------------------- panoptic results


@pytest.fixture
def panoptic(tmp_path: Path) -> list[str]:
    """Arguments for one image: 3 of 4 pixels of a cat, 2 of 3 of the sky and the cat's rest."""
    segments = [{"id": 5, "category_id": 7}, {"id": 700, "category_id": 9}]
    lists = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 1, "width": 6}],
        "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": segments}],
        "categories": [
            {"id": 7, "name": "cat", "isthing": 1},
            {"id": 9, "name": "sky", "isthing": 0},
        ],
    }
    for name, row in (("truth", [5, 5, 5, 5, 700, 700]), ("found", [5, 5, 5, 700, 700, 700])):
        write_ids(tmp_path / name / "1.png", np.int32([row]))
        (tmp_path / f"{name}.json").write_text(json.dumps(lists))
    files = ["--predictions", str(tmp_path / "found.json")]
    return [*files, "--annotations", str(tmp_path / "truth.json"), "--type", "panoptic"]


def test_panoptic_results_are_compared(panoptic, tmp_path, capsys):
    assert evaluate.main(panoptic) == 0
    printed = capsys.readouterr().out
    assert "1 image" in printed and "PQ_st" in printed and "66.7" in printed
    written = json.loads((tmp_path / "metrics_panoptic.json").read_text())
    assert written["metrics"]["panoptic/PQ"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert written["per_class"]["panoptic"]["cat"]["PQ"] == pytest.approx(3 / 4)
    assert not any("boundary" in name for name in written["metrics"])
    assert (tmp_path / "segments.csv").read_text().splitlines()[1] == "cat,1,0,0"


def test_pngs_of_the_truth_are_found_where_masks_says(panoptic, tmp_path, capsys):
    (tmp_path / "truth").rename(tmp_path / "pngs")
    assert evaluate.main(panoptic) == 1
    assert f"{tmp_path / 'truth'}: no such folder" in capsys.readouterr().err
    assert evaluate.main([*panoptic, "--masks", str(tmp_path / "pngs")]) == 0
    written = json.loads((tmp_path / "metrics_panoptic.json").read_text())
    assert written["metrics"]["panoptic/PQ"] == pytest.approx((3 / 4 + 2 / 3) / 2)


def test_boundary_pq_stands_beside_pq_if_asked_for(panoptic, tmp_path, capsys):
    assert evaluate.main([*panoptic, "--boundary"]) == 0
    assert "boundary_PQ_th" in capsys.readouterr().out
    written = json.loads((tmp_path / "metrics_panoptic.json").read_text())
    assert written["metrics"]["panoptic/boundary_PQ"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert written["per_class"]["panoptic"]["sky"]["boundary_PQ"] == pytest.approx(2 / 3)


def test_a_broken_png_is_one_line_and_no_traceback(panoptic, tmp_path, capsys):
    Image.new("P", (6, 1)).save(tmp_path / "found" / "1.png")
    assert evaluate.main(panoptic) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "1.png: a PNG of a palette" in error
