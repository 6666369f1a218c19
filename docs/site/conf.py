"""Sphinx' settings for the site. Nothing on it is fetched from elsewhere: fonts are the reader's, search is a file."""

project = html_title = "keras_mlp"
root_doc = "index"
extensions = ["myst_parser", "sphinx_copybutton", "sphinx_design"]
exclude_patterns = ["extra"]

myst_enable_extensions = ["colon_fence", "fieldlist", "linkify"]
myst_heading_anchors = 4
myst_linkify_fuzzy_links = False  # or "data.py" would be a link to Paraguay

highlight_language = "text"
python_maximum_signature_line_length = 90
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_favicon = "static/icon.ico"  # the cross that AS-MLP sees
html_domain_indices = False
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
