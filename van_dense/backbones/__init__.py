"""Backbones: VAN as timm models, and any timm model as C2..C5."""
