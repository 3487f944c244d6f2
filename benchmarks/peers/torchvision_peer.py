"""torchvision's reference recipe for detection (references/detection of pytorch/vision), shortened.

Of the reference are: SGD with momentum 0.9 and weight decay 1e-4, a learning rate of 0.02 for
Faster and Mask R-CNN and 0.01 for RetinaNet at 16 images a step, brought to the 2 images of one
device as its head says; 26 epochs with drops to a tenth after 16 and 22, here as fractions of the
run, and a linear warm-up over the first epoch, of 1,000 steps at most; flips; frozen BatchNorm and
a frozen first stage, as its builders do with pretrained backbones; batches of one orientation do
not matter for these sets.

Ours are: the backbone, so that all start from the same weights, images at their own size, and that
the warm-up is at most a third of the run: a 26th of so few steps ended in a loss of NaN.
``torchvision-retinanet`` is RetinaNet in place of Faster R-CNN, ``torchvision-320`` sees smaller
images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import timm
import timm.layers
import torch
from PIL import Image
from pycocotools import mask as mask_utils
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.retinanet import AnchorGenerator, RetinaNetHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7
from torchvision.transforms.functional import hflip, to_tensor

from benchmarks.peers.backbone import fill
from benchmarks.peers.jobs import Job, Meter

BATCH = 2


# user: begin
class Photos(torch.utils.data.Dataset):
    """Images with targets as torchvision's detectors take them."""

    def __init__(self, folder: str, coco: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.entries: dict[int, list[Any]] = {image["id"]: [] for image in coco["images"]}
        for entry in coco["annotations"]:
            self.entries[entry["image_id"]].append(entry)
        self.images = [image for image in coco["images"] if self.entries[image["id"]]]
        ids = sorted(category["id"] for category in coco["categories"])
        self.label = {id_: number for number, id_ in enumerate(ids, 1)}  # 0 is background

    def __len__(self) -> int:
        """Images with objects."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Image float (3, H, W) in 0..1, and its target."""
        image = self.images[index]
        pixels = to_tensor(Image.open(self.folder / image["file_name"]).convert("RGB"))
        entries = self.entries[image["id"]]
        boxes = torch.tensor([entry["bbox"] for entry in entries], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        target = {"boxes": boxes}
        target["labels"] = torch.tensor([self.label[entry["category_id"]] for entry in entries])
        if "segmentation" in entries[0]:
            masks = np.stack([mask_utils.decode(entry["segmentation"]) for entry in entries])
            target["masks"] = torch.from_numpy(masks)
        if torch.rand(()) < 0.5:
            pixels = hflip(pixels)
            boxes[:, [0, 2]] = pixels.shape[2] - boxes[:, [2, 0]]
            if "masks" in target:
                target["masks"] = target["masks"].flip(-1)
        return pixels, target


class Pyramid(torch.nn.Module):
    """Backbone of timm with frozen BatchNorm and first stage, and a feature pyramid."""

    def __init__(self, name: str, weights: str, levels: tuple[int, ...], extra: Any) -> None:
        super().__init__()
        self.body = timm.create_model(name, features_only=True, out_indices=levels)
        if weights:
            fill(self.body, weights)
        self.body = timm.layers.freeze_batch_norm_2d(self.body)
        channels = self.body.feature_info.channels()
        for parameter in [*self.body.conv_stem.parameters(), *self.body.blocks[0].parameters()]:
            parameter.requires_grad_(False)
        block = extra if isinstance(extra, LastLevelMaxPool) else extra(channels[-1], 256)
        self.fpn = FeaturePyramidNetwork(channels, 256, extra_blocks=block)
        self.out_channels = 256

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Maps by name."""
        return self.fpn({str(i): x for i, x in enumerate(self.body(pixels))})


def build(kind: str, classes: int, name: str, weights: str, size: list[int]) -> torch.nn.Module:
    """A detector; ``size`` is the image's height and width."""
    normal = timm.get_pretrained_cfg(name)
    settings = {"min_size": min(size), "max_size": max(size), "num_classes": classes + 1}
    settings |= {"image_mean": list(normal.mean), "image_std": list(normal.std)}
    if kind == "retinanet":
        backbone = Pyramid(name, weights, (2, 3, 4), LastLevelP6P7)
        sizes = [(x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512)]
        anchors = AnchorGenerator(tuple(sizes), ((0.5, 1.0, 2.0),) * 5)
        head = RetinaNetHead(256, anchors.num_anchors_per_location()[0], classes + 1)
        return RetinaNet(backbone, anchor_generator=anchors, head=head, **settings)
    backbone = Pyramid(name, weights, (1, 2, 3, 4), LastLevelMaxPool())
    return (MaskRCNN if kind == "maskrcnn" else FasterRCNN)(backbone, **settings)


def lr_factor(step: int, steps: int, epoch: int) -> float:
    """Warm-up over an epoch, of at most a third of the run, and two drops."""
    warmup = min(1.0, 0.001 + step / min(1000, epoch, max(1, steps // 3)))
    return warmup * 0.1 ** sum(step >= part * steps for part in (16 / 26, 22 / 26))


def loop(model: torch.nn.Module, photos: Photos, lr: float, meter: Meter) -> None:
    """Train until the meter says that it is enough."""
    loader = torch.utils.data.DataLoader(
        photos, BATCH, shuffle=True, drop_last=True, collate_fn=list
    )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=lr, momentum=0.9, weight_decay=1e-4)
    model.train()
    while True:
        for batch in loader:
            for group in optimizer.param_groups:
                group["lr"] = lr * lr_factor(meter.step, meter.steps or 10**6, len(loader))
            loss = sum(model([b[0] for b in batch], [b[1] for b in batch]).values())
            if not torch.isfinite(loss):
                raise SystemExit(f"Loss is {loss.item()}, stopping training")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if not meter.after_step(lambda path: torch.save(model.state_dict(), path)):
                return


# user: end


def detector(job: Job, weights: str) -> torch.nn.Module:
    """The network that a job names."""
    variant = job.peer.partition("-")[2]  # a kind, a size, or nothing
    usual = "maskrcnn" if job.task == "masks" else "fasterrcnn"
    kind = "retinanet" if variant == "retinanet" else usual
    return build(kind, len(job.classes), job.backbone, weights, job.size)


def train(job: Job, meter: Meter) -> int:
    """Train a detector."""
    torch.manual_seed(job.seed)
    photos = Photos(job.images["train"], job.annotations("train"))
    rate = 0.01 if job.peer.endswith("retinanet") else 0.02
    loop(detector(job, job.weights), photos, rate * BATCH / 16, meter)
    return BATCH


def predictor(job: Job, state: Path) -> Any:
    """Detections with a score of 0.05 at least, torchvision's own limit."""
    model = detector(job, "").eval()
    model.load_state_dict(torch.load(state, weights_only=True))
    ids = sorted(category["id"] for category in job.annotations("val")["categories"])

    @torch.inference_mode()
    def predict(path: Path) -> list[dict[str, Any]]:
        (found,) = model([to_tensor(Image.open(path).convert("RGB"))])
        records = []
        for number in range(len(found["boxes"])):
            x1, y1, x2, y2 = found["boxes"][number].tolist()
            record = {"category_id": ids[int(found["labels"][number]) - 1]}
            record |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "score": float(found["scores"][number])}
            if "masks" in found:
                mask = (found["masks"][number, 0] >= 0.5).numpy().astype(np.uint8)
                rle = mask_utils.encode(np.asfortranarray(mask))
                record["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}
            records.append(record)
        return records

    return predict
