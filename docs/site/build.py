"""Building the site: its sources are written to a folder, and Sphinx makes HTML of them."""

import pathlib
import shutil
import subprocess
import sys

import keras_mlp
from docs.site import api, families, plan
from keras_mlp import analysis, zoo
from keras_mlp.extras import need

HERE = pathlib.Path(__file__).parent
MARK = ".keras_mlp_site"
"""File that tells a folder of the site from any other."""


class Broken(Exception):
    """The site is not as it has to be: a link leads nowhere, or a public name has no docstring."""


def build(output, names=None) -> pathlib.Path:
    """Build the site.

    Args:
        output: folder to write to: a new one, an empty one, or one with an older site, which is replaced.
        names: of the families that get a page; all by default.

    Returns:
        The first page.

    Raises:
        ValueError: there is no such family, or `output` holds something other than a site.
        ImportError: what the extra "docs" installs is missing.
        FileNotFoundError: a link leads to nothing in the repository.
        Broken: Sphinx warned of something, or a public name has no docstring.
    """
    unknown = set(names or ()) - set(zoo.FAMILIES)
    if unknown:
        raise ValueError(f"There is no family {sorted(unknown)[0]!r}. There are: {', '.join(sorted(zoo.FAMILIES))}.")
    for package in ("sphinx", "furo", "myst_parser", "linkify_it", "sphinx_copybutton", "sphinx_design"):
        need(package, extra="docs")
    output = pathlib.Path(output).resolve()
    sources, html = output / "sources", output / "html"
    if output.exists() and not (output / MARK).exists() and any(output.iterdir()):
        raise ValueError(f"{output} is not empty, and is no site that can be replaced. Name another folder.")
    output.mkdir(parents=True, exist_ok=True)
    (output / MARK).touch()
    for folder in (sources, html, output / "doctrees"):
        shutil.rmtree(folder, ignore_errors=True)
    write_sources(sources, names or list(zoo.FAMILIES))
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--jobs=auto", "-c", str(HERE)]
    settings = {"release": keras_mlp.__version__, "html_extra_path": sources / "extra"}
    command += [word for name, value in settings.items() for word in ("-D", f"{name}={value}")]
    # A process of its own, because Sphinx forks and TensorFlow has threads.
    if subprocess.run([*command, "-d", output / "doctrees", sources, html], check=False).returncode:
        raise Broken("Sphinx warned of what is written above. The site is strict: mend it.")
    return html / "index.html"


def write_sources(folder, names):
    """Write what Sphinx reads.

    Args:
        folder: where to.
        names: of the families that get a page.

    Raises:
        FileNotFoundError: a link leads to nothing in the repository.
        Broken: a public name has no docstring.
    """
    site = plan.Site(folder)
    for name in ("pictures", "extra"):
        (folder / name).mkdir(parents=True)
    for name, text, source in (
        ("index", plan.home((HERE / "home.md").read_text(encoding="utf-8")) + _navigation(), plan.README),
        *((page.name, page.text(), page.source) for page in plan.PAGES),
    ):
        text = site.linked(name, text, source)
        site.write(name, families.index(text, names) if name == "families/index" else text)
    for name in names:
        site.write(f"families/{name}", families.page(zoo.FAMILIES[name], folder / "pictures"))
    missing = []
    for name, text in api.pages(missing).items():
        site.write(f"api/{name}", text)
    if missing:
        raise Broken(f"These public names have no docstring: {', '.join(missing)}")
    analysis.plot_costs(families.published_models(), folder / "extra" / "costs.html", folder / "pictures" / "costs.png")
    shutil.copy(HERE / "static" / "icon.ico", folder / "extra" / "favicon.ico")  # costs.html names none
    site.write("cost_and_accuracy", (HERE / "costs.md").read_text(encoding="utf-8"))
    site.write_files()


def _navigation() -> str:
    """The pages in the order of the plan, for the side of each page."""
    blocks = []
    for chapter, pages in plan.CHAPTERS.items():
        names = [page if isinstance(page, str) else page.name for page in pages]
        blocks.append("\n".join(["```{toctree}", ":hidden:", f":caption: {chapter}", "", *names, "```"]))
    return "\n\n".join(blocks) + "\n"
