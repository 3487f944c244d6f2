"""Package definition; ``pip install -e '.[all]'`` installs everything."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "van_dense/__init__.py").read_text())[1]

# torch and torchvision must come as a pair from one command: their compiled parts must match.
CORE = [
    "torch>=2.5",
    "torchvision>=0.20",
    "timm>=1.0.31",
    "segmentation-models-pytorch>=0.6",  # decoders and losses
    "numpy>=1.26",
    "scipy>=1.11",  # the optimal matching of Sparse R-CNN
    "opencv-python-headless>=4.9",
    "pillow>=10",
    "av>=14.2",  # videos
    "albumentations>=2.0.8,<2.1",
    "pycocotools>=2.0.8",
    "faster-coco-eval>=1.6.5",
    "pysodmetrics>=1.4",
    "grad-cam>=1.5.7",  # needs OpenCV without windows, as we do, only since 1.5.7
    "accelerate>=1.0",
    "pydantic>=2.7",
    "pyyaml>=6.0",
    "safetensors>=0.4",
    "matplotlib>=3.8",
    "tensorboard>=2.16",
    "rich>=13",
    "psutil>=5.9",
    "filelock>=3.12",
    "wrapt>=1.16",  # registers VAN when timm is imported, without importing timm itself
]
SUPERVISION = ["supervision>=0.31"]  # earlier ones bring a second OpenCV
DEV = [
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.5",
    "ruff>=0.9",
    "mypy>=1.13",
    "codespell>=2.3",
    "types-PyYAML",
    "sphinx>=8.1",  # the documentation, from Markdown and docstrings
    "myst-parser>=4",
    "furo>=2024.8",
    "pre-commit>=4",
    "transformers>=4.40,<5",  # VAN left transformers in 5.0; parity of our weight export
]

setup(
    name="van_dense",
    version=VERSION,
    description="Dense prediction around the Visual Attention Network and any timm backbone",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["van_dense", "van_dense.*"]),
    package_data={"van_dense": ["py.typed"]},
    install_requires=CORE,
    extras_require={"dev": DEV, "supervision": SUPERVISION, "all": DEV + SUPERVISION},
)
