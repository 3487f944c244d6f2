"""tools/benchmark.py measures and writes JSON; no test looks at a time."""

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from helpers.defaults import build_backbone
from PIL import Image
from torch import Tensor, nn

from benchmarks.harness import draw, evaluation, loader, panoptic, predict, trainer, yolo
from benchmarks.harness import measure as benchmark
from benchmarks.harness.backbone import largest_difference, measure_backbone
from benchmarks.harness.clock import compare, peak_bytes, time_in_turn
from benchmarks.harness.eager_van import EagerVAN
from benchmarks.harness.loader import measure_loader
from benchmarks.harness.machine import shareable_command
from van_dense.config import load_config
from van_dense.core.seeding import Streams
from van_dense.core.structures import Batch, Sample
from van_dense.data.io.image import read_reduced
from van_dense.data.loader import LoaderPlan
from van_dense.data.sample.sample_data import write_sample_data
from van_dense.engine.job import Job, TrainResult
from van_dense.engine.trainer import train

ROOT = Path(__file__).resolve().parents[2]

torch.set_num_threads(1)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A tiny detector on eight images."""
    root = tmp_path_factory.mktemp("data") / "sample"
    write_sample_data(root, train_images=8, val_images=2, size=64, seed=3)
    return [
        "--config",
        str(ROOT / "projects" / "quickstart.yaml"),
        f"data.sample={{train_images: 8, val_images: 2, size: 64, seed: 3, root: {root}}}",
        f"data.train.images={root}/train2017",
        f"data.train.annotations={root}/annotations/instances_train2017.json",
        f"data.val.images={root}/val2017",
        f"data.val.annotations={root}/annotations/instances_val2017.json",
        "data.transforms={short_sides: [64], test_short_side: 64, max_long_side: 112}",
        "data.workers=0",
        "model.fpn.channels=16",
        "train.batch_size=2",
    ]


@pytest.fixture
def small_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the section "evaluation" generate few and small maps."""
    small = {"LABEL_MAPS": 3, "SALIENCY_MAPS": 2, "MEMORY_IMAGES": (2, 4), "NUM_CLASSES": 5}
    for name, value in {**small, "LABEL_MAP_SIZE": (24, 32), "SALIENCY_SIZE": (30, 40)}.items():
        monkeypatch.setattr(evaluation, name, value)


@pytest.fixture
def small_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the section "predict" generate few and small photos."""
    for name, value in {"IMAGES": 3, "SIZE": (48, 64), "OBJECTS": 2, "SECONDS": 0.001}.items():
        monkeypatch.setattr(predict, name, value)


@pytest.fixture
def small_panoptic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the section "panoptic" generate few and small images."""
    monkeypatch.setattr(panoptic, "IMAGES", 10)
    monkeypatch.setattr(panoptic, "SIZE", (48, 64))


@pytest.fixture
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the section "draw" draw over a small picture."""
    monkeypatch.setattr(draw, "SIZE", (180, 320))


@pytest.fixture
def small_yolo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the section "yolo" generate few and small images."""
    monkeypatch.setattr(yolo, "IMAGES", 4)
    monkeypatch.setattr(yolo, "SIZE", (48, 64))


