"""The command that renames VAN weights."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

import van_dense  # noqa: F401  (registers VAN)
from van_dense.backbones.layouts import detect_layout
from van_dense.backbones.weights import read_state

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import convert_weights  # noqa: E402


@pytest.fixture
def official(tmp_path: Path) -> Path:
    path = tmp_path / "van.pth.tar"
    torch.save({"state_dict": timm.create_model("van_b0").state_dict()}, path)
    return path


def test_it_writes_the_layout_and_says_what_it_found(official: Path, tmp_path: Path) -> None:
    hub, back = tmp_path / "new" / "hub.safetensors", tmp_path / "back.pth"
    message = convert_weights.convert(str(official), hub, "transformers")
    assert "van_b0" in message and "official layout" in message and "fill 100.0 %" in message
    assert "van.encoder.stages.0.embeddings.convolution.weight" in load_file(hub)

    message = convert_weights.convert(str(hub), back, "mmpretrain")
    assert "transformers layout" in message
    state = read_state(back)
    assert detect_layout(state) == "mmpretrain"
    torch.testing.assert_close(
        state["head.fc.weight"], read_state(official)["head.weight"], rtol=0, atol=0
    )


def test_mistakes_end_with_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["convert_weights.py", "nothing.pth", str(tmp_path / "o.pth"), "--to", "official"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match=r"error: weights 'nothing\.pth' are neither a file"):
        convert_weights.main()
    with pytest.raises(SystemExit):
        convert_weights.parse_args(["a.pth", "b.bin", "--to", "mmseg"])
    assert "must end in .safetensors or .pth" in capsys.readouterr().err


def test_help_needs_no_torch() -> None:
    start = time.perf_counter()
    result = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "convert_weights.py"), "--help"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "--to" in result.stdout
    assert time.perf_counter() - start < 1.5
