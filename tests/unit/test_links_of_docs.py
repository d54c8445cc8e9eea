# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each link of a page to another file or heading of this repository leads there; README and the site have each page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PAGES = [page for where in (".", "docs/**", "roles/*") for page in sorted(CHECKOUT.glob(f"{where}/*.md"))]


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The headings as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(page)))
    for link in links:
        if "://" in link:
            continue
        path, _hash, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or target.suffix != ".md" or anchor in anchors(target), link


def test_the_site_lists_each_page() -> None:
    """`make docs` holds this too, and checks the links as Sphinx reads them, but takes half a minute."""
    index = (CHECKOUT / "tools/docsite/index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^(?:.* <)?([\w/-]+)>?$", index, re.MULTILINE))
    pages = {str(page.relative_to(CHECKOUT).with_suffix("")) for page in PAGES if page.parent.name != "adr"}
    assert pages - listed == set()
    assert sorted(name for name in listed - pages if "/" in name) == ["collection/index", "docs/adr/index"]


def test_readme_lists_each_page() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    table = re.split(r"^## .*\n", readme.partition("\n## Documentation\n")[2], flags=re.MULTILINE)[0]
    docs = CHECKOUT / "docs"
    pages = {str(page.relative_to(CHECKOUT)) for page in (*docs.glob("*.md"), *docs.glob("how-to/*.md"))}
    assert pages - set(re.findall(r"\]\(([^)#\s]+)", table)) == set()
