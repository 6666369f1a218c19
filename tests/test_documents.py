"""The pages: what they point to is there, and what they tell to copy is Python."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted(ROOT.glob("*.md")) + [
    page for folder in ("docs", "weights", "examples") for page in sorted((ROOT / folder).rglob("*.md"))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_what_is_there(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^()\s:#]+)(?:#[^()\s]*)?\)", text)
    lost = [link for link in links if not (page.parent / link).exists()]
    assert not lost


def test_what_is_told_to_copy_is_python():
    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            ast.parse(block)
