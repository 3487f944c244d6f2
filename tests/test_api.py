"""The public names and what they promise, without training anything."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import van_dense
from van_dense.api import Loaded
from van_dense.core.structures import Instances, Prediction
from van_dense.data.dataset import ReadError
from van_dense.data.readers.coco_json import coco_info
from van_dense.engine.checkpoint import choose_checkpoint, save_checkpoint

PROJECTS = Path(__file__).resolve().parents[1] / "projects"
SMALL = [
    "model.fpn.channels=16",
    "data.transforms.test_short_side=64",
    "model.engine=torchvision",
]


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    config = van_dense.load_config(PROJECTS / "retinanet_van_b0.yaml", SMALL)
    model = van_dense.build_model(config).eval()
    return Loaded(model, config, coco_info(), 0, torch.device("cpu"))


def test_importing_the_package_imports_neither_torch_nor_timm():
    code = "import van_dense, sys; print('torch' in sys.modules, 'timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        van_dense.lode  # noqa: B018


def test_a_model_is_built_for_the_80_classes_of_coco_unless_told_otherwise(loaded):
    assert loaded.model.head.num_classes == 80


def test_paths_and_arrays_are_predicted_in_their_own_pixels(loaded, tmp_path):
    from PIL import Image

    path = tmp_path / "grey.png"
    Image.fromarray(np.zeros((40, 30), dtype=np.uint8)).save(path)
    results = loaded.predict([path, np.zeros((20, 50, 3), dtype=np.uint8)])
    assert [r.size for r in results] == [(40, 30), (20, 50)]
    assert [r.image_id for r in results] == [str(path), "image 1"]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((20, 50), dtype=np.uint8),
        np.zeros((20, 50, 4), dtype=np.uint8),
        np.zeros((20, 50, 3), dtype=np.float32),
        np.zeros((0, 50, 3), dtype=np.uint8),
    ],
)
def test_arrays_that_are_no_rgb_image_are_refused(loaded, image):
    with pytest.raises(ValueError, match="expected uint8"):
        loaded.predict(image)


@pytest.fixture(scope="module")
def finder() -> Loaded:
    """Finds something everywhere, in images of any size."""
    config = van_dense.load_config(
        PROJECTS / "retinanet_van_b0.yaml", [*SMALL, "model.head.score_threshold=0.0"]
    )
    torch.manual_seed(0)
    model = van_dense.build_model(config).eval()
    return Loaded(model, config, coco_info(), 0, torch.device("cpu"))


def noise(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in sizes]


def test_folders_patterns_files_arrays_and_pillow_images_are_sources(loaded, tmp_path):
    from PIL import Image

    (array,) = noise((40, 30))
    for name in ("a.png", "inner/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(array).save(tmp_path / name)
    a, b = str(tmp_path / "a.png"), str(tmp_path / "inner/b.png")
    pillow = Image.fromarray(array)
    results = loaded.predict([tmp_path, f"{tmp_path}/*.png", a, array, pillow])
    assert [result.image_id for result in results] == [a, b, a, a, "image 4", "image 5"]
    assert [result.image_id for result in loaded.predict(tmp_path)] == [a, b]
    assert [result.image_id for result in loaded.predict(pillow)] == ["image 0"]
    assert loaded.predict([]) == []


def test_what_is_found_depends_neither_on_the_batch_nor_on_its_other_images(finder):
    images = noise((40, 30), (30, 40), (40, 30), (30, 40), (40, 30), (50, 64))
    together = finder.predict(images, batch_size=3)
    assert [result.size for result in together] == [image.shape[:2] for image in images]
    for image, result in zip(images, together, strict=True):
        alone = finder.predict(image)[0].instances
        assert len(alone) == len(result.instances) > 0
        assert torch.allclose(alone.scores, result.instances.scores, atol=1e-5)
        assert torch.allclose(alone.boxes, result.instances.boxes, atol=1e-2)


def test_a_stream_yields_the_errors_of_unreadable_files_and_predict_raises_them(loaded, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"broken")
    (image,) = noise((20, 20))
    found = list(loaded.stream([image, tmp_path / "broken.png", image], batch_size=2))
    assert [isinstance(one, ReadError) for one in found] == [False, True, False]
    assert found[2].image_id == "image 2"
    with pytest.raises(ReadError, match=r"broken.png: not an image"):
        loaded.predict([image, tmp_path / "broken.png"])


def test_a_stream_takes_an_endless_iterator_as_it_goes(loaded):
    (image,) = noise((20, 20))
    results = loaded.stream(itertools.repeat(image), batch_size=2)
    assert [next(results).image_id for _ in range(3)] == ["image 0", "image 1", "image 2"]
    results.close()


def test_mistakes_of_a_stream_are_raised_at_once(loaded):
    (image,) = noise((20, 20))
    with pytest.raises(ValueError, match="batch_size is 0"):
        loaded.stream(image, batch_size=0)
    with pytest.raises(ValueError, match="precision is 'int4'"):
        loaded.stream(image, precision="int4")


def test_a_model_in_training_mode_predicts_as_in_evaluation_mode(loaded, caplog):
    (image,) = noise((40, 30))
    (expected,) = loaded.predict(image)
    loaded.model.train()
    (result,) = loaded.predict(image)
    assert "it predicts in evaluation mode" in caplog.text and not loaded.model.training
    assert torch.equal(result.instances.scores, expected.instances.scores)


def test_results_can_be_compared_and_kept_in_sets(loaded):
    (image,) = noise((20, 20))
    (one,), (other,) = loaded.predict(image), loaded.predict(image)
    assert one == one and one != other and len({one, other, one}) == 2
    assert one.instances == one.instances and one.instances != other.instances


def test_results_know_classes_source_and_the_usual_score(loaded):
    (image,) = noise((20, 20))
    (result,) = loaded.predict(image)
    assert result.info is loaded.info and result.source is image
    assert result.min_score == loaded.config.eval.picture_score
    assert result.to_coco() is not None and result.plot().size == (640, 640)


def test_something_else_may_predict_each_image(loaded):
    image = noise((20, 30))[0]

    def predict_image(pixels: np.ndarray) -> Prediction:
        assert pixels is image  # untransformed
        return Prediction("", pixels.shape[:2], Instances.empty())

    (result,) = loaded.stream(image, predict_image=predict_image)
    assert (result.image_id, result.size, len(result.instances)) == ("image 0", (20, 30), 0)


def test_autocast_changes_little_and_fp16_needs_a_gpu(finder):
    images = noise((40, 30))
    (exact,), (rough,) = finder.predict(images), finder.predict(images, precision="bf16")
    assert float(exact.instances.scores[0]) == pytest.approx(
        float(rough.instances.scores[0]), abs=0.05
    )
    with pytest.raises(ValueError, match="fp16 needs a GPU"):
        finder.predict(images, precision="fp16")
    with pytest.raises(ValueError, match="batch_size is 0"):
        finder.predict(images, batch_size=0)


def test_a_missing_file_is_named(loaded):
    with pytest.raises(ValueError, match="nowhere"):
        loaded.predict("nowhere.jpg")


def test_a_folder_without_checkpoints_is_named(tmp_path):
    with pytest.raises(ValueError, match="is it a run folder"):
        choose_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="give best, last or a file"):
        choose_checkpoint(tmp_path, "newest")


def test_a_run_of_a_missing_engine_is_loaded_on_the_other_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = van_dense.load_config(
        PROJECTS / "retinanet_van_b0.yaml",
        ["model.engine=torchvision", "model.fpn.channels=8"],
    )
    model = van_dense.build_model(config)
    stored = config.model_dump(mode="json")
    stored["model"]["engine"] = "detectron2"
    info = coco_info().to_dict()
    content = {"step": 0, "model": model.state_dict(), "ema": None, "info": info}
    save_checkpoint(tmp_path / "a.pt", {**content, "config": stored})
    for module in ("van_dense.inference.load", "van_dense.config.engine"):
        monkeypatch.setattr(f"{module}.has_detectron2", lambda: False)
    assert van_dense.load(tmp_path / "a.pt").config.model.engine == "torchvision"
    with pytest.raises(ValueError, match="Detectron2 is not installed"):
        van_dense.load(tmp_path / "a.pt", overrides=["model.engine=detectron2"])


def test_a_loaded_run_describes_itself_in_one_line(loaded):
    assert repr(loaded) == "Loaded(detection on van_b0, 80 classes of 'coco', step 0, cpu)"
