"""VAN in Detectron2's own code base: registry, yacs and LazyConfig files, training scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.same_detections import assert_same_detections
from torch import nn

from van_dense.config.engine import has_detectron2

if not has_detectron2():
    pytest.skip("Detectron2 is not installed", allow_module_level=True)

from detectron2.config import LazyConfig, get_cfg, instantiate
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_model
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

from van_dense.config import load_config
from van_dense.core.structures import Batch
from van_dense.core.structures import Instances as OurInstances
from van_dense.integrations.checkpoints.detectron2 import to_detectron2
from van_dense.integrations.detectron2.builders import StridedLevels, VANBackbone
from van_dense.tasks import TASKS

PROJECTS = Path(__file__).resolve().parents[3] / "projects" / "detectron2"


def test_maps_of_a_plain_vit_are_those_of_the_simple_feature_pyramid() -> None:
    """Detectron2's, up to the 1x1 and 3x3 convolutions, which decoders here have, and its norm."""
    from detectron2.modeling.backbone.vit import SimpleFeaturePyramid

    from van_dense.backbones.pyramid import SimplePyramid, Source, Sources

    pyramid = SimplePyramid(Sources((Source(0, 16, 32),) * 4, 1.0, is_plain=True))

    class Net(Backbone):
        def output_shape(self):
            return {"last": ShapeSpec(channels=32, stride=16)}

        def forward(self, x):
            raise NotImplementedError

    net = Net()
    theirs = SimpleFeaturePyramid(net, "last", 256, (4.0, 2.0, 1.0, 0.5), norm="LN")
    x = torch.randn(1, 32, 8, 12)
    for ours, stage in zip(pyramid.levels, theirs.stages, strict=True):
        *resampling, norm = list(ours)
        stage = stage[: len(resampling)]
        stage.load_state_dict(nn.Sequential(*resampling).state_dict())
        torch.testing.assert_close(ours(x), norm(stage(x)), atol=1e-5, rtol=0)


def inputs() -> list[dict]:
    target = Instances((64, 96))
    target.gt_boxes = Boxes(torch.tensor([[8.0, 8.0, 60.0, 50.0]]))
    target.gt_classes = torch.tensor([3])
    mask = torch.zeros(1, 64, 96, dtype=torch.bool)
    mask[:, 8:50, 8:60] = True
    target.gt_masks = BitMasks(mask)
    image = torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)
    return [{"image": image, "instances": target, "height": 128, "width": 192}]


def assert_trains_and_predicts(model: torch.nn.Module) -> None:
    model.to("cpu").train()
    with EventStorage():
        losses = model(inputs())
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    with torch.no_grad():
        found = model.eval()(inputs())[0]["instances"]
    assert found.image_size == (128, 192)


def small_yacs(project: str):
    config = get_cfg()
    config.merge_from_file(str(PROJECTS / project))
    small = ["MODEL.VAN.NAME", "van_b0", "MODEL.VAN.WEIGHTS", "", "MODEL.FPN.OUT_CHANNELS", 32]
    config.merge_from_list([*small, "MODEL.DEVICE", "cpu"])
    return config


def test_the_yacs_project_trains_and_predicts():
    assert_trains_and_predicts(build_model(small_yacs("maskrcnn_van_b2_1x.yaml")))


def test_retinanet_of_yacs_has_p6_from_c5_and_no_relu():
    config = small_yacs("maskrcnn_van_b2_1x.yaml")
    levels = ["p3", "p4", "p5", "p6", "p7"]
    config.MODEL.META_ARCHITECTURE = "RetinaNet"
    config.MODEL.BACKBONE.NAME = "build_retinanet_van_fpn_backbone"
    config.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    config.MODEL.RETINANET.IN_FEATURES = levels
    model = build_model(config)
    assert list(model.backbone.output_shape()) == levels
    top = model.backbone.top_block
    assert top.in_feature == "res5"
    c5 = torch.randn(1, 256, 4, 6)
    p6, p7 = top(c5)
    assert torch.equal(p7, top.p7(p6)) and (p6 < 0).any()


def test_the_lazy_project_trains_and_predicts():
    config = LazyConfig.load(str(PROJECTS / "retinanet_van_b2_1x.py"))
    assert config.optimizer.lr == 1e-4 and config.model.input_format == "RGB"
    bottom_up = config.model.backbone.bottom_up
    assert bottom_up.weights == "van_b2_in1k"
    bottom_up.name, bottom_up.weights = "van_b0", None
    config.model.backbone.top_block.in_channels = 256
    model = instantiate(config.model)
    assert isinstance(model.backbone.top_block, StridedLevels)
    assert_trains_and_predicts(model)


def test_the_lazy_project_has_the_size_of_the_paper():
    config = LazyConfig.load(str(PROJECTS / "retinanet_van_b2_1x.py"))
    config.model.backbone.bottom_up.weights = None
    with torch.device("meta"):
        model = instantiate(config.model)
    assert sum(p.numel() for p in model.parameters()) == 36_315_444


