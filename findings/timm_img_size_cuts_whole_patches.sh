#!/usr/bin/env bash
# A ViT of timm that is made for an image size that is no multiple of its patch ignores the rest.
#
# Package:  timm 1.0.31, torch 2.14.1, on the CPU (6 GB of disk).
# Expected: img_size=(250, 333) of a ViT with patches of 16 pixels is refused, or images of that size
#           are padded to 16x21 patches.
# Happens:  it is accepted, the grid is 15x20, and the last 10 rows and 13 columns of the image are
#           never read: images that differ only there have equal features. Without img_size such an
#           image is refused ("doesn't match model"); with dynamic_img_size and dynamic_img_pad it
#           is padded.
# Matters:  whoever sets img_size to the size of the photos, as the error message of the refusal
#           suggests, loses up to a patch on the right and below, with boxes and label maps of
#           objects there learnt from nothing.
# Seen:     img_size=(250, 333): grid (15, 20), equal features of images that differ beyond
#           240x320: True
#           dynamic_img_size and dynamic_img_pad: equal features: False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.14.1 torchvision==0.29.1 timm==1.0.31
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import timm
import torch

SIZE = (250, 333)
plain = torch.zeros(1, 3, *SIZE)
other = plain.clone()
other[..., 240:, :] = 5
other[..., 320:] = 5


def are_equal(**options):
    """The grid of patches, and whether features do not tell the two images apart."""
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=2, **options).eval()
    with torch.no_grad():
        return model.patch_embed.grid_size, torch.equal(model(plain), model(other))


grid, fixed = are_equal(img_size=SIZE)
_, padded = are_equal(dynamic_img_size=True, dynamic_img_pad=True)
print(f"img_size={SIZE}: grid {grid}, equal features of images that differ beyond")
print(f"240x320: {fixed}")
print(f"dynamic_img_size and dynamic_img_pad: equal features: {padded}")
assert grid == (15, 20) and fixed, "changed: img_size that is no multiple of the patch"
assert not padded, "changed: padding of dynamic sizes"
PY
