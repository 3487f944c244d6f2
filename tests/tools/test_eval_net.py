"""tools/eval_net.py evaluates runs and saved predictions from the command line."""

import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("eval_net", ROOT / "tools" / "eval_net.py")
assert SPEC is not None and SPEC.loader is not None
eval_net = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(eval_net)

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


@pytest.mark.parametrize("backend", ["faster", "pycocotools"])
def test_saved_predictions_are_printed_and_written(files, backend, tmp_path, capsys):
    assert eval_net.main([*files, "--backend", backend]) == 0
    printed = capsys.readouterr().out
    assert "1 results in 1 of 1 images" in printed
    assert "AP50" in printed and "70.0" in printed and "cat" in printed
    written = json.loads((tmp_path / "metrics_bbox.json").read_text())
    assert written["metrics"]["bbox/AP"] == pytest.approx(0.7)
    assert written["metrics"]["bbox/APl"] is None
    assert written["per_class"]["bbox"]["cat"]["AP"] == pytest.approx(0.7)


def test_the_json_goes_where_output_says(files, tmp_path):
    assert eval_net.main([*files, "--output", str(tmp_path / "a" / "b.json")]) == 0
    assert (tmp_path / "a" / "b.json").is_file()


def test_a_wrong_record_is_one_line_and_no_traceback(files, tmp_path, capsys):
    broken = [*RESULTS, {**RESULTS[0], "image_id": 3}]
    (tmp_path / "results.json").write_text(json.dumps(broken))
    assert eval_net.main(files) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "results.json, record 1 (counted from 0): image_id 3 is not in the annotation" in error


@pytest.mark.parametrize("missing", ["gt.json", "results.json"])
def test_a_missing_file_is_named(files, tmp_path, capsys, missing):
    (tmp_path / missing).unlink()
    assert eval_net.main(files) == 1
    assert missing in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a run folder, or --predictions"),
        (["run", "--predictions", "r.json"], "give either a run folder, or --predictions"),
        (["--predictions", "r.json", "--type", "bbox"], "needs --annotations and --type"),
        (["--predictions", "r.json", "--annotations", "a.json"], "needs --annotations and --type"),
    ],
)
def test_incomplete_arguments_are_explained(arguments, message, capsys):
    with pytest.raises(SystemExit):
        eval_net.main(arguments)
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

    stand_in = types.ModuleType("van_dense.api")
    stand_in.evaluate_run = evaluate_run
    monkeypatch.setitem(sys.modules, "van_dense.api", stand_in)
    return calls


def test_a_run_is_evaluated_into_its_own_folder(api, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    assert eval_net.main([str(run), "--checkpoint", "last", "seed=1", "eval.batch_size=2"]) == 0
    assert api == [
        {
            "run": run,
            "checkpoint": "last",
            "overrides": ["seed=1", "eval.batch_size=2"],
            "output": run / "eval" / "last",
        }
    ]
    printed = capsys.readouterr().out
    assert "25.0" in printed and "cat" in printed
    assert str(run / "eval" / "last" / "metrics.json") in printed


def test_a_run_is_evaluated_into_the_folder_asked_for(api, tmp_path):
    assert eval_net.main([str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    assert api[0]["output"] == tmp_path / "out"
    assert api[0]["checkpoint"] == "best"


def test_help_needs_no_torch():
    code = (
        "import sys, runpy; sys.argv = ['eval_net.py', '--help']\n"
        "try: runpy.run_path('tools/eval_net.py', run_name='__main__')\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "False", result.stderr
