"""The documentation site: `make docs` builds it from the repository's pages, the docstrings and the model cards.

No text is kept here twice. `plan` says which page of the repository, or which of its sections, is where on the site,
and leads the links there. `families` writes a page for each family, and `api` the reference. `build` lets Sphinx make
the site of these.
"""
