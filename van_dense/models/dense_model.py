"""The interface of every model: ``forward`` gives losses, ``predict`` gives results."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from van_dense.backbones.download import IMAGENET
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.models.class_rows import Rows
from van_dense.models.preprocess import Preprocess


class DenseModel(nn.Module):
    """Base of all models; neither method depends on ``self.training`` for what it returns.

    Args:
        backbone: The part that ``model.backbone.weights`` fills: from normalised images
            (B, 3, H, W) to feature maps, or to class logits (B, C). Images are normalised with its
            ``statistics``, ImageNet's where it has none.
        preprocess: From batches to normalised images; None makes it of these statistics.

    Example:
        >>> import numpy as np
        >>> from van_dense.core.structures import Sample
        >>> from van_dense.data.collate import collate
        >>> class MeanLogits(DenseModel):
        ...     def forward(self, batch):
        ...         return {"size": self.logits(batch).square().mean()}
        ...     def predict(self, batch):
        ...         rows = zip(batch.image_ids, batch.orig_sizes, self.logits(batch).softmax(1))
        ...         return [Prediction(id, size, class_scores=p.detach()) for id, size, p in rows]
        ...     def logits(self, batch):
        ...         return self.backbone(self.preprocess(batch)).mean(dim=(2, 3))
        >>> model = MeanLogits(nn.Conv2d(3, 5, kernel_size=8, stride=8))
        >>> batch = collate([Sample(np.zeros((64, 96, 3), np.uint8), 7, "a.jpg", (64, 96))])
        >>> sum(model(batch).values()).backward()
        >>> prediction = model.predict(batch)[0]
        >>> prediction.image_id, tuple(prediction.class_scores.shape)
        (7, (5,))
    """

    def __init__(self, backbone: nn.Module, preprocess: Preprocess | None = None) -> None:
        super().__init__()
        mean, std = getattr(backbone, "statistics", IMAGENET)
        self.preprocess = preprocess or Preprocess([255 * m for m in mean], [255 * s for s in std])
        self.backbone = backbone

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted scalar losses of a batch with targets; works for images without any target.

        This is ``forward`` because DistributedDataParallel wraps nothing else.
        """
        raise NotImplementedError

    def predict(self, batch: Batch) -> list[Prediction]:
        """Results of each image, in the pixels of the original image, on the CPU.

        Non-finite outputs of the network are a ValueError with the image ids.
        """
        raise NotImplementedError

    def flops_forward(self, size: Size) -> object:
        """Run the network once on a zero image, as the paper's tables count it; works on meta.

        What is returned holds, in any nesting, the tensors that the losses are computed from, so
        that the dry run can estimate the memory of their backward pass.
        """
        raise NotImplementedError

    def named_rows(self, info: DatasetInfo) -> dict[str, Rows]:
        """What every output of a layer stands for, where it depends on classes or keypoints.

        Keys are names of modules, values have a name for each row of their weights. Networks start
        from others by these names, see ``train.start_from``.

        Args:
            info: Classes and keypoints, of this network or of another one of its kind.
        """
        return {}

    def check_state(self, state: Mapping[str, Tensor]) -> None:
        """ValueError where a trained network differs in what the shapes of its weights hide.

        Args:
            state: Entries of the trained network, of which this one would take those that fit.
        """

    def zeros(self, *shape: int) -> Tensor:
        """A batch of one zero tensor (1, *shape) on the device of the model."""
        return torch.zeros(1, *shape, device=next(self.parameters()).device)
