"""Dense prediction around the Visual Attention Network (VAN) and any other timm backbone.

``import van_dense`` registers VAN and the other backbones here in timm. It is cheap: torch and
timm are imported when something that needs them is used, and the registration happens when timm is.
"""

from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from van_dense.api import build_model, load, train
    from van_dense.config import load_config

__all__ = ["build_model", "load", "load_config", "train"]
__version__ = "0.2.0"


@wrapt.when_imported("timm.models")
def _register_models(_: object) -> None:
    import van_dense.backbones.registry
    import van_dense.backbones.registry_dense
    import van_dense.backbones.registry_staged
    import van_dense.backbones.resnet  # noqa: F401  (they register by their decorators)


def __getattr__(name: str) -> Any:
    if name == "load_config":
        from van_dense.config import load_config

        return load_config
    if name in __all__:
        from van_dense import api

        return getattr(api, name)
    raise AttributeError(f"module 'van_dense' has no attribute {name!r}")
