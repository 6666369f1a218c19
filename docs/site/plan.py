"""Which text of the repository is where on the site, and where its links lead there."""

import dataclasses
import pathlib
import posixpath
import re
import shutil

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = "README.md"
_LANGUAGES = {".py": "python", ".json": "json", ".js": "javascript", ".html": "html"}
_PICTURES = {".png", ".jpg", ".svg"}
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(\]\()([^()\s:#]*)(?:#([^()\s]*))?(\))")


@dataclasses.dataclass(frozen=True)
class Page:
    """A page of the site that is made of a page of the repository.

    Args:
        name: its address on the site, without the ending.
        source: Markdown file, from the root of the repository.
        sections: headings of the sections that are taken; all of the file if there are none.
        title: of the page; by default its own, or that of the only section.
    """

    name: str
    source: str
    sections: tuple[str, ...] = ()
    title: str = ""

    def text(self) -> str:
        """What is on it, with the links of the repository."""
        text = (ROOT / self.source).read_text(encoding="utf-8")
        if not self.sections:
            return text
        known = sections(text)
        if len(self.sections) > 1:
            return f"# {self.title}\n\n" + "\n".join(f"## {name}\n{known[name]}" for name in self.sections)
        (only,) = self.sections
        return f"# {self.title or only}\n{known[only]}"


def sections(text: str) -> dict[str, str]:
    """What stands below each heading of the second level, by the heading."""
    masked = _CODE.sub(lambda code: code[0].replace("\n#", "\n "), text)  # a comment in code is no heading
    starts = [(found.start(), found.end(), found[1]) for found in re.finditer(r"^## (.+)$", masked, re.MULTILINE)]
    ends = [start for start, _, _ in starts[1:]] + [len(text)]
    return {heading: text[begin:end] for (_, begin, heading), end in zip(starts, ends, strict=True)}


CHAPTERS = {
    "Start": [
        Page("start", README, ("In ten lines", "On the command line"), "Getting started"),
        Page("loading_weights", README, ("Weights without internet", "The Hugging Face Hub"), "Loading weights"),
        Page("published_weights", "weights/README.md"),
    ],
    "Models": [
        Page("families/index", README, ("Models",), "Families"),
        "cost_and_accuracy",
        Page("models", "docs/models.md"),
    ],
    "Guides": [
        Page("fine_tuning", README, ("Fine-tuning on your own images",)),
        Page("videos_in_short", README, ("Videos",), "Videos in short"),
        Page("video", "docs/video.md"),
        Page("segmentation", README, ("Segmentation",)),
        Page("detection", README, ("Detection",)),
        Page("phone", "examples/mobile/README.md"),
        Page("web", "examples/web/README.md"),
    ],
    "Reference": [
        "api/index",
        Page("speed_in_short", README, ("Speed",), "Speed in short"),
        Page("speed", "docs/speed.md"),
        Page("mobile", "docs/mobile.md"),
        Page("verified", "docs/verified.md"),
    ],
    "Project": [
        Page("contributing", "CONTRIBUTING.md"),
        Page("adding_a_family", README, ("Adding a family",)),
        Page("changes", "CHANGELOG.md"),
    ],
}
"""The pages in the order of the navigation. A name alone is that of a page that is generated."""

AT_HOME = "Looking into models"
"""The section of README whose pictures are on the first page."""


def _with_the_rest() -> list[Page]:
    """The planned pages. Other pages of docs/ are guides, and other sections of README stand on the first page."""
    planned = [page for pages in CHAPTERS.values() for page in pages if isinstance(page, Page)]
    files = [f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md"))]
    named = {page.source for page in planned}
    CHAPTERS["Guides"] += [Page(pathlib.Path(file).stem, file) for file in files if file not in named]
    placed = {AT_HOME, *(name for page in planned if page.source == README for name in page.sections)}
    rest = [name for name in sections((ROOT / README).read_text(encoding="utf-8")) if name not in placed]
    start = CHAPTERS["Start"][0]
    CHAPTERS["Start"][0] = dataclasses.replace(start, sections=(*start.sections, *rest))
    return [page for pages in CHAPTERS.values() for page in pages if isinstance(page, Page)]


PAGES = _with_the_rest()


def home(cards: str) -> str:
    """The first page: what README says before its first section, cards that lead to other pages, and pictures."""
    text = (ROOT / README).read_text(encoding="utf-8")
    return "\n".join([text.partition("\n## ")[0], cards, f"## {AT_HOME}", sections(text)[AT_HOME]])


def slug(heading: str) -> str:
    """The anchor of a heading, as code hosts and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


class Site:
    """The sources of the site, as they are written.

    Args:
        folder: where to.
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self._pages = {page.source: page.name for page in PAGES if not page.sections}
        self._sections = {(page.source, slug(name)): page for page in PAGES for name in page.sections}
        self._files: set[str] = set()

    def write(self, name: str, text: str):
        """Write a page, of Markdown with the links of the site, to an address without its ending."""
        path = self.folder / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def write_files(self):
        """Write a page for each file that a page leads to and that has no page of its own."""
        done = set()
        while self._files - done:
            for file in sorted(self._files - done):
                done.add(file)
                self.write(f"files/{file}", self._file(file))

    def linked(self, name: str, text: str, source: str) -> str:
        """A text of the repository with links that lead to the same things on the site.

        Args:
            name: the address of the page that it is put on, without the ending.
            text: in Markdown.
            source: the file of the repository that it is from.

        Raises:
            FileNotFoundError: a link leads to nothing in the repository.
        """

        def link(found):
            target = self._target(source, found[2], found[3])
            return f"{found[1]}{posixpath.relpath(target, posixpath.dirname(name) or '.')}{found[4]}"

        parts = _CODE.split(text)
        return "".join(part if i % 2 else _LINK.sub(link, part) for i, part in enumerate(parts))

    def _target(self, source, path, anchor):
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path)) if path else source
        if page := self._sections.get((file, anchor)):
            return f"{page.name}.md" + (f"#{anchor}" if len(page.sections) > 1 else "")
        if file in self._pages:
            return f"{self._pages[file]}.md" + (f"#{anchor}" if anchor else "")
        if file == README and anchor in ("", None, slug(AT_HOME)):
            return "index.md" + (f"#{anchor}" if anchor else "")
        if anchor or not (ROOT / file).exists():
            raise FileNotFoundError(
                f"{source} leads to {path}{f'#{anchor}' if anchor else ''}, which is not on the site."
            )
        if pathlib.Path(file).suffix in _PICTURES:
            (self.folder / "pictures").mkdir(exist_ok=True)
            copy = f"pictures/{file.replace('/', '_')}"
            shutil.copy(ROOT / file, self.folder / copy)
            return copy
        self._files.add(file)
        return f"files/{file}.md"

    def _file(self, file) -> str:
        """The page of a file or folder: it is read where a link leads to it, and not found by a search."""
        head = f"---\nnosearch: true\norphan: true\n---\n# `{file}`\n\n"
        path = ROOT / file
        if path.is_dir():
            inside = sorted(one.name for one in path.iterdir() if one.suffix in _LANGUAGES)
            self._files.update(f"{file}/{name}" for name in inside)
            return head + "\n".join(f"- [{name}]({path.name}/{name}.md)" for name in inside) + "\n"
        fence, language = "`" * 6, _LANGUAGES.get(path.suffix, "text")
        return f"{head}{fence}{language}\n{path.read_text(encoding='utf-8').rstrip()}\n{fence}\n"
