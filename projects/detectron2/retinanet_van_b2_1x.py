"""RetinaNet on VAN-B2 for Detectron2's own training scripts (LazyConfig), Table 9 of the VAN paper.

lazyconfig_train_net.py --config-file projects/detectron2/retinanet_van_b2_1x.py --num-gpus 8
"""

from detectron2.model_zoo import get_config

from van_dense.integrations.detectron2 import lazy_retinanet_van_fpn

model = get_config("common/models/retinanet.py").model
dataloader = get_config("common/data/coco.py").dataloader
train = get_config("common/train.py").train
optimizer = get_config("common/optim.py").AdamW
lr_multiplier = get_config("common/coco_schedule.py").lr_multiplier_1x

model.backbone = lazy_retinanet_van_fpn("van_b2", weights="van_b2_in1k", drop_path=0.1)
# ImageNet, RGB: VAN's downstream recipes.
model.pixel_mean = [123.675, 116.28, 103.53]
model.pixel_std = [58.395, 57.12, 57.375]
model.input_format = dataloader.train.mapper.image_format = "RGB"
dataloader.train.mapper.use_instance_mask = False
dataloader.train.mapper.augmentations[0].short_edge_length = [800]  # 1x trains at one scale

# Section 4.2 of the paper: AdamW, 1e-4, 0.05, 12 epochs of 16 images a step.
optimizer.lr = 1e-4
optimizer.weight_decay = 0.05
train.init_checkpoint = ""
