"""ResNets that subsample in their 1x1 convolutions, as timm models ``resnet50_msra`` and 101.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, and its published
weights, which Detectron2's model zoo starts from (``STRIDE_IN_1X1: True``). timm's and
torchvision's subsample in the 3x3 convolutions ("ResNet v1.5"), so the weights of one are nearly
useless in the other, although every key and every shape fits.
"""

from functools import partial
from typing import Any

from timm.models import generate_default_cfgs
from timm.models.resnet import Bottleneck, ResNet

from van_dense.backbones.registering import register


class EarlyBottleneck(Bottleneck):
    """Bottleneck block whose stride is that of its first 1x1 convolution."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride


# Blocks of the four stages; with their classifiers they have 25.6 M and 44.5 M parameters.
DEPTHS = {"resnet50_msra": (3, 4, 6, 3), "resnet101_msra": (3, 4, 23, 3)}
default_cfgs = generate_default_cfgs(
    {name: {"num_classes": 1000, "first_conv": "conv1", "classifier": "fc"} for name in DEPTHS}
)


def _recipe(name: str) -> tuple[type[ResNet], dict[str, Any]]:
    return ResNet, {"block": EarlyBottleneck, "layers": DEPTHS[name]}


for _name in DEPTHS:
    register(_name, __name__, partial(_recipe, _name))
