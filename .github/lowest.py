"""Print constraints that pin each dependency to the lowest version that setup.py allows.

python .github/lowest.py > lowest.txt; the package must be installed, without dependencies will do.
Tools of development are left out: only their newest versions are supported.
"""

import re
from importlib.metadata import requires

dependencies = requires("van_dense") or []
tools = {re.match(r"[\w-]+", line)[0] for line in dependencies if re.search(r"extra == .dev", line)}
bounds = {
    name: low
    for name, low in re.findall(r"^([\w-]+)[^;\n]*>=([\d.]+)", "\n".join(dependencies), re.M)
}
for name, low in sorted(bounds.items()):
    if name not in tools:
        # 2.5 allows its patches, 10 means 10.0, 1.5.7 is exact.
        print(
            f"{name}=={low if low.count('.') >= 2 else f'{low}.*' if '.' in low else f'{low}.0.*'}"
        )
