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
    "scipy>=1.11",  # the optimal matching of Sparse R-CNN and Mask2Former
    "opencv-python-headless>=4.9",
    "pillow>=10",
    "albumentations>=2.0.8,<2.1",
    "pycocotools>=2.0.8",
    "hotcoco>=1.3",
    "accelerate>=1.0",
    "pydantic>=2.9.2",
    "pyyaml>=6.0",
    "safetensors>=0.4",
    "matplotlib>=3.8",
    "rich>=13",
    "psutil>=5.9",
    "filelock>=3.12",
    "wrapt>=1.16",  # registers VAN when timm is imported, without importing timm itself
]
# Each serves one feature, which names its extra where the package is missing (core/optional.py).
EXTRAS = {
    "video": ["av>=18"],  # earlier ones do not tell where a cut file ends
    "explain": ["grad-cam>=1.5.7"],  # earlier ones bring a second OpenCV
    "tensorboard": ["tensorboard>=2.16"],
    "supervision": ["supervision>=0.31"],  # earlier ones bring a second OpenCV
    "panoptic": ["transformers>=4.57"],  # 4 and 5 are tested
    # onnxscript: earlier ones lack what torch 2.11 asks for; onnxruntime: the quantiser's cache
    "onnx": ["onnx>=1.18", "onnxscript>=0.6", "onnxruntime>=1.27"],
    "openvino": ["openvino>=2025.0"],
}
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
    "pysodmetrics>=1.4",  # the reference of saliency metrics
    "transformers>=4.57,<5",  # VAN left transformers in 5.0; parity of our weight export
]

# Projects and fragments, which lie at the top, travel as data of these packages without code.
PRESETS = {f"van_dense._presets.{name}": name for name in ("projects", "configs")}

setup(
    name="van_dense",
    version=VERSION,
    description="Dense prediction around the Visual Attention Network and any timm backbone",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="detection segmentation saliency pose classification VAN timm pytorch",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Intended Audience :: Developers",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=[*find_packages(include=["van_dense", "van_dense.*"]), *PRESETS],
    package_dir=PRESETS,
    package_data={
        "van_dense": ["py.typed"],
        "van_dense.report": ["assets/*"],
        "van_dense.demo": ["*.html", "*.css", "*.js"],
        "van_dense._presets.projects": ["*.yaml", "detectron2/*"],
        "van_dense._presets.configs": ["*/*.yaml"],
    },
    exclude_package_data={"van_dense._presets.projects": ["*_tables.yaml"]},
    install_requires=CORE,
    extras_require={
        **EXTRAS,
        "dev": DEV,
        "all": DEV + [package for packages in EXTRAS.values() for package in packages],
    },
    entry_points={"console_scripts": ["van-dense = van_dense.cli.main:main"]},
)
