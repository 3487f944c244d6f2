"""Matching of queries with segments at sampled points, and the losses of the matched pairs.

Source: Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR
2022, sections 3.3 and 4.1; facebookresearch/Mask2Former ``HungarianMatcher`` and ``SetCriterion``.
Points are drawn from the global generator, in the order of ``Mask2FormerLoss`` of transformers.
Legend: B images, Q queries and N segments of one image, C classes, M matched pairs of the batch,
P points, h and w of mask logits; points are (x, y) in 0..1 of the padded image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from van_dense.models.detection.hungarian_loss import NEVER, Match
from van_dense.models.losses import synced_count, synced_mean
from van_dense.models.panoptic.targets import MaskTargets
from van_dense.models.precision import without_autocast


@dataclass(frozen=True)
class QueryOutput:
    """What the queries of a batch say after a layer of the decoder.

    Attributes:
        class_logits: (B, Q, C + 1); the last one is "no object".
        mask_logits: (B, Q, h, w), usually at stride 4.
    """

    class_logits: Tensor
    mask_logits: Tensor


@dataclass(frozen=True)
class MaskLoss:
    """Match queries with segments by the very terms that are then minimised."""

    class_weight: float  #: of the cross-entropy of the classes
    no_object: float  #: of "no object" among the classes; matching knows none
    mask: float  #: of the binary cross-entropy at points
    dice: float  #: of the Dice loss at points
    points: int  #: P, sampled of each mask
    oversample: float  #: candidates drawn, in multiples of P
    importance: float  #: fraction of P taken where the logits are nearest to 0, the rest anywhere

    def losses(
        self, outputs: Sequence[QueryOutput], targets: Sequence[MaskTargets]
    ) -> dict[str, Tensor]:
        """Weighted class, mask and dice of the last output, and all of the others as "auxiliary".

        Everything is computed in float32. The first loss is divided by the summed weights of the
        classes, the others by the number of segments, both averaged over processes.

        Args:
            outputs: Class and mask logits after every layer, the last one last.
            targets: Segments of each image.
        """
        last = outputs[-1]
        with without_autocast(last.mask_logits.device):
            normalisers = self._normalisers(last, targets)
            losses = self._terms(last, targets, normalisers)
            auxiliary = last.mask_logits.new_zeros((), dtype=torch.float32)
            for output in outputs[:-1]:
                terms = self._terms(output, targets, normalisers)
                auxiliary = auxiliary + torch.stack(list(terms.values())).sum()
        return losses | {"auxiliary": auxiliary}

    def _normalisers(
        self, output: QueryOutput, targets: Sequence[MaskTargets]
    ) -> tuple[Tensor, Tensor]:
        """Summed weights of the classes, and number of segments; no output changes them."""
        images, queries = output.class_logits.shape[:2]
        matched = sum(min(len(target), queries) for target in targets)
        weights = matched + self.no_object * (images * queries - matched)
        device = output.class_logits.device
        return synced_mean(weights, device), synced_count(sum(map(len, targets)), device)

    def _terms(
        self,
        output: QueryOutput,
        targets: Sequence[MaskTargets],
        normalisers: tuple[Tensor, Tensor],
    ) -> dict[str, Tensor]:
        """Weighted losses of one output."""
        class_logits, mask_logits = output.class_logits.float(), output.mask_logits.float()
        matches = [
            self.match(logits, masks, target)
            for logits, masks, target in zip(class_logits, mask_logits, targets, strict=True)
        ]
        weights, segments = normalisers
        mask, dice = self._mask_terms(mask_logits, targets, matches)
        return {
            "class": self.class_weight * self._class_term(class_logits, targets, matches) / weights,
            "mask": self.mask * mask / segments,
            "dice": self.dice * dice / segments,
        }

    @torch.no_grad()
    def match(self, class_logits: Tensor, mask_logits: Tensor, target: MaskTargets) -> Match:
        """Pair queries and segments of one image at the smallest total cost.

        Every segment has one query, and where there are more segments than queries every query has
        one segment. The search runs on the CPU.

        Args:
            class_logits: float32 (Q, C + 1).
            mask_logits: float32 (Q, h, w).
            target: Segments of the image.
        """
        from scipy.optimize import linear_sum_assignment

        points = torch.rand(1, self.points, 2, device=mask_logits.device)
        if len(target) == 0:
            none = target.labels.new_zeros(0)
            return Match(none, none)
        z = sample_points(mask_logits[None], points)[0]
        true = sample_points(target.masks[None].float(), points)[0]
        probability = z.sigmoid()
        # Binary cross-entropy is softplus(z) - z t: all pairs in one matrix product.
        mask = (F.softplus(z).sum(dim=1, keepdim=True) - z @ true.T) / self.points
        total = probability.sum(dim=1, keepdim=True) + true.sum(dim=1)
        dice = 1 - (2 * probability @ true.T + 1) / (total + 1)
        cost = self.mask * mask + self.dice * dice
        cost = cost - self.class_weight * class_logits.softmax(dim=1)[:, target.labels]
        # NaN is refused by SciPy; the losses that follow are NaN too, and the trainer reports them.
        cost = cost.nan_to_num(NEVER, NEVER, NEVER).cpu()
        pairs = (torch.from_numpy(p).to(z.device) for p in linear_sum_assignment(cost))
        return Match(*pairs)

    def _class_term(
        self, logits: Tensor, targets: Sequence[MaskTargets], matches: Sequence[Match]
    ) -> Tensor:
        """Summed cross-entropy of logits (B, Q, C + 1); queries without a pair are "no object"."""
        no_object = logits.shape[2] - 1
        labels = torch.full(logits.shape[:2], no_object, device=logits.device)
        for own, target, match in zip(labels, targets, matches, strict=True):
            own[match.prediction] = target.labels[match.target]
        weights = torch.ones_like(logits[0, 0])
        weights[no_object] = self.no_object
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), weights, reduction="sum")

    def _mask_terms(
        self, logits: Tensor, targets: Sequence[MaskTargets], matches: Sequence[Match]
    ) -> tuple[Tensor, Tensor]:
        """Summed binary cross-entropy and Dice loss of the pairs; logits are (B, Q, h, w)."""
        found = torch.cat([z[m.prediction] for z, m in zip(logits, matches, strict=True)])
        masks = torch.cat([t.masks[m.target] for t, m in zip(targets, matches, strict=True)])
        if len(found) == 0:
            nothing = logits.sum() * 0  # keeps every parameter in the graph
            return nothing, nothing
        with torch.no_grad():
            points = self._points(found)
            true = sample_points(masks[:, None].float(), points)[:, 0]
        z = sample_points(found[:, None], points)[:, 0]
        cross_entropy = F.binary_cross_entropy_with_logits(z, true, reduction="none").mean(dim=1)
        probability = z.sigmoid()
        total = probability.sum(dim=1) + true.sum(dim=1)
        dice = 1 - (2 * (probability * true).sum(dim=1) + 1) / (total + 1)
        return cross_entropy.sum(), dice.sum()

    def _points(self, logits: Tensor) -> Tensor:
        """Points (M, P, 2) of mask logits (M, h, w), most of them where these are uncertain."""
        count = len(logits)
        candidates = torch.rand(count, int(self.points * self.oversample), 2, device=logits.device)
        distance = sample_points(logits[:, None], candidates)[:, 0].abs()
        uncertain = int(self.importance * self.points)
        nearest = distance.topk(uncertain, dim=1, largest=False).indices
        chosen = candidates.gather(1, nearest[:, :, None].expand(-1, -1, 2))
        anywhere = torch.rand(count, self.points - uncertain, 2, device=logits.device)
        return torch.cat([chosen, anywhere], dim=1)


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values (B, C, P) of maps (B, C, h, w) at points (B, P, 2), zero beyond the border.

    Points are (x, y) in 0..1 from border to border.
    """
    grid = 2 * points[:, :, None] - 1
    return F.grid_sample(maps, grid, align_corners=False)[..., 0]
