# SPDX-License-Identifier: Apache-2.0
"""The site: `python -m sphinx -W --keep-going -j auto docs build/site`."""

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "_ext"), str(Path(__file__).parents[1])]
# Chapters run on a CPU, and the kernels of Jupyter find this copy of the library.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"

import recurrent_jax  # noqa: E402

project = "recurrent_jax"
author = "The recurrent_jax authors"
project_copyright = f"2026, {author}"
version = release = recurrent_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "reference",
    "outside",
    "finish",
]
exclude_patterns = ["_build", "_ext", "**.ipynb_checkpoints"]
nitpicky = True

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

# Chapters run whenever the site is built, so their numbers are those of this code.
nb_execution_mode = "inline"
nb_execution_raise_on_error = True
nb_execution_timeout = 180
nb_code_prompt_show = "Show the answer"
nb_code_prompt_hide = "Hide the answer"
nb_merge_streams = True

html_theme = "furo"
html_title = "recurrent_jax"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5cad",
        "color-brand-content": "#0b5cad",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7ab7ff",
        "color-brand-content": "#7ab7ff",
    },
}
copybutton_exclude = ".linenos, .gp, .go"
viewcode_follow_imported_members = True
# The file is put there when the site is finished.
mathjax_path = "mathjax.js"
mathjax3_config = {
    "options": {"enableMenu": False},
    "svg": {"fontCache": "global"},
}
