"""How Sphinx makes the site: `make docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

import fedtune

project = "fedtune"
author = "the fedtune authors"
version = release = fedtune.__version__

extensions = [
    "myst_nb",  # Markdown pages, and the notebook
    "sphinx.ext.autodoc",
    "sphinx_click",
    "sphinx_copybutton",
    "settings",  # of this folder: a list of every field of TrialConfig
]
exclude_patterns = ["_build", "results/*/tables/*"]
html_theme = "furo"
html_title = "fedtune"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
smartquotes = False  # quotes and dashes are those of commands
toc_object_entries_show_parents = "hide"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]

# What is shown of the notebook is what it gave a moment ago, in a folder that is then removed.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

copybutton_exclude = ".linenos, .gp, .go"

autodoc_typehints = "signature"
autodoc_type_aliases = {"Records": "Records"}
python_use_unqualified_type_names = True

# Every reference of ours has to lead somewhere; those to other packages would need the network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!fedtune\.).*")]

linkcheck_timeout = 20
linkcheck_ignore = [r"http://127\.0\.0\.1.*"]
