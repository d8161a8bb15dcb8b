"""README and docs: links lead somewhere, and commands, settings and targets that they name exist."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import click
import yaml
from dagster._cli import create_dagster_cli
from dagster_dg_cli.cli import create_dg_cli
from PIL import Image

from aperture_dagster.cli.main import main as aperture
from aperture_dagster.settings import known_variables
from aperture_dagster_tests.conftest import PROJECT

PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")])
PICTURES = sorted(path for path in (PROJECT / "docs" / "images").iterdir())
MANUALS = [path for path in PAGES if path.name not in {"adding-a-source.md", "adding-a-job.md"}]
"""Pages without invented settings and files, which those two use as an example."""
LARGEST_PICTURE = 150_000
PROGRAMS: dict[str, click.Group] = {"aperture": aperture, "dagster": create_dagster_cli(), "dg": create_dg_cli()}
COMPOSE = {
    "exec": "", "logs": "--follow", "ps": "", "restart": "", "run": "--rm --volume", "stop": "",
    "up": "--detach --scale", "pull": "",
}  # fmt: skip
"""Commands of Docker Compose and the options that pages use: there is no Docker where these tests run."""

LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|(?:src|href)=\"([^\"]+)\"")
FENCE = re.compile(r"^( *)(```+|~~~+)[^\n]*\n(.*?)^\1\2[ \t]*$", re.S | re.M)
SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.S)
SETTING = re.compile(r"\b(?:APERTURE_[A-Z0-9_]*[A-Z0-9]|[A-Z]+_API_KEY|TRAKT_[A-Z_]+[A-Z])\b(?!…)")


def page_id(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return SPAN.sub("", FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", FENCE.sub("", text), re.M):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        number, name = 0, slug
        while name in found:
            number += 1
            name = f"{slug}-{number}"
        found.add(name)
    return found


def problems(pages: Iterable[Path], find: Callable[[Path], Collection[str]]) -> dict[str, Collection[str]]:
    """Return what is found on pages, by page."""
    return {page_id(page): found for page in pages if (found := find(page))}


def links(text: str) -> list[str]:
    return [link or reference for link, reference in LINK.findall(without_code(text))]


def broken_links(page: Path, text: str) -> list[str]:
    """Return the links of a page that lead to no file, or to no heading of it."""
    broken = []
    for link in links(text):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        found = target.is_relative_to(PROJECT) and target.exists()
        if not found or (anchor and anchor not in anchors(text if target == page else text_of(target))):
            broken.append(link)
    return broken


def code(text: str) -> Iterator[str]:
    """Yield each line of the code blocks of a page, and each code span in its prose."""
    for _, _, block in FENCE.findall(text):
        yield from (line.strip() for line in block.replace("\\\n", " ").splitlines())
    for _, span in SPAN.findall(FENCE.sub("", text)):
        yield " ".join(span.split())


def words_after(program: str, line: str) -> list[str] | None:
    """Return the words that follow a program on a line of code, up to a comment or the end of the command."""
    before = r"^(?:.*(?:&&|\|\||;) *)?(?:\$ )?(?:sudo )?(?:ExecStart=)?(?:env (?:-u \w+ )*)?(?:[A-Z_]+=\S* )*(?:\S*/)?"
    found = re.match(rf"{before}{program}(?=\s|$)(.*)", line)
    if not found:
        return None
    lexer = shlex.shlex(found.group(1), posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    try:
        for word in lexer:
            if word.strip(";&|<>") == "":
                break
            words.append(word)
    except ValueError:  # an apostrophe in prose, or an ellipsis of a quoted text
        return found.group(1).split()
    return words


def wrong_words(words: list[str], command: click.Command = aperture) -> str | None:
    """Say what in the words after a program is no command and no option; None if all are."""
    words = list(words)
    while isinstance(command, click.Group):
        options = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
        # What `dg scaffold defs` knows depends on the project.
        if not words or words[0] in {*options, "--help", "…"} or command.name == "defs":
            return None
        name = words.pop(0)
        inner = command.get_command(click.Context(command), name)
        if inner is None:
            return f"no command {name!r}"
        command = inner
    known = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
    options = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    unknown = [word for word in options if word not in {*known, "--help"}]
    return f"no option {unknown[0]!r} of {command.name!r}" if unknown else None


def unknown_commands(text: str) -> list[str]:
    return [
        f"{line}: {problem}"
        for line in code(text)
        for program, command in PROGRAMS.items()
        if (words := words_after(program, line)) is not None and (problem := wrong_words(words, command))
    ]


def incomplete_commands(text: str) -> list[str]:
    """Return the lines of code blocks that ``aperture`` does not accept as they are; their files need not exist."""
    found = []
    for _, _, block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            words = words_after("aperture", line.strip())
            if words is None or "…" in line:
                continue
            command: click.Command = aperture
            while isinstance(command, click.Group) and words and (inner := command.commands.get(words[0])):
                command, words = inner, words[1:]
            if isinstance(command, click.Group):
                continue
            try:
                command.make_context(command.name, list(words))
            except click.UsageError as error:
                if "does not exist" not in error.format_message():
                    found.append(f"{line.strip()}: {error.format_message()}")
    return found


def names_in(program: str, line: str, *options: str) -> set[str]:
    """Return the names that follow some options of a program on a line of code, separated by commas."""
    words = words_after(program, line) or []
    return {name for option, value in itertools.pairwise(words) if option in options for name in value.split(",")}


def unknown_settings(text: str) -> list[str]:
    return sorted(set(SETTING.findall(text)) - known_variables())


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.M))


# Links and pictures


def test_every_link_leads_to_a_file_and_a_heading():
    assert problems(PAGES, lambda page: broken_links(page, text_of(page))) == {}


def test_every_picture_is_used_and_small():
    used = {(page.parent / link).resolve() for page in PAGES for link in links(text_of(page)) if "images/" in link}
    assert [path.name for path in PICTURES if path not in used] == []
    for path in PICTURES:
        assert path.stat().st_size < LARGEST_PICTURE, path.name
        with Image.open(path) as picture:
            assert picture.mode == "P", f"{path.name} has no palette: run make screenshots"


def test_every_page_can_be_reached_from_the_readme():
    reached, left = set(), {PROJECT / "README.md"}
    while left:
        page = left.pop()
        reached.add(page)
        there = {(page.parent / link.partition("#")[0]).resolve() for link in links(text_of(page)) if ":" not in link}
        left |= (there & set(PAGES)) - reached
    assert [page_id(page) for page in PAGES if page not in reached] == []


# What they name


def test_every_command_that_a_page_names_exists():
    assert problems(PAGES, lambda page: unknown_commands(text_of(page))) == {}


def test_every_line_of_a_block_with_our_command_is_accepted_as_it_is():
    assert problems(PAGES, lambda page: incomplete_commands(text_of(page))) == {}


def test_every_asset_and_job_that_a_command_names_exists():
    known = json.loads((PROJECT / "aperture_dagster_tests" / "defs" / "golden.json").read_text(encoding="utf-8"))
    lines = [line for page in PAGES for line in code(text_of(page))]
    assets = {
        name for line in lines for name in names_in("dagster", line, "--select") | names_in("dg", line, "--assets")
    }
    jobs = {name for line in lines for name in names_in("dagster", line, "-j") | names_in("dg", line, "--job")}
    modules = {name for line in lines for name in names_in("dagster", line, "-m", "--module-name")}
    assert assets and assets <= known["assets"].keys()
    assert jobs and jobs <= known["jobs"].keys()
    assert modules == {"aperture_dagster.definitions"}


def test_every_file_service_and_option_of_compose_that_a_page_names_exists():
    files = [*PROJECT.glob("deploy/*.yaml"), *PROJECT.glob("deploy/*/compose.yaml")]
    services = {name for path in files for name in yaml.safe_load(path.read_text("utf-8")).get("services", {})}
    for page in PAGES:
        for line in code(text_of(page)):
            words = (words_after("docker", line) or [""])[1:] if "docker compose " in line else []
            if words[:1] == ["--file"]:
                assert (PROJECT / "deploy" / words[1]).exists(), line
                words = words[2:]
            if not words:
                continue
            command, *others = words
            assert command in COMPOSE, line
            mine = [word for word in others[: 3 if command == "run" else None] if word.startswith("--")]
            assert command == "exec" or set(mine) <= set(COMPOSE[command].split()), line
            named = others[:1] if command == "exec" else [one for one in others if one == "worker"]
            assert set(named) <= services, line


def test_every_file_of_the_project_that_a_page_names_exists():
    tops = "deploy|docs|tools|benchmarks|aperture_dagster|aperture_dagster_tests"
    places = (PROJECT, PROJECT / "aperture_dagster_tests")

    def missing(page: Path) -> list[str]:
        said = "\n".join(code(text_of(page)))
        named = set(re.findall(rf"(?<![\w/.~-])((?:{tops})/[\w./-]*\w)", said))
        named |= set(re.findall(r"(?<![\w/.])((?:\w+/)*test_\w+\.py)", said))
        return [name for name in sorted(named) if not any((place / name).exists() for place in places)]

    assert problems(MANUALS, missing) == {}


def test_every_setting_that_a_page_names_exists():
    assert problems(MANUALS, lambda page: unknown_settings(text_of(page))) == {}


def test_every_target_of_make_that_a_page_names_exists():
    def unknown(page: Path) -> set[str]:
        named = [words for line in code(text_of(page)) if (words := words_after("make", line)) is not None]
        return {word for words in named for word in words if "=" not in word and word != "…"} - targets()

    assert problems(PAGES, unknown) == {}


def test_every_module_and_script_that_a_page_runs_exists():
    def unknown(page: Path) -> list[str]:
        said = "\n".join(code(text_of(page)))
        modules = [one for one in re.findall(r"python -m ([\w.]+)", said) if not find_spec(one)]
        scripts = re.findall(r"\b((?:benchmarks|docs)/\w+\.py)\b", said)
        return modules + [one for one in scripts if not (PROJECT / one).exists()]

    assert problems(PAGES, unknown) == {}


# The checks themselves


def test_what_does_not_exist_is_found():
    nowhere = ["no-such-page.md", "docs/guide.md#no-such-heading", "#no-such-heading", "../outside.md"]
    page, text = PROJECT / "README.md", "# What it *is*, in short\n\n[a](docs/guide.md) [b](#what-it-is-in-short) "
    assert broken_links(page, text + " ".join(f"[x]({link})" for link in nowhere)) == nowhere
    for wrong, problem in {
        "Run `aperture docter`.": "no command 'docter'",
        "```\nAPERTURE_HOME=/tmp/x aperture backup creat && ls --all\n```": "no command 'creat'",
        "over two lines: `aperture\npublish --dry`": "no option '--dry' of 'publish'",
        "`dg launch --asset movies`": "no option '--asset' of 'launch'",
    }.items():
        (found,) = unknown_commands(wrong)
        assert found.endswith(problem)
    (missing,) = incomplete_commands("```\naperture rate anna   # a remark\naperture restore no-such-file.sql.gz\n```")
    assert "Missing argument 'TITLE'" in missing
    assert unknown_settings("`APERTURE_EMBEDER`, `APERTURE_HOME`, `TMDB_API_KEY`") == ["APERTURE_EMBEDER"]