def test_our_checkpoint_runs_in_a_model_that_is_all_detectron2s():
    torch.manual_seed(0)
    overrides = ["model.fpn.channels=32", "model.engine=torchvision"]
    config = load_config(PROJECTS.parent / "maskrcnn_van_b0.yaml", overrides)
    ours = TASKS["detection"].build_model(config, TASKS["detection"].dataset_info(config)).eval()
    with torch.no_grad():
        ours.box.class_logits.weight *= 40
    theirs = build_model(small_yacs("maskrcnn_van_b2_1x.yaml")).eval()
    theirs.load_state_dict(to_detectron2(ours.state_dict()))
    image = inputs()[0]["image"]
    with torch.no_grad():
        a = ours.predict(Batch(image[None], [(64, 96)], [(128, 192)], [1]))[0].instances
        b = theirs([{"image": image, "height": 128, "width": 192}])[0]["instances"]
    b = OurInstances(boxes=b.pred_boxes.tensor, labels=b.pred_classes, scores=b.scores)
    assert_same_detections(a, b)
    assert_same_detections(b, a)


def test_our_retinanet_gives_the_same_raw_outputs_in_detectron2s_model():
    torch.manual_seed(0)
    overrides = ["model.engine=torchvision"]
    config = load_config(PROJECTS.parent / "retinanet_van_b0.yaml", overrides)
    ours = TASKS["detection"].build_model(config, TASKS["detection"].dataset_info(config)).eval()
    lazy = LazyConfig.load(str(PROJECTS / "retinanet_van_b2_1x.py")).model
    lazy.backbone.bottom_up.name, lazy.backbone.bottom_up.weights = "van_b0", None
    lazy.backbone.top_block.in_channels = 256
    theirs = instantiate(lazy).eval()
    theirs.load_state_dict(to_detectron2(ours.state_dict()))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        logits, _ = ours.head(ours.fpn(ours.backbone(images)[1:]))
        maps = list(theirs.backbone(images).values())
        their_logits, _ = theirs.head(maps)
        anchors = theirs.anchor_generator(maps)
        our_anchors = ours.anchors(maps)
    for a, b, x, y in zip(logits, their_logits, our_anchors, anchors, strict=True):
        b = b.view(1, 9, 80, *b.shape[2:]).permute(0, 3, 4, 1, 2)  # size by size, then ratio
        cells = b.shape[1] * b.shape[2]
        b = b.reshape(cells, 3, 3, 80).transpose(1, 2).reshape(1, -1, 80)
        assert torch.allclose(a, b, atol=1e-4)
        y = y.tensor.view(cells, 3, 3, 4).transpose(1, 2).reshape(-1, 4)
        assert torch.allclose(x, y, atol=1e-3)


def test_the_backbone_alone_is_registered():
    backbone = BACKBONE_REGISTRY.get("build_van_backbone")(
        small_yacs("maskrcnn_van_b2_1x.yaml"), None
    )
    maps = backbone(torch.zeros(1, 3, 64, 96))
    for name, shape in backbone.output_shape().items():
        assert maps[name].shape == (1, shape.channels, 64 // shape.stride, 96 // shape.stride)


def test_an_unknown_map_is_named():
    with pytest.raises(ValueError, match="res6"):
        VANBackbone("van_b0", out_features=("res5", "res6"))


def test_a_script_that_does_not_know_us_finds_the_builders(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\n"
        "from detectron2.config import get_cfg\n"
        "cfg = get_cfg()\n"
        "cfg.merge_from_file(sys.argv[1])\n"
        "print(__name__, cfg.MODEL.VAN.WEIGHTS)\n"
    )
    launcher = [sys.executable, "-m", "van_dense.integrations.detectron2.run_script"]
    project = str(PROJECTS / "maskrcnn_van_b2_1x.yaml")
    done = subprocess.run([*launcher, str(script), project], capture_output=True, text=True)
    assert done.stdout.split() == ["__main__", "van_b2_in1k"], done.stderr
    assert subprocess.run(launcher, capture_output=True).returncode == 1


def test_the_processes_that_a_script_starts_find_the_builders_too(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from detectron2.config import get_cfg\n"
        "from detectron2.engine import launch\n"
        "from detectron2.utils import comm\n"
        "def main(path, folder):\n"
        "    cfg = get_cfg()\n"
        "    cfg.merge_from_file(path)\n"
        "    (folder / f'{comm.get_rank()}.txt').write_text(cfg.MODEL.VAN.WEIGHTS)\n"
        "if __name__ == '__main__':\n"
        "    launch(main, 2, dist_url='auto', args=(sys.argv[1], Path(sys.argv[2])))\n"
    )
    launcher = [sys.executable, "-m", "van_dense.integrations.detectron2.run_script"]
    project = str(PROJECTS / "maskrcnn_van_b2_1x.yaml")
    command = [*launcher, str(script), project, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    found = {path.name: path.read_text() for path in tmp_path.glob("?.txt")}
    assert found == dict.fromkeys(("0.txt", "1.txt"), "van_b2_in1k"), done.stderr
