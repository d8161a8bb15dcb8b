"""The documentation as a site: every page is in its navigation and in llms.txt, and every link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from aperture_dagster_tests.conftest import PROJECT, load_script
from aperture_dagster_tests.test_docs import PAGES, problems, text_of
from aperture_dagster_tests.waiting import SECONDS

REPOSITORY = "https://github.com/aperture-dagster/aperture-dagster"
SITE = "https://aperture-dagster.github.io/aperture-dagster/"


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    return load_script("tools/site_hooks.py")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(PROJECT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder


def build(configuration: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    # With --quiet, a warning would break nothing.
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(configuration)]
    return subprocess.run(
        [*command, "--site-dir", str(folder)], cwd=PROJECT, capture_output=True, text=True, timeout=SECONDS
    )


def test_every_page_is_listed_once(hooks: ModuleType):
    names = [page.name for page in hooks.listed_pages((PROJECT / hooks.PAGES).read_text(encoding="utf-8"))]
    there = {path.name for path in (PROJECT / "docs").glob("*.md")} - {"README.md"}
    # The overview is the first page of the site, which has no row.
    outside = {name for path, name in hooks.OUTSIDE.items() if path != "README.md"}
    assert sorted(names) == sorted(there | outside)


def test_every_page_is_built_with_its_links_and_is_in_llms_txt(hooks: ModuleType, site: Path):
    pages = hooks.listed_pages((PROJECT / hooks.PAGES).read_text(encoding="utf-8"))
    index = (site / "llms.txt").read_text(encoding="utf-8")
    assert index.startswith("# Aperture\n\n> Personal recommendations")
    for page in pages:
        written = site / page.name.removesuffix(".md") / "index.html"
        assert "<h1" in written.read_text(encoding="utf-8")
        assert f"- [{page.title}]({SITE}{page.name}): {page.about}\n" in index
        assert (site / page.name).is_file(), "llms.txt leads to the text, not to HTML"
    home = (site / "index.html").read_text(encoding="utf-8")
    assert "Personal recommendations for a Jellyfin or Emby server" in home and 'href="guide/"' in home
    assert "images/members-for-you.png" in home and (site / "images" / "members-for-you.png").is_file()
    # The pages ask no other host for anything.
    assert not re.search(r'<(?:script|img|link rel="(?:stylesheet|preconnect)")[^>]*(?:src|href)="https?://', home)


@pytest.mark.nightly(
    reason="The site is built three times.",
    instead="test_site.py::test_every_page_is_built_with_its_links_and_is_in_llms_txt",
)
def test_a_broken_link_or_anchor_or_an_unlisted_page_breaks_the_build(tmp_path: Path):
    for name in ("mkdocs.yml", "pyproject.toml", "README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md"):
        (tmp_path / name).symlink_to(PROJECT / name)
    (tmp_path / "docs").mkdir()
    for path in (PROJECT / "docs").iterdir():
        (tmp_path / "docs" / path.name).symlink_to(path)
    (tmp_path / "tools").mkdir()
    # The hooks read the pages beside them.
    hook = tmp_path / "tools" / "site_hooks.py"
    hook.write_text((PROJECT / "tools" / "site_hooks.py").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "mkdocs.yml").unlink()
    (tmp_path / "mkdocs.yml").write_text((PROJECT / "mkdocs.yml").read_text(encoding="utf-8"), encoding="utf-8")
    faq = tmp_path / "docs" / "faq.md"
    for link, said in (("no-such-page.md", "no-such-page.md"), ("guide.md#no-such-heading", "no-such-heading")):
        faq.unlink()
        faq.write_text(f"# FAQ\n\n[x]({link})\n", encoding="utf-8")
        done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
        assert done.returncode != 0 and said in done.stderr
    faq.write_text("# FAQ\n", encoding="utf-8")
    (tmp_path / "docs" / "unlisted.md").write_text("# Unlisted\n", encoding="utf-8")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0 and "unlisted.md" in done.stderr


def test_links_for_github_become_links_of_the_site(hooks: ModuleType):
    for source, before, after in (
        ("docs/guide.md", "[a](faq.md#x)", "[a](faq.md#x)"),
        ("docs/guide.md", "[a](../README.md#try-it)", "[a](index.md#try-it)"),
        ("docs/guide.md", "[a](README.md)", "[a](index.md)"),
        ("docs/guide.md", "[a](../aperture_dagster/jobs.py)", f"[a]({REPOSITORY}/blob/main/aperture_dagster/jobs.py)"),
        (
            "README.md",
            "![a](docs/images/b.png) [c](LICENSE)",
            f"![a](images/b.png) [c]({REPOSITORY}/blob/main/LICENSE)",
        ),
        (
            "SECURITY.md",
            "[a](docs/api.md), [b](#here), [c](https://x.example)",
            "[a](api.md), [b](#here), [c](https://x.example)",
        ),
    ):
        assert hooks.relinked(before, source, REPOSITORY) == after


def test_blocks_look_the_same_on_github_and_on_the_site():
    """Markdown for the site wants four blanks before a block of a list, and an empty line before a list or a table."""

    def found(page: Path) -> list[str]:
        lines = text_of(page).splitlines()
        wrong, is_code = [], False
        for before, line in zip(["", *lines], lines, strict=False):
            is_fence = line.lstrip().startswith("```")
            if not is_code:
                of_a_list = re.match(r" {1,3}(?=\S)", line) and (is_fence or not before.strip())
                begins = re.match(r"(?:- |\d+\. |\|)", line) and re.match(r"[^\s|`<-](?!\d*\. )", before)
                if of_a_list or (begins and not re.match(r"\d+\. ", before)):
                    wrong.append(line)
            is_code ^= is_fence
        return wrong

    assert problems(PAGES, found) == {}
