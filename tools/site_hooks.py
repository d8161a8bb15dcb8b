"""Hooks for the site (``mkdocs.yml``): its navigation, pages from outside ``docs/``, links, and ``llms.txt``.

The pages are written for GitHub. ``docs/README.md`` lists all of them in tables, which become the navigation here.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PROJECT = Path(__file__).resolve().parents[1]
PAGES = "docs/README.md"
"""The list of all pages, which is no page of the site."""
OUTSIDE = {
    "README.md": "index.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
}  # fmt: skip
"""Files above ``docs/`` that are pages, and their names on the site."""
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


@dataclass(frozen=True)
class Listed:
    """A page in the list: its group, title, name on the site, and what it answers."""

    group: str
    title: str
    name: str
    about: str


def listed_pages(text: str) -> list[Listed]:
    """Return the pages that ``docs/README.md`` lists, in its order."""
    found: list[Listed] = []
    group = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"\*\*(.+)\*\*", line):
            group = heading[1]
        elif row := re.fullmatch(r"\| (\[.+\)) \| (.+) \|", line):
            links = re.findall(r"\[([^\]]+)\]\(([^)]+)\)", row[1])
            found += [Listed(group, title, site_name(PAGES, target) or "", row[2]) for title, target in links]
    return found


def site_name(source: str, target: str) -> str | None:
    """Return the name on the site of what a file links to; None if that is no page of it.

    Args:
        source: path of the file in the repository.
        target: a relative link in it.
    """
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path == PAGES:
        return "index.md"
    return OUTSIDE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)


def relinked(text: str, source: str, repository: str) -> str:
    """Return a page's text with links to other pages of the site, and to the repository for all other files."""

    def link(match: re.Match[str]) -> str:
        name = site_name(source, match[1])
        if name is None:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
            name = f"{repository}/blob/main/{path}"
        return f"]({name}{match[2] or ''})"

    return LINK.sub(link, text)


def llms(pages: list[Listed], site: str, summary: str) -> str:
    """Return ``llms.txt`` (https://llmstxt.org): what the project is, and each page with what it answers."""
    lines = ["# Aperture", "", f"> {summary}", ""]
    group = None
    for page in pages:
        if page.group != group:
            group = page.group
            lines += ["", f"## {group}", ""] if lines[-1] else [f"## {group}", ""]
        lines.append(f"- [{page.title}]({site}{page.name}): {page.about}")
    return "\n".join(lines) + "\n"


def _project() -> dict[str, Any]:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _repository() -> str:
    return _project()["urls"]["Repository"]


def _pages() -> list[Listed]:
    return listed_pages((PROJECT / PAGES).read_text(encoding="utf-8"))


def _source(file: File) -> str:
    outside = {name: path for path, name in OUTSIDE.items()}
    return outside.get(file.src_uri, f"docs/{file.src_uri}")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Set the addresses and the navigation."""
    owner, name = _repository().rpartition("github.com/")[2].lower().split("/")
    # Not as MkDocs' `repo_url`, for which each page would ask GitHub how many stars there are.
    config.extra["social"] = [{"icon": "fontawesome/brands/github", "link": _repository(), "name": "Source code"}]
    config.site_url = f"https://{owner}.github.io/{name}/"
    navigation: dict[str, list[dict[str, str]]] = {}
    for page in _pages():
        navigation.setdefault(page.group, []).append({page.title: page.name})
    config.nav = [{"Aperture": "index.md"}, *({group: pages} for group, pages in navigation.items())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the list of pages with the pages from outside ``docs/``."""
    listed = files.get_file_from_path("README.md")
    assert listed is not None
    files.remove(listed)
    for path, name in OUTSIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(PROJECT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links of the repository links of the site."""
    return relinked(markdown, _source(page.file), _repository())


def on_post_build(config: MkDocsConfig) -> None:
    """Write ``llms.txt``, and each page as it was written beside it."""
    assert config.site_url is not None
    folder = Path(config.site_dir)
    pages = [Listed("Overview", "Aperture", "index.md", "what it does, and how to try it"), *_pages()]
    (folder / "llms.txt").write_text(llms(pages, config.site_url, _project()["description"] + "."), encoding="utf-8")
    paths = {name: path for path, name in OUTSIDE.items()}
    for page in pages:
        source = paths.get(page.name, f"docs/{page.name}")
        text = relinked((PROJECT / source).read_text(encoding="utf-8"), source, _repository())
        (folder / page.name).write_text(text, encoding="utf-8")
