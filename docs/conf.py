"""How Sphinx builds the documentation: ``make docs``, without any network."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

project = "van_dense"
author = "The van_dense authors"
project_copyright = "The van_dense authors, Apache-2.0"
release = re.search(r'__version__ = "(.+)"', (ROOT / "van_dense/__init__.py").read_text())[1]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

# The same Markdown is read on the pages of the repository: headings have anchors as there.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {
    name: name for name in ("Config", "ImageLike", "ImageSource", "Size", "Masks")
}
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "van_dense"
html_static_path = ["_static"]
html_css_files = ["van_dense.css"]
html_copy_source = False
html_show_sourcelink = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
