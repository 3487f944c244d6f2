"""Which networks of OpenMMLab are compared: the config of each, and the project of ours.

The configs are those that the wheels of mmdet, mmseg and mmpose bring, found by their path below
`.mim/configs`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """A network that another package builds, and what it is here.

    Args:
        package: of Python, which brings the config.
        config: its path below `configs`, without the suffix.
        project: stem of the file in `projects/`.
        overrides: changes of that project.
        backbone: path of the config whose backbone and neck take the place of its own.
        options: changes of the other package's config, dotted keys.
        odd_sizes: whether it is compared at sizes that no stride divides, too.
    """

    package: str
    config: str
    project: str
    overrides: tuple[str, ...] = ()
    backbone: str | None = None
    options: tuple[tuple[str, object], ...] = ()
    odd_sizes: bool = False


_CONVNEXT_CASCADE = (
    "convnext/cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco"
)
_CONVNEXT = "convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco"
_SWIN = "swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco"
_SPARSE = "sparse_rcnn/sparse-rcnn_r50_fpn_"
_POSE = "body_2d_keypoint/topdown_heatmap/coco/td-hm_"
_UPERNET_SWIN = "swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512"
_UPERNET_CONVNEXT = "convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512"

_CAFFE = ("model.backbone.name=resnet50_msra",)
_RESNET101 = ("model.backbone.name=resnet101",)
_CONVNEXT_T = ("model.backbone.name=convnext_tiny_dense",)
# Of 512, and 341 apart, in the config; these fill the image, four of them.
_WINDOWS = (("model.test_cfg.crop_size", (192, 192)), ("model.test_cfg.stride", (64, 128)))

NETWORKS = {
    "maskrcnn_r50": Network("mmdet", "mask_rcnn/mask-rcnn_r50_fpn_1x_coco", "maskrcnn_r50_mmdet"),
    "maskrcnn_r50_caffe": Network(
        "mmdet",
        "mask_rcnn/mask-rcnn_r50-caffe_fpn_1x_coco",
        "maskrcnn_r50_mmdet",
        _CAFFE,
    ),
    "retinanet_r50": Network("mmdet", "retinanet/retinanet_r50_fpn_1x_coco", "retinanet_r50_mmdet"),
    "retinanet_r50_caffe": Network(
        "mmdet",
        "retinanet/retinanet_r50-caffe_fpn_1x_coco",
        "retinanet_r50_mmdet",
        _CAFFE,
    ),
    "atss_r50": Network("mmdet", "atss/atss_r50_fpn_1x_coco", "atss_r50_mmdet"),
    "gfl_r50": Network("mmdet", "gfl/gfl_r50_fpn_1x_coco", "gfl_r50_mmdet"),
    "cascade_r50": Network(
        "mmdet", "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco", "cascade_maskrcnn_r50_mmdet"
    ),
    "cascade_4conv_r50": Network(
        "mmdet",
        _CONVNEXT_CASCADE,
        "cascade_maskrcnn_swin_t_mmdet",
        ("model.backbone={name: resnet50, norm_mode: frozen}",),
        backbone="mask_rcnn/mask-rcnn_r50_fpn_1x_coco",
    ),
    "sparsercnn_r50_100": Network(
        "mmdet", f"{_SPARSE}1x_coco", "sparsercnn_r50_mmdet", ("model.proposals=100",)
    ),
    "sparsercnn_r50_300": Network(
        "mmdet", f"{_SPARSE}300-proposals_crop-ms-480-800-3x_coco", "sparsercnn_r50_mmdet"
    ),
    "upernet_r50": Network(
        "mmseg",
        "upernet/upernet_r50_4xb4-160k_ade20k-512x512",
        "upernet_r50_mmseg",
        odd_sizes=True,
    ),
    "semfpn_r50": Network(
        "mmseg",
        "sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512",
        "semfpn_r50_mmseg",
        odd_sizes=True,
    ),
    "pose_r50": Network(
        "mmpose", f"{_POSE}res50_8xb64-210e_coco-256x192", "pose_r50_mmpose_256x192"
    ),
    "maskrcnn_swin_t": Network("mmdet", _SWIN, "maskrcnn_swin_t_mmdet", odd_sizes=True),
    "maskrcnn_convnext_t": Network(
        "mmdet", _CONVNEXT, "maskrcnn_swin_t_mmdet", _CONVNEXT_T, odd_sizes=True
    ),
    "cascade_swin_t": Network(
        "mmdet",
        _CONVNEXT_CASCADE,
        "cascade_maskrcnn_swin_t_mmdet",
        backbone=_SWIN,
        odd_sizes=True,
    ),
    "cascade_convnext_t": Network(
        "mmdet", _CONVNEXT_CASCADE, "cascade_maskrcnn_swin_t_mmdet", _CONVNEXT_T, odd_sizes=True
    ),
    "retinanet_swin_t": Network(
        "mmdet",
        "swin/retinanet_swin-t-p4-w7_fpn_1x_coco",
        "retinanet_r50_mmdet",
        ("model.backbone={name: swin_tiny_dense}",),
        odd_sizes=True,
    ),
    "upernet_swin_t": Network("mmseg", _UPERNET_SWIN, "upernet_swin_t_mmseg", odd_sizes=True),
    "upernet_convnext_t": Network(
        "mmseg", _UPERNET_CONVNEXT, "upernet_convnext_t_mmseg", options=_WINDOWS
    ),
    "segnext_t": Network(
        "mmseg",
        "segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512",
        "segnext_t",
        odd_sizes=True,
    ),
    "maskrcnn_r101": Network(
        "mmdet", "mask_rcnn/mask-rcnn_r101_fpn_1x_coco", "maskrcnn_r50_mmdet", _RESNET101
    ),
    "gfl_r101": Network("mmdet", "gfl/gfl_r101_fpn_ms-2x_coco", "gfl_r50_mmdet", _RESNET101),
    "maskrcnn_swin_s": Network(
        "mmdet",
        "swin/mask-rcnn_swin-s-p4-w7_fpn_amp-ms-crop-3x_coco",
        "maskrcnn_swin_t_mmdet",
        ("model.backbone.name=swin_small_dense",),
    ),
    "upernet_r101": Network(
        "mmseg",
        "upernet/upernet_r101_4xb4-160k_ade20k-512x512",
        "upernet_r50_mmseg",
        ("model.backbone.name=resnet101c",),
    ),
    "pose_r101": Network(
        "mmpose", f"{_POSE}res101_8xb64-210e_coco-256x192", "pose_r50_mmpose_256x192", _RESNET101
    ),
}
