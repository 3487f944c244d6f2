"""benchmarks/curves_beside.py draws runs of any length, and any rhythm of evaluation, together."""

import json

from PIL import Image

from benchmarks import curves_beside


def _run(folder, losses, metrics):
    folder.mkdir()
    entries = [{"kind": "train", "step": 10 * i, "loss": x} for i, x in enumerate(losses)]
    entries += [
        {"kind": "eval", "step": 10 * i, "metrics": {"semantic/mIoU": x}}
        for i, x in enumerate(metrics)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return str(folder)


def test_two_runs_share_one_picture(tmp_path):
    runs = [
        _run(tmp_path / "a", [3.0, 2.0], [0.1, 0.2]),
        _run(tmp_path / "b", [3.0] * 20, [0.3]),
    ]
    output = tmp_path / "curves.png"
    assert curves_beside.main([*runs, "--output", str(output)]) == 0
    with Image.open(output) as picture:
        assert picture.size == (900, 360)
