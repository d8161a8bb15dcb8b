"""The catalogue: what it holds, and which of its languages somebody gets."""

from __future__ import annotations

import re
import tomllib
from datetime import date

import pytest
from babel.messages.catalog import Message
from babel.messages.pofile import read_po

from aperture_dagster.taste.lists import why_recommended
from aperture_dagster.texts import ENGLISH, FOLDER, LANGUAGES, preferred_language, texts_of, translated
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.texts.extraction import PACKAGE, texts_used

PLACEHOLDER = re.compile(r"%\(\w+\)s")


def catalogue(language: str) -> list[Message]:
    with (FOLDER / f"{language}.po").open("rb") as file:
        return [message for message in read_po(file, locale=language) if message.id]


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_every_text_of_the_pages_is_translated(language: str):
    there = {message.id for message in catalogue(language) if message.string and all(message.string)}
    assert {text: file for text, file in texts_used().items() if text not in there} == {}


@pytest.mark.parametrize("language", sorted(translated() - {"en"}))
def test_a_catalogue_holds_only_texts_that_are_used_with_the_same_values(language: str):
    messages = catalogue(language)
    assert {message.id for message in messages} <= set(texts_used())
    for message in messages:
        ours = message.id if isinstance(message.id, tuple) else (message.id,)
        theirs = message.string if isinstance(message.string, tuple) else (message.string,)
        wanted = set(PLACEHOLDER.findall(ours[-1]))
        assert all(set(PLACEHOLDER.findall(text)) == wanted for text in theirs), message.id


def test_the_catalogues_are_installed_with_the_package():
    patterns = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    given = {path for one in patterns["package-data"]["aperture_dagster"] for path in PACKAGE.glob(one)}
    assert set(FOLDER.glob("*.po")) <= given


def test_templates_hold_no_words_of_their_own():
    for template in PACKAGE.rglob("*.html"):
        text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", template.read_text(encoding="utf-8"))
        labels = re.findall(r'(?:aria-label|alt|title|placeholder)="([^"]*)"', text)
        words = set(re.findall(r"[^\W\d_]+", " ".join([re.sub(r"<[^>]*>", " ", text), *labels])))
        assert words <= {"Aperture", "Trakt"}, (template.name, words)


@pytest.mark.parametrize(
    ("given", "locale", "day"),
    [
        ("de", "de", "24.12.2026"), ("de-AT", "de_AT", "24.12.2026"), ("DE_ch", "de_CH", "24.12.2026"),
        ("en-GB", "en_GB", "24 Dec 2026"), ("de-XQ", "de", "24.12.2026"), ("tlh", "en", "Dec 24, 2026"),
        (None, "en", "Dec 24, 2026"), ("../de", "en", "Dec 24, 2026"), ("de-../x", "de", "24.12.2026"),
    ],
)  # fmt: skip
def test_a_language_without_texts_is_english_and_dates_are_those_of_the_country(
    given: str | None, locale: str, day: str
):
    texts = texts_of(given)
    assert (str(texts.locale), texts.day(date(2026, 12, 24))) == (locale, day)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de-AT"), ("fr,de;q=0.5,en;q=0.7", "en"), ("en;q=0.1, de", "de"),
        ("de;q=0, fr", "en"), ("fr", "en"), ("", "en"), ("*", "en"), ("de;q=x", "en"), ("de;q=9", "en"),
        (",;,;q=", "en"), ("de\r\nx: y", "en"), ("x," * 50 + "de", "en"),
    ],
)  # fmt: skip
def test_a_browser_gets_the_language_that_it_prefers(accepted: str, language: str):
    assert preferred_language(accepted) == language


def test_counts_and_lists_follow_the_language():
    german = texts_of("de")
    assert why_recommended(["Alien"], _=german) == "Weil dir Alien gefallen hat"
    assert why_recommended(["Alien", "Heat"], _=german) == "Weil dir Alien und Heat gefallen haben"
    assert why_recommended(["50 % (s)"], _=german) == "Weil dir 50 % (s) gefallen hat"
    episodes = ("%(count)s episode to watch", "%(count)s episodes to watch")
    assert german.plural(*episodes, 1) == "1 ungesehene Folge"
    assert german.plural(*episodes, 1200) == "1.200 ungesehene Folgen"
    assert ENGLISH.plural(*episodes, 1200) == "1,200 episodes to watch"


def test_no_text_is_made_of_pieces_that_a_translator_never_sees():
    # Babel finds only literal texts: a formatted one would be shown in English.
    for path in PACKAGE.rglob("*.py"):
        assert not re.search(r"""\b(?:_|marked|_\.plural)\(\s*f["']""", path.read_text(encoding="utf-8")), path
