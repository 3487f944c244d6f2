"""Files of top-down pose models: crops of one image, heatmaps, joints in the image.

Joints that are not finite are a ValueError with the image id, as in the run, but not in OpenVINO
where weights before a ReLU are broken: it makes 0 of NaN.
Legend: R boxes, K keypoints, h and w sides of a crop; boxes are xyxy pixels of the input.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from van_dense.core.crops import MIN_SIDE
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.deploy.network import Network, Run, sizes_of, zero_padding
from van_dense.models.pose.top_down import TopDownPose, crop_grid
from van_dense.models.postprocess import check_finite


class PoseNetwork(Network):
    """Joints (R, K, 3) in boxes (R, 4) of one image: x, y and the maximum of the heatmap."""

    inputs = ("images", "sizes", "boxes")
    outputs = ("joints",)
    takes_batches = False
    model: TopDownPose

    def forward(self, images: Tensor, sizes: Tensor, boxes: Tensor) -> tuple[Tensor, ...]:
        """Find the joints, as ``TopDownPose.joints``, of float32 boxes (R, 4)."""
        height, width = size = self.model.crop.size
        regions = _regions(boxes, size, self.model.crop.padding)
        pixels = zero_padding(images.float(), sizes)
        # All crops are one tall picture: a runtime would copy the image for each.
        grid = crop_grid(regions, size, pixels).reshape(1, -1, width, 2)
        tall = F.grid_sample(pixels, grid, align_corners=False)
        crops = tall[0].unflatten(1, (-1, height)).transpose(0, 1)
        points, scores = self.model.codec.decode(self.model.heatmaps(crops), size)
        relative = points / points.new_tensor(size[::-1]) - 0.5
        in_image = regions[:, None, :2] + relative * regions[:, None, 2:]
        return (torch.cat([in_image, scores[..., None]], dim=2),)

    def dynamic_shapes(self) -> dict[str, Any]:
        """Any number of boxes, too."""
        return super().dynamic_shapes() | {"boxes": {0: torch.export.Dim.DYNAMIC}}

    def example(self, size: Size) -> dict[str, Tensor]:
        """An image with three boxes."""
        boxes = torch.tensor([[2.0, 3.0, 40.0, 50.0]]).repeat(3, 1)
        return super().example(size) | {"boxes": boxes}

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """Poses in original pixels, as ``TopDownPose.predict``."""

        def joints(boxes: np.ndarray, owners: np.ndarray) -> np.ndarray:
            parts = []
            for index in np.unique(owners).tolist():
                own = torch.from_numpy(boxes[owners == index])
                images, sizes = batch.images[index : index + 1], sizes_of([batch.sizes[index]])
                found = run(images, sizes, boxes=own)["joints"]
                check_finite([found], batch.image_ids[index : index + 1])
                parts.append(found.double().cpu().numpy())
            return np.concatenate(parts)

        return self.model.predict_by(joints, batch)


def _regions(boxes: Tensor, size: Size, padding: float) -> Tensor:
    """Regions float32 (R, 4) around boxes (R, 4), as ``crops.regions_of_boxes``."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=MIN_SIDE)
    aspect = size[1] / size[0]
    width = torch.maximum(sides[:, 0], sides[:, 1] * aspect) * padding
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return torch.cat([centres, torch.stack([width, width / aspect], dim=1)], dim=1)
