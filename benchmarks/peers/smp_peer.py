"""segmentation-models-pytorch as its examples train it, without Lightning around it.

Of the examples (examples/binary_segmentation_intro.ipynb, camvid_segmentation_multiclass.ipynb)
are: Dice loss, Adam at 2e-4 with a cosine to 1e-5, the augmentation and the crop of 320 pixels,
validation images at their own size, padded. Ours are: Unet on the backbone that all start from, 8
images a step where the examples have 32 and 64, which a budget of minutes of a CPU does not allow,
and a cosine as long as the run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import segmentation_models_pytorch as smp
import timm
import torch

from benchmarks.peers.backbone import fill
from benchmarks.peers.jobs import Job, Meter

BATCH, CROP, IGNORE = 8, 320, 255


# user: begin
def augmentation() -> A.Compose:
    """Of the example for CamVid."""
    light = [A.CLAHE(p=1), A.RandomBrightnessContrast(p=1), A.RandomGamma(p=1)]
    blurs = [A.Sharpen(p=1), A.Blur(blur_limit=3, p=1), A.MotionBlur(blur_limit=3, p=1)]
    colour = [A.RandomBrightnessContrast(p=1), A.HueSaturationValue(p=1)]
    move = {"scale_limit": 0.5, "rotate_limit": 0, "shift_limit": 0.1, "p": 1}
    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.ShiftScaleRotate(**move, border_mode=0, fill_mask=IGNORE),
            A.PadIfNeeded(min_height=CROP, min_width=CROP, border_mode=0, fill_mask=IGNORE),
            A.RandomCrop(height=CROP, width=CROP),
            A.GaussNoise(p=0.2),
            A.Perspective(p=0.5, fill_mask=IGNORE),
            A.OneOf(light, p=0.9),
            A.OneOf(blurs, p=0.9),
            A.OneOf(colour, p=0.9),
        ]
    )


class Maps(torch.utils.data.Dataset):
    """Images with label maps of the same name; values that are no class are ignored."""

    def __init__(self, images: str, masks: str, classes: int) -> None:
        self.images = sorted(path for path in Path(images).iterdir() if path.is_file())
        self.masks, self.classes = Path(masks), classes
        self.augment = augmentation()

    def __len__(self) -> int:
        """Images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Image float (3, H, W) in 0..255, and label map int64 (H, W)."""
        image = cv2.cvtColor(cv2.imread(str(self.images[index])), cv2.COLOR_BGR2RGB)
        mask = cv2.imread(str(self.masks / f"{self.images[index].stem}.png"), 0)
        mask[mask >= self.classes] = IGNORE
        made = self.augment(image=image, mask=mask)
        pixels = torch.from_numpy(made["image"].transpose(2, 0, 1)).float()
        return pixels, torch.from_numpy(made["mask"]).long()


class Network(torch.nn.Module):
    """Unet that takes pixels in 0..255."""

    def __init__(self, name: str, weights: str, classes: int) -> None:
        super().__init__()
        self.unet = smp.Unet(f"tu-{name}", encoder_weights=None, classes=classes)
        if weights:
            fill(self.unet.encoder.model, weights)
        normal = timm.get_pretrained_cfg(name)
        self.register_buffer("mean", 255 * torch.tensor(normal.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(normal.std).view(1, 3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits (B, C, H, W)."""
        return self.unet((pixels - self.mean) / self.std)


def loop(model: Network, maps: Maps, meter: Meter) -> None:
    """Train until the meter says that it is enough."""
    loader = torch.utils.data.DataLoader(maps, BATCH, shuffle=True, drop_last=True)
    loss_of = smp.losses.DiceLoss("multiclass", from_logits=True, ignore_index=IGNORE)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)
    length = meter.steps or 10**6
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, length, eta_min=1e-5)
    model.train()
    while True:
        for pixels, mask in loader:
            loss = loss_of(model(pixels).contiguous(), mask)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if not meter.after_step(lambda path: torch.save(model.state_dict(), path)):
                return


# user: end


def train(job: Job, meter: Meter) -> int:
    """Train a Unet."""
    torch.manual_seed(job.seed)
    np.random.seed(job.seed)
    maps = Maps(job.images["train"], job.masks["train"], len(job.classes))
    maps.augment.set_random_seed(job.seed)
    loop(Network(job.backbone, job.weights, len(job.classes)), maps, meter)
    return BATCH


def predictor(job: Job, state: Path) -> Any:
    """Label map of an image, padded to multiples of 32 as the example does."""
    model = Network(job.backbone, "", len(job.classes)).eval()
    model.load_state_dict(torch.load(state, weights_only=True))

    @torch.inference_mode()
    def predict(path: Path) -> np.ndarray:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        height, width = image.shape[:2]
        pad = (0, -width % 32, 0, -height % 32)
        pixels = torch.from_numpy(image.transpose(2, 0, 1)).float()[None]
        logits = model(torch.nn.functional.pad(pixels, pad))[0, :, :height, :width]
        return logits.argmax(0).numpy().astype(np.uint8)

    return predict
