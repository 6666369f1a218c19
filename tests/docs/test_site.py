"""The documentation site: what is on it, and how a browser shows it.

`apt-get install chromium` brings the browser; `.ci/run` does.
"""

import shutil

import loopback
import numpy as np
import pytest

from docs.site import api, build, families, fields, plan
from keras_mlp.zoo import FAMILIES

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WINDOWS = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1440, "height": 900}}
ADDRESSES = (
    *("index", "start", "families/index", "families/as_mlp", "models", "published_weights", "cost_and_accuracy"),
    *("fine_tuning", "phone", "scaling", "speed", "api/keras_mlp", "api/keras_mlp.tasks", "api/arguments"),
)


def test_every_section_of_readme_and_every_page_of_the_repository_is_on_the_site():
    shown = {name for page in plan.PAGES if page.source == plan.README for name in page.sections}
    text = (plan.ROOT / plan.README).read_text(encoding="utf-8")
    assert set(plan.sections(text)) == shown | {plan.AT_HOME}
    pages = {str(page.relative_to(plan.ROOT)) for page in (plan.ROOT / "docs").glob("*.md")}
    assert pages <= {page.source for page in plan.PAGES}


@pytest.mark.parametrize(
    ("source", "link", "expected"),
    [
        ("docs/keras.md", "mobile.md", "../mobile.md"),
        ("examples/mobile/README.md", "../../docs/mobile.md", "../mobile.md"),
        ("docs/speed.md", "../README.md#segmentation", "../segmentation.md"),
        ("README.md", "README.md#on-the-command-line", "../start.md#on-the-command-line"),
        ("docs/analysis.md", "../README.md#looking-into-models", "../index.md#looking-into-models"),
        ("README.md", "docs/speed.md#growth-and-memory", "../speed.md#growth-and-memory"),
        ("README.md", "keras_mlp/family.py", "../files/keras_mlp/family.py.md"),
        ("docs/speed.md", "speed.png", "../pictures/docs_speed.png"),
    ],
)
def test_links_lead_to_the_same_things_on_the_site(tmp_path, source, link, expected):
    site = plan.Site(tmp_path)
    text = f"A [link]({link}), and `[code]({link})`.\n\n```\n[more]({link})\n```\n"
    shown = text.replace(f"A [link]({link})", f"A [link]({expected})")
    assert site.linked("guides/page", text, source) == shown


def test_a_link_to_nothing_is_an_error(tmp_path):
    for link in ("docs/none.md", "README.md#none"):
        with pytest.raises(FileNotFoundError, match=f"README.md leads to {link}"):
            plan.Site(tmp_path).linked("page", f"[link]({link})", "README.md")


def test_a_family_that_is_not_there_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="There is no family 'mixer'. There are: active_mlp, "):
        build.build(tmp_path / "site", ["as_mlp", "mixer"])
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_other_than_a_site_is_left_as_it_is(tmp_path):
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "mine.html").write_text("mine")
    with pytest.raises(ValueError, match="is not empty, and is no site that can be replaced"):
        build.build(tmp_path, ["as_mlp"])
    assert (tmp_path / "html" / "mine.html").read_text() == "mine"


def test_docstrings_become_fields_and_keep_their_code():
    pytest.importorskip("sphinx", reason='needs the extra "docs"')
    text = api.markdown(
        "What it does.\n\nArgs:\n    x: a map\n        `(batch, n)`.\n\nReturns:\n    A `Field`: it is new.\n\n"
        "Example:\n    f(1)\n"
    )
    assert ":param x: a map" in text and ":returns: A `Field`: it is new." in text
    assert "**Example**\n\n```python\nf(1)\n```" in text


def test_public_names_without_a_docstring_are_told():
    pytest.importorskip("sphinx", reason='needs the extra "docs"')

    class Told:
        """It has a docstring."""

        def method(self):
            pass

        def __len__(self):
            return 0

    missing = []
    api._class("module.Told", Told, missing)
    assert missing == ["module.Told.method"]


def test_every_family_of_images_has_pictures_of_what_it_sees():
    kept = {path.name for path in fields.FOLDER.iterdir()}
    assert kept == {fields.path(name, part).name for name in fields.drawn() for part in fields.PARTS}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name == "as_mlp" else pytest.param(name, marks=pytest.mark.huge) for name in fields.drawn()]
)
def test_the_pictures_are_what_the_analysis_finds(name):
    for part, pixels in fields.draw(FAMILIES[name]).items():
        np.testing.assert_array_equal(fields.load(name, part), pixels)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of a site with the pages of two families."""
    pytest.importorskip("sphinx", reason='needs the extra "docs"')
    folder = build.build(tmp_path_factory.mktemp("site"), ["as_mlp", "mlp_mixer"]).parent
    with loopback.serving(folder) as server:
        yield server.url


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    if not CHROMIUM:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(params=["phone light", "phone dark", "desktop light", "desktop dark"])
def opened(request, browser, site):
    """A function that opens a page of the site in a window and a colour scheme, and what went wrong with any."""
    window, scheme = request.param.split()
    context = browser.new_context(viewport=WINDOWS[window], color_scheme=scheme)
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    page.on("request", lambda request: None if request.url.startswith((site, "data:")) else wrong.append(request.url))

    def open_page(address):
        page.goto(f"{site}/{address}")
        page.wait_for_load_state("networkidle")
        return page

    yield open_page, wrong
    context.close()


@pytest.mark.slow
def test_pages_fit_their_window_and_fetch_nothing_from_elsewhere(opened):
    open_page, wrong = opened
    for address in ADDRESSES:
        page = open_page(f"{address}.html")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), address
        broken = "[...document.images].filter(one => one.offsetParent && !one.naturalWidth).map(one => one.src)"
        assert page.evaluate(broken) == [], address
    assert wrong == []


@pytest.mark.slow
def test_pages_are_light_or_dark_as_the_reader_wants(opened, request):
    open_page, _ = opened
    scheme = request.node.callspec.params["opened"].split()[1]
    red, *_ = open_page("families/as_mlp.html").evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert (red > 200) == (scheme == "light")


@pytest.mark.slow
def test_search_finds_a_word_and_leads_to_its_page(opened):
    open_page, wrong = opened
    page = open_page("search.html?q=feature_pyramid")
    page.wait_for_selector("#search-results ul.search a")
    found = [link.get_attribute("href") for link in page.query_selector_all("ul.search a")]
    assert any(address.endswith("api/keras_mlp.html#keras_mlp.feature_pyramid") for address in found)
    assert wrong == []


@pytest.mark.slow
def test_the_interactive_picture_runs_by_itself(opened):
    open_page, wrong = opened
    page = open_page("cost_and_accuracy.html")
    page.click("text=Open the interactive picture")
    page.wait_for_selector(".plotly .point")
    assert wrong == []


@pytest.mark.slow
@pytest.mark.huge
def test_the_whole_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason='needs the extra "docs"')
    folder = build.build(tmp_path).parent
    assert {path.stem for path in (folder / "families").glob("*.html")} == {"index", *FAMILIES}
    names = families.zoo.BUILDERS
    text = "".join(path.read_text(encoding="utf-8") for path in (folder / "families").glob("*.html"))
    assert [name for name in names if f'id="keras_mlp.{name}"' not in text] == []
