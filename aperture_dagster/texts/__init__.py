"""Texts for the members of the household, in their languages: one catalogue, a ``.po`` file a language."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import NullTranslations, Translations

from aperture_dagster.model import listed

# Texts in a language, and dates and numbers as they are written there.
#
# A text is its own key in the catalogue, ``LANGUAGE.po`` in this folder, and it is shown in English where there is no
# translation. To add a language, add its file; pages are offered in those that :data:`LANGUAGES` names, which have all
# texts.


FOLDER = Path(__file__).parent
LANGUAGES = {"en": "English", "de": "Deutsch"}
"""Languages of pages, each by its own name."""
MOST_TAGS = 20


class Texts:
    """The texts of a language, which is that of a locale such as ``de_AT``."""

    def __init__(self, locale: Locale) -> None:
        self.locale = locale
        self._found = _translations(locale.language)

    def __call__(self, text: str, **values: object) -> str:
        """Translate a text, and fill in its values, ``%(name)s``."""
        found = self._found.gettext(text)
        return found % values if values else found

    def plural(self, one: str, many: str, count: int, **values: object) -> str:
        """Translate a text that depends on a count, which it may contain as ``%(count)s``."""
        return self._found.ngettext(one, many, count) % {"count": self.number(count), **values}

    def number(self, number: float) -> str:
        """Write a number, such as ``1.234,5``."""
        return format_decimal(number, locale=self.locale)

    def day(self, day: date) -> str:
        """Write a date, such as ``24.12.2026``."""
        return format_date(day, locale=self.locale)

    def listed(self, names: Sequence[str]) -> str:
        """Join names as a sentence does."""
        _ = self
        return listed(names, conjunction=_("and"))


def marked(text: str) -> str:
    """Mark a text as one that is translated where it is shown."""
    return text


@functools.lru_cache(maxsize=100)
def texts_of(language: str | None) -> Texts:
    """Return the texts of a language such as ``de`` or ``de-AT``; English if it is not known or not translated."""
    first, *others = re.split("[-_]", (language or "").strip().lower())
    if first not in translated():
        return ENGLISH
    try:
        return Texts(Locale(first, others[-1].upper() if others else None))
    except UnknownLocaleError:
        return Texts(Locale(first))


def preferred_language(accepted: str, among: Iterable[str] = LANGUAGES) -> str:
    """Return which of some languages a browser's ``Accept-Language`` prefers, with its country; else the first."""
    among = list(among)
    tags: list[tuple[float, str]] = []
    for one in accepted.split(",")[:MOST_TAGS]:
        found = re.fullmatch(r"\s*([A-Za-z]{2}(?:-[A-Za-z]{2})?)\s*(?:;\s*q=(0(?:\.\d{1,3})?|1(?:\.0{1,3})?))?\s*", one)
        if found is not None and found[1][:2].lower() in among and (quality := float(found[2] or 1)) > 0:
            tags.append((-quality, found[1]))
    return min(tags, key=lambda tag: tag[0], default=(0.0, among[0]))[1]


@functools.cache
def translated() -> frozenset[str]:
    """Return the languages that texts exist in."""
    return frozenset(["en", *(path.stem for path in FOLDER.glob("*.po"))])


@functools.cache
def _translations(language: str) -> NullTranslations:
    if language == "en":
        return NullTranslations()
    compiled = io.BytesIO()
    with (FOLDER / f"{language}.po").open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return Translations(compiled)


ENGLISH = Texts(Locale("en"))
