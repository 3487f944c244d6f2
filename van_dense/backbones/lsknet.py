"""LSKNet as timm models ``lsknet_t`` and ``lsknet_s``.

Paper: Li et al., "Large Selective Kernel Network for Remote Sensing Object Detection", arXiv
2303.09030 (ICCV 2023), Sec. 3 and Table 1, from which this is written: VAN with a gate that selects
between two kernels. Module names are those of the published weights, which fit. Those weights are
under CC BY-NC 4.0, for no commercial use; this file is not.
"""

from torch import nn

from van_dense.backbones.gates import LSK
from van_dense.backbones.van import WithoutSettings


class LSKNet(WithoutSettings):
    """Large selective kernel network; arguments as in ``VAN``, without ``lka_``.

    All channels are even.
    """

    def make_gate(self, dim: int) -> nn.Module:
        """A choice between two kernels at each position."""
        return LSK(dim)


# Channels and blocks of the four stages; expansion ratios are 8, 8, 4, 4. Backbone parameters.
SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "lsknet_t": ((32, 64, 160, 256), (3, 3, 5, 2)),  # 4.0 M
    "lsknet_s": ((64, 128, 320, 512), (2, 2, 4, 2)),  # 13.8 M
}
