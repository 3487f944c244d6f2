"""Files of Panoptic FPN: what Mask R-CNN finds, and the logits of stuff that lies below.

Legend: S classes of stuff, h and w sides of the logits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from van_dense.core.structures import Batch, Prediction
from van_dense.deploy.detectors import RegionNetwork
from van_dense.deploy.network import Run
from van_dense.models.panoptic.panoptic_fpn import PanopticFPN
from van_dense.models.segmentation.map_inference import Resized


class PanopticFPNNetwork(RegionNetwork):
    """Things as ``RegionNetwork``, labelled as in the data set, and logits (1, S + 1, h, w).

    The first of the logits is that of all things, the others follow the stuff of the data set.
    Merging depends on the pixels of the original image, so it is done outside of the file.
    """

    outputs = ("boxes", "scores", "labels", "masks", "semantic")
    dense = ("semantic",)
    model: PanopticFPN

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Find things and label stuff, as ``PanopticFPN.parts``."""
        maps = self.model.fpn(self.model.backbone(self.normalised(images, sizes)))
        boxes, scores, things, masks = self.found(maps, sizes)
        labels = self.model.thing_labels[things]
        return boxes, scores, labels, masks, self.model.semantic(maps).float()

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """Segments, instances and label maps in original pixels, as ``PanopticFPN.predict``."""
        return self.model.merged_parts(self.parts(run, batch))

    def parts(self, run: Run, batch: Batch) -> list[tuple[Prediction, Resized | None]]:
        """As ``PanopticFPN.parts``."""
        outputs = self.outputs_of(run, batch)
        found = self.detections(outputs, batch)
        if not self.model.gives_maps:
            return [(prediction, None) for prediction in found]
        logits = torch.cat([image["semantic"] for image in outputs])
        return list(zip(found, self.model.resized(logits, batch), strict=True))
