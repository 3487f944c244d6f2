"""Draw the packages of van_dense in layers, from the import statements of its files.

``python docs/draw_imports.py`` writes docs/imports.svg. A package lies one layer above the highest
one that it imports; imports inside functions and under TYPE_CHECKING count. An arrow that a chain
of others implies is not drawn; the file's description lists all.
"""

import ast
import json
from collections import Counter
from html import escape
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "van_dense"
PICTURE = Path(__file__).with_name("imports.svg")
WIDTH, HEIGHT, STEP_X, STEP_Y = 116, 40, 152, 82
STYLE = """<style>text{font:600 13px sans-serif;text-anchor:middle;fill:#1b2a41}
.files{font:11px sans-serif;fill:#5b6b82} rect{fill:#eef3fa;stroke:#7b93b8}
path{fill:none;stroke:#8a97a8;stroke-width:1.3}</style>
<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0,0 L8,4 L0,8 z" style="fill:#8a97a8;stroke:none"/></marker>"""

Edges = dict[str, list[str]]  # package -> those that it imports


def imports_of(file: Path) -> set[str]:
    """Packages directly below van_dense that one file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("van_dense.")}


def read_edges() -> tuple[Edges, Counter[str]]:
    """All imports between packages, and the number of files in each."""
    counts, found = Counter[str](), dict[str, set[str]]()
    for file in sorted(PACKAGE.rglob("*.py")):
        name = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if not name.startswith("__"):
            counts[name] += file.name != "__init__.py"
            found.setdefault(name, set()).update(imports_of(file))
    return {name: sorted(found[name] & set(found) - {name}) for name in found}, counts


def layers_of(edges: Edges) -> dict[str, int]:
    """Longest way down from each room; ``ValueError`` names a cycle."""
    layers: dict[str, int] = {}

    def layer(name: str, above: tuple[str, ...]) -> int:
        if name in above:
            raise ValueError(f"imports run in a circle: {' -> '.join((*above, name))}")
        if name not in layers:
            layers[name] = max((layer(b, (*above, name)) + 1 for b in edges[name]), default=0)
        return layers[name]

    for name in edges:
        layer(name, ())
    return layers


def direct(edges: Edges) -> list[tuple[str, str]]:
    """Imports that no chain of other imports implies."""

    def reach(name: str) -> set[str]:
        return set(edges[name]).union(*(reach(below) for below in edges[name]))

    return [
        (name, below)
        for name, all_below in edges.items()
        for below in all_below
        if not any(below in reach(other) for other in all_below if other != below)
    ]


def draw(edges: Edges, counts: Counter[str]) -> str:
    """The picture as SVG, with all edges in its description."""
    layers = layers_of(edges)
    rows = [[n for n in edges if layers[n] == i] for i in range(max(layers.values()) + 1)]
    width, height = max(map(len, rows)) * STEP_X + WIDTH, len(rows) * STEP_Y
    at: dict[str, tuple[float, float]] = {}  # centre at the top of each box
    for i, row in enumerate(rows):
        row.sort(key=lambda n: sum(at[b][0] for b in edges[n]) / max(1, len(edges[n])))
        for j, name in enumerate(row):
            at[name] = width / 2 + (j - (len(row) - 1) / 2) * STEP_X, height - (i + 0.8) * STEP_Y
    parts = []
    for name, below in direct(edges):
        (x, y), u = at[name], at[below][0]
        path = f"M{x:g},{y + HEIGHT:g}"
        for i in range(layers[name] - 1, layers[below] - 1, -1):
            # Through the gap of a layer on the way that is nearest to the goal.
            gaps = {at[n][0] + side * STEP_X / 2 for n in rows[i] for side in (-1, 1)}
            to = u if i == layers[below] else min(gaps, key=lambda gap: abs(gap - (x + u) / 2))
            top = height - (i + 0.8) * STEP_Y - (3 if i == layers[below] else 0)
            middle = (y + HEIGHT + top) / 2
            path += f" C{x:g},{middle:g} {to:g},{middle:g} {to:g},{top:g}"
            x, y = to, top
            path += f" V{y + HEIGHT:g}" if i > layers[below] else ""
        parts.append(f'<path d="{path}" marker-end="url(#tip)"/>\n')
    for name, (x, y) in at.items():
        files = f"{counts[name]} file{'s' if counts[name] > 1 else ''}"
        parts.append(
            f'<rect x="{x - WIDTH / 2:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
            f'<text x="{x:g}" y="{y + 17:g}">{escape(name)}</text>'
            f'<text x="{x:g}" y="{y + 32:g}" class="files">{files}</text>\n'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}">\n<title>Packages of van_dense</title>\n'
        f"<desc>{escape(json.dumps(edges))}</desc>\n{STYLE}\n"
        '<rect width="100%" height="100%" style="fill:#fff;stroke:none"/>\n'
        f"{''.join(parts)}</svg>\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(*read_edges()), encoding="utf-8")
