"""Packages that one feature alone needs; an extra of van_dense brings each of them."""

from importlib import import_module
from typing import Any

EXTRA_OF = {
    "av": "video",
    "pytorch_grad_cam": "explain",
    "py_sod_metrics": "saliency",
    "tensorboard": "tensorboard",
    "supervision": "supervision",
}


class MissingPackage(ImportError, ValueError):
    """A package of an extra is not installed.

    It is a ValueError too, since the user can mend it: commands print it as one line.
    """


def require(package: str, feature: str) -> Any:
    """Import a package of an extra.

    Args:
        package: Import name of the package, a key of ``EXTRA_OF``.
        feature: What needs it, as the beginning of the error: "reading a video".

    Raises:
        MissingPackage: With the command that installs the extra. A package that is there and
            broken raises what it raises.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        extra = EXTRA_OF[package]
        raise MissingPackage(
            f"{feature} needs the package {package}, which is not installed: "
            f"pip install 'van_dense[{extra}]'"
        ) from error