@pytest.mark.slow
@pytest.mark.usefixtures(
    "small_maps", "small_folder", "small_panoptic", "small_yolo", "small_pictures"
)
def test_one_run_measures_everything_and_writes_it(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(panoptic, "_peaks", lambda files, counts: {})  # below, and it takes long
    # In test_deploy_benchmark.py, where its optional packages are asked for.
    monkeypatch.setattr("benchmarks.harness.deploy.measure_deploy", lambda **_: {})
    output = tmp_path / "results" / "x.json"
    extra = ["--repeats", "1", "--batch", "1", "--size", "32", "64", "--images", "20"]
    extra += ["--output", str(output)]
    assert benchmark.main([*arguments, *extra]) == 0
    assert f"results: {output}" in capsys.readouterr().out
    result = json.loads(output.read_text())
    assert list(result) == ["machine", "command", *benchmark.SECTIONS]
    assert {"cpu", "cores", "gpu", "torch", "timm"} <= set(result["machine"])
    assert str(tmp_path.parent) not in output.read_text()

    alone = result["loader"]["one_process"]
    stages = {"decode", "annotations", "transform", "collate", "decode_in_full"}
    assert set(alone["ms_per_image"]) == stages
    assert alone["images_read_at_reduced_scale"] == 0
    assert alone["images_per_s"]["median"] > alone["images_per_s_with_collate"]["median"] > 0
    assert result["loader"]["through_workers"]["workers"] == 0
    assert result["loader"]["annotations"] == ["boxes", "masks"]
    assert min(result["loader"]["input_size"]) == 64

    assert result["trainer"]["bare_ms_per_step"]["median"] > 0
    for name in ("overhead_percent", "overhead_percent_of_cpu_time"):
        assert set(result["trainer"][name]) == {"median", "quartile_1", "quartile_3"}

    backbone = result["backbone"]
    assert (backbone["batch"], backbone["size"]) == (1, [32, 64])
    assert set(backbone["forward"]) == {"eager", "contiguous", "channels_last"}
    assert set(backbone["train_step"]) == {*backbone["forward"], "checkpointing"}
    assert backbone["train_step"]["eager"]["speedup"]["median"] == 1.0
    assert set(backbone["peak_mb_forward"]) == set(backbone["forward"])
    assert set(backbone["peak_mb_train_step"]) == set(backbone["train_step"])


@pytest.mark.slow
@pytest.mark.usefixtures("small_maps")
def test_evaluation_is_measured_without_a_config(tmp_path):
    words = ["evaluation", "--repeats", "1", "--images", "60"]
    output = tmp_path / "x.json"
    assert benchmark.main([*words, "--output", str(output)]) == 0
    result = json.loads(output.read_text())["evaluation"]
    for kind in ("bbox", "segm", "keypoints"):
        assert result["coco"][kind]["command"]["times_as_fast_by_cpu_s"] > 0
    assert result["coco"]["segm"]["evaluate_and_accumulate"]["evaluate_times_as_fast_by_cpu_s"] > 1
    plain = {"semantic": "numpy_masks", "saliency": "pysodmetrics"}
    for task, baseline in plain.items():
        assert result[task]["speed"][baseline]["speedup"]["median"] == 1.0
        assert result[task]["speed"]["ours"]["images_per_s"] > 0
        assert set(result[task]["peak_mb"]) == {"2_images", "4_images"}


@pytest.mark.slow
@pytest.mark.usefixtures("small_yolo")
def test_the_setup_of_a_yolo_folder_is_measured_without_a_config(tmp_path):
    output = tmp_path / "x.json"
    assert benchmark.main(["yolo", "--repeats", "1", "--output", str(output)]) == 0
    result = json.loads(output.read_text())["yolo"]
    assert result["boxes"]["speedup"]["median"] > 0 and result["polygons"]["seconds"]


@pytest.mark.usefixtures("small_panoptic")
def test_panoptic_quality_is_measured_without_a_config(tmp_path):
    output = tmp_path / "x.json"
    assert benchmark.main(["panoptic", "--repeats", "1", "--output", str(output)]) == 0
    result = json.loads(output.read_text())["panoptic"]
    assert result["speed"]["numpy_masks_one_core"]["speedup"]["median"] == 1.0
    assert set(result["seconds"]) == set(result["speed"])
    assert result["speed"]["ours"]["images_per_s"] > 0 and result["images"] == 10
    if sys.platform == "linux":
        assert set(result["peak_rss_mb"]) == {"imports_alone", "1_images", "10_images"}


@pytest.mark.usefixtures("small_panoptic")
@pytest.mark.parametrize("baseline", ["pq_by_masks", "pq_by_pairs"])
def test_panoptic_qualities_that_differ_are_not_compared(baseline, monkeypatch):
    right = getattr(panoptic, baseline)
    monkeypatch.setattr(panoptic, baseline, lambda found, truth: right(truth, truth))
    with pytest.raises(RuntimeError, match="the programs differ by more than 1e-09 in a class"):
        panoptic.measure_panoptic(rounds=1)


def test_generated_panoptic_predictions_are_neither_perfect_nor_all_wrong(tmp_path):
    files = panoptic.make_files(tmp_path, 8)
    iou, matched, wrong, missed = sum(panoptic.pq_by_pairs(*files).values())
    assert 0.7 < iou / matched < 0.99
    assert matched > wrong > 4 and matched > missed > 4


def test_drawing_is_measured_without_a_config(tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "SIZE", (48, 64))
    monkeypatch.setattr(draw, "OBJECTS", (3,))
    output = tmp_path / "x.json"
    assert benchmark.main(["draw", "--repeats", "1", "--output", str(output)]) == 0
    result = json.loads(output.read_text())["draw"]
    for what in ("3_instances", "label_map", "panoptic"):
        assert result[what]["plain"]["speedup"]["median"] == 1.0
        assert result[what]["ours"]["images_per_s"] > 0


@pytest.mark.usefixtures("small_folder")
def test_predicting_a_folder_is_measured_without_a_config(tmp_path):
    output = tmp_path / "x.json"
    assert benchmark.main(["predict", "--repeats", "2", "--output", str(output)]) == 0
    result = json.loads(output.read_text())["predict"]
    assert result["images"] == 3
    for way in ("plain", "ours"):
        assert 0 < result["model_at_work"][way]["median"] < 1


@pytest.mark.parametrize("make", [draw.make_map, draw.make_panoptic])
def test_generated_pictures_hold_many_regions(make):
    found = make((90, 160))
    photo = np.zeros((90, 160, 3), np.uint8)
    values = found.panoptic if found.semantic is None else found.semantic
    assert len(np.unique(values)) > 60
    assert len(np.unique(draw.draw_plainly(photo, found).reshape(-1, 3), axis=0)) > 60


@pytest.mark.usefixtures("small_maps")
@pytest.mark.parametrize("baseline", ["iou_by_masks", "measures_by_pysod"])
def test_evaluations_that_differ_are_not_compared(baseline, monkeypatch):
    right = getattr(evaluation, baseline)

    def wrong(pairs):
        return right([(np.zeros_like(truth), found) for truth, found in pairs])

    monkeypatch.setattr(evaluation, baseline, wrong)
    with pytest.raises(RuntimeError, match="speeds of different functions say nothing"):
        evaluation.measure_evaluation(rounds=1)


@pytest.mark.usefixtures("small_maps")
def test_the_memory_of_maps_that_are_kept_would_be_seen(monkeypatch):
    """32 MB for each image more, where ours holds the same for two images and for four."""
    kept = []

    def evaluate(count):
        kept.extend(np.ones(4_000_000) for _ in range(count))
        return evaluation._evaluate_labels(evaluation.make_label_maps((24, 32)), count)

    peaks = evaluation._peak_mb(evaluate)
    assert peaks["4_images"] - peaks["2_images"] == pytest.approx(64, abs=1)
    ours = evaluation.measure_evaluation(rounds=1)
    for task in ("semantic", "saliency"):
        assert ours[task]["peak_mb"]["4_images"] <= ours[task]["peak_mb"]["2_images"] + 0.1


def test_generated_maps_are_neither_trivial_nor_perfect():
    for truth, found in evaluation.make_label_maps((128, 171)):
        assert len(np.unique(truth)) > 20 and 0.6 < np.mean(truth == found) < 0.99
    for truth, found in evaluation.make_saliency_maps((60, 80)):
        assert 0.02 < np.mean(truth == 255) < 0.8 and found.min() >= 0 and found.max() <= 1
        assert len(np.unique(found)) > 100


def test_sections_are_chosen_by_name(arguments, tmp_path):
    output = tmp_path / "x.json"
    extra = ["loader", "--repeats", "1", "--output", str(output)]
    assert benchmark.main([*arguments, *extra]) == 0
    assert list(json.loads(output.read_text())) == ["machine", "command", "loader"]


@pytest.mark.parametrize(
    ("project", "annotation"),
    [("semfpn_van_b0", "semantic"), ("saliency_van_b1", "saliency")],
)
def test_the_loader_of_map_tasks_is_measured_as_well(project, annotation, tmp_path):
    sample = {"train_images": 4, "val_images": 1, "size": 64, "seed": 3, "root": f"{tmp_path}/data"}
    geometry = {"semantic": "{crop: [64, 64]}", "saliency": "{size: [64, 64]}"}[annotation]
    overrides = [
        *(f"data.sample.{key}={value}" for key, value in sample.items()),
        f"data.transforms={geometry}",
        "data.workers=0",
    ]
    folders = {
        "semantic": ("ade/images/training", "ade/annotations/training"),
        "saliency": ("duts/DUTS-TR/DUTS-TR-Image", "duts/DUTS-TR/DUTS-TR-Mask"),
    }
    images, masks = (tmp_path / "data" / folder for folder in folders[annotation])
    overrides += [f"data.train.images={images}", f"data.train.masks={masks}"]
    config = load_config(ROOT / "projects" / f"{project}.yaml", overrides, sample=True)
    result = measure_loader(config, rounds=1)
    assert result["annotations"] == [annotation]
    assert result["images"] == 4 and result["input_size"] == (64, 64)
    assert result["one_process"]["images_per_s_with_collate"]["median"] > 0
    assert result["through_workers"]["images_per_s_of_a_worker"]["median"] > 0


@pytest.mark.parametrize(
    ("project", "annotations", "size"),
    [
        ("pose_van_b0_256x192", ["boxes", "keypoints"], (96, 64)),
        ("classify_van_b0_in1k", ["label"], (48, 48)),
    ],
)
def test_the_loader_of_persons_and_classes_is_measured_as_well(
    project, annotations, size, tmp_path
):
    root = tmp_path / "data"
    sample = {"train_images": 4, "val_images": 1, "size": 64, "seed": 3, "root": f"{root}"}
    overrides = [*(f"data.sample.{k}={v}" for k, v in sample.items()), "data.workers=0"]
    if annotations == ["label"]:
        overrides += [f"data.{part}={root}/classes/{part}" for part in ("train", "val")]
        overrides += ["data.transforms={size: 48, resize: 56}", "train.batch_size=2"]
    else:
        names = f"{root}/annotations/person_keypoints_train2017.json"
        overrides += [f"data.train.images={root}/train2017", f"data.train.annotations={names}"]
        overrides += ["data.transforms={size: [96, 64]}", "train.batch_size=2"]
    config = load_config(ROOT / "projects" / f"{project}.yaml", overrides, sample=True)
    result = measure_loader(config, rounds=1)
    assert result["annotations"] == annotations
    assert result["images"] >= 4 and result["input_size"] == size
    assert result["one_process"]["images_per_s"]["median"] > 0


def test_files_read_at_a_reduced_scale_are_decoded_as_they_were_read_and_in_full(
    tmp_path, monkeypatch
):
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (400, 301)).save(path)
    decoded = []
    monkeypatch.setattr(loader, "read_reduced", lambda _, factor: decoded.append(factor))
    monkeypatch.setattr(loader, "read_image", lambda _: decoded.append("in full"))

    class Persons:
        """Every second image is read at a quarter of its size."""

        def __len__(self):
            return 4

        def raw(self, index):
            image, size, _ = read_reduced(path, (1, 4)[index % 2])
            return Sample(image, index, str(path), size, label=0)

    def small(sample, rng):
        return replace(sample, image=sample.image[:32, :32])

    result = loader._in_process(
        Persons(), small, LoaderPlan(2, 2, 0, Streams(0), 32, True, 0.0), rounds=1
    )
    assert result["images_read_at_reduced_scale"] == 0.5
    assert decoded == [1, 4, "in full"] * 4  # two pairs, and once more to warm up


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(800, 601), (33, 97), (64, 64)])
def test_the_reduction_of_an_image_is_told_by_its_sizes(factor, size):
    reduced = np.zeros((-(-size[0] // factor), -(-size[1] // factor), 3), np.uint8)
    assert loader.reduction(Sample(reduced, 0, "x.jpg", size)) == factor


@pytest.mark.skipif(torch.cuda.is_available(), reason="turns of several steps draw other numbers")
def test_the_bare_loop_does_the_same_work_as_the_trainer(arguments, monkeypatch):
    """After any number of steps both models have the same weights, bit for bit."""
    weights: dict[str, list[dict[str, Tensor]]] = {"bare": [], "trainer": []}

    def remember(name: str, model: nn.Module) -> None:
        weights[name].append(copy.deepcopy(model.state_dict()))

    bare_step = trainer.BareLoop.step

    def step(self: trainer.BareLoop, batch: Batch) -> None:
        bare_step(self, batch)
        remember("bare", self.model)

    def train_and_remember(job: Job, accelerator: Accelerator) -> TrainResult:
        def batches() -> Iterator[Batch]:
            for number, batch in enumerate(job.make_loader(0, job.streams)):
                if number > 0:
                    remember("trainer", job.model)
                yield batch

        return train(replace(job, make_loader=lambda *_: batches()), accelerator)

    monkeypatch.setattr(trainer.BareLoop, "step", step)
    monkeypatch.setattr(trainer, "train", train_and_remember)
    config = load_config(arguments[1], arguments[2:])
    trainer.measure_trainer(config, precision="fp32", rounds=1)
    assert len(weights["bare"]) == len(weights["trainer"]) == 2 * trainer.BLOCK
    for bare, ours in zip(weights["bare"], weights["trainer"], strict=True):
        assert all(torch.equal(value, ours[name]) for name, value in bare.items())


def test_an_interrupted_training_is_no_measurement(arguments, monkeypatch):
    stopped = TrainResult(step=1, metrics={}, interrupted=True)
    monkeypatch.setattr(trainer, "train", lambda job, accelerator: stopped)
    with pytest.raises(RuntimeError, match="a signal ended the training before it was measured"):
        trainer.measure_trainer(
            load_config(arguments[1], arguments[2:]), precision="fp32", rounds=1
        )


def test_ours_and_the_eager_definition_are_one_function_with_one_gradient():
    torch.manual_seed(0)
    ours = build_backbone("van_b0", options={"norm_eps": 1e-6})
    for parameter in ours.parameters():  # so that no scale, shift or bias is 0 or 1
        torch.nn.init.normal_(parameter, mean=0.05, std=0.1)
    dims, depths = (32, 64, 160, 256), (3, 3, 5, 2)
    eager = EagerVAN(dims, depths, norm_eps=1e-6)
    eager.load_state_dict(ours.body.state_dict())
    assert largest_difference(eager, ours) < 1e-4

    image = torch.randn(2, 3, 64, 32)
    gradients = []
    for model in (eager, ours):
        maps = model.train()(image)
        sum((level * level.detach().cos()).sum() for level in maps).backward()
        body = getattr(model, "body", model)
        gradients.append({name: p.grad for name, p in body.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-3, msg=name)


def test_definitions_that_differ_are_not_compared(monkeypatch):
    monkeypatch.setattr("benchmarks.harness.backbone.TOLERANCE", -1.0)
    with pytest.raises(RuntimeError, match="speeds of different functions say nothing"):
        measure_backbone("van_b0", batch=1, size=(32, 32), precision="fp32", rounds=1)


def test_a_backbone_without_eager_definition_is_refused(arguments, tmp_path, capsys):
    extra = ["backbone", "--output", str(tmp_path / "x.json"), "model.backbone.name=resnet18"]
    assert benchmark.main([*arguments, *extra]) == 1
    assert "the eager definition is one of VAN, not of 'resnet18'" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [(["loder"], "no section ['loder']"), (["--repeats", "0"], "must be at least 1")],
)
def test_wrong_arguments_are_explained(arguments, extra, message, capsys):
    with pytest.raises(SystemExit):
        benchmark.main([*arguments, "--output", "x.json", *extra])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["loader"], ["evaluation", "seed=1"]])
def test_a_config_is_asked_for_where_one_is_needed(words, capsys):
    with pytest.raises(SystemExit):
        benchmark.main([*words, "--output", "x.json"])
    assert "give --config" in capsys.readouterr().err


def test_missing_data_are_named_before_anything_is_measured(tmp_path, capsys):
    config = str(ROOT / "projects" / "maskrcnn_van_b0.yaml")
    missing = f"data.train.images={tmp_path}/nowhere"
    assert benchmark.main(["--config", config, missing, "--output", "x.json"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = (
        "import sys, runpy; sys.argv = ['benchmark.py', '--help']\n"
        "try: runpy.run_path('tools/benchmark.py', run_name='__main__')\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "False", result.stderr


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("data.train.images=/home/me/coco/train2017", "data.train.images=coco/train2017"),
        ("--output=../../private/a/b.json", "--output=a/b.json"),
        ("~/x/y.yaml", "x/y.yaml"),
        ("projects/maskrcnn_van_b0.yaml", "projects/maskrcnn_van_b0.yaml"),
        ("data.val={images: /a/b/c}", "'data.val={images: b/c}'"),
        ("/x.json", "x.json"),
    ],
)
def test_a_recorded_command_holds_no_path_of_the_machine(argument, shown):
    assert shareable_command([argument]) == f"python tools/benchmark.py {shown}"


def test_calls_take_turns_and_the_first_round_is_not_counted():
    order: list[str] = []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    seconds = time_in_turn(calls, rounds=9, device=CPU)
    rounds = ["".join(order[i : i + 2]) for i in range(0, 20, 2)]
    assert set(rounds) == {"ab", "ba"}
    assert [len(values) for values in seconds.values()] == [9, 9]


def test_the_speedup_is_the_median_of_the_ratios_of_each_round():
    seconds = {"slow": [1.0, 2.0, 90.0], "fast": [0.5, 0.5, 30.0]}  # the machine was busy at last
    result = compare(seconds, "slow", images=4)
    assert result["fast"]["speedup"] == {"median": 3.0, "quartile_1": 2.5, "quartile_3": 3.5}
    assert result["fast"]["images_per_s"] == 8.0
    assert result["slow"]["speedup"]["median"] == 1.0


def test_peak_bytes_count_what_lives_at_one_time_and_views_only_once():
    def call():
        a = torch.zeros(1000)  # 4000 bytes
        b = a + 1  # 8000
        del a
        c = b.view(10, 100).t()  # a view: 4000
        d = torch.zeros(500, dtype=torch.uint8)  # 4500
        return c, d

    assert peak_bytes(call, CPU) == 8000


def test_peak_bytes_leave_out_what_was_there_before():
    x = torch.zeros(1000)
    assert peak_bytes(lambda: x[:500].detach().add_(1), CPU) == 0


def test_checkpointing_lowers_the_peak_of_a_training_step():
    ours = build_backbone("van_b0")
    image = torch.randn(1, 3, 128, 128)

    def step():
        ours.zero_grad()
        sum(level.square().sum() for level in ours(image)).backward()

    step()
    stored = peak_bytes(step, CPU)
    ours.body.set_grad_checkpointing(True)
    gradients = sum(4 * parameter.numel() for parameter in ours.parameters())
    assert peak_bytes(step, CPU) - gradients < 0.6 * (stored - gradients)


def test_peak_bytes_follow_the_backward_pass():
    x = torch.zeros(250, requires_grad=True)  # made before, not counted

    def call():
        x.grad = None
        x.exp().exp().sum().backward()  # keeps both results; each gradient is one more

    assert peak_bytes(call, CPU) >= 3 * 1000
    assert np.isclose(x.grad[0].item(), np.e, rtol=1e-5)
