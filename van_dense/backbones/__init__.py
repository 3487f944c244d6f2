"""Backbones: VAN as timm models, and any timm model as C2..C5."""

# timm first: its import registers VAN (``van_dense/__init__.py``), which imports modules of this
# package; started in the middle of one of them, that would be a circle.
import timm.models  # noqa: F401
