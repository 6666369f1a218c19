"""Build the documentation site; `make docs` does so.

    python -m docs.site --output=build/site
    python -m docs.site --output=build/small --families=as_mlp,mlp_mixer

A link that leads nowhere, a public name without a docstring, or any other warning of Sphinx is an error.
"""

import sys

from absl import app, flags

from docs.site import build

_OUTPUT = flags.DEFINE_string("output", "build/site", "Folder of the site; `html` in it is what is read.")
_FAMILIES = flags.DEFINE_list("families", None, "Families that get a page; all by default.")


def main(argv):
    if argv[1:]:
        sys.exit(f"error: Unknown argument: {argv[1]!r}. See --help.")
    try:
        index = build.build(_OUTPUT.value, _FAMILIES.value)
    except (ValueError, OSError, ImportError, build.Broken) as error:
        sys.exit(f"error: {error}")
    print(f"The site is in {index}. Any static server shows it: python -m http.server --directory {index.parent}")


if __name__ == "__main__":
    app.run(main)
