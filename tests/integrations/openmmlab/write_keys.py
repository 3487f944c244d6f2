"""Write the names and shapes of every network that is compared, as its package has them.

From the folder of the tests: `python -m integrations.openmmlab.write_keys`.
"""

from __future__ import annotations

import gzip
import importlib

from helpers.openmmlab_keys import FILE
from integrations.openmmlab.networks import NETWORKS
from integrations.openmmlab.reference import build


def main() -> None:
    """Write the file; the same networks give the same bytes."""
    lines = []
    for name, network in NETWORKS.items():
        version = importlib.import_module(network.package).__version__
        lines.append(f"# {name} {network.package} {version} {network.config}")
        for key, value in build(network)[0].state_dict().items():
            lines.append(f"{key} {'x'.join(map(str, value.shape))}")
    FILE.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    print(f"{FILE}: {len(lines) - len(NETWORKS)} keys of {len(NETWORKS)} networks")


if __name__ == "__main__":
    main()
