"""In which language somebody reads the pages: the one that they chose, or else that of their browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperture_dagster.front_door.gate import cookie_of, header_of
from aperture_dagster.texts.translations import LANGUAGES, Texts, preferred_language, texts_of

if TYPE_CHECKING:
    from starlette.types import Scope

LANGUAGE_COOKIE = "aperture_language"


def texts_for(scope: Scope) -> Texts:
    """Return the texts for whoever sent a request. The country, which dates depend on, is that of the browser."""
    chosen = cookie_of(scope, LANGUAGE_COOKIE)
    among = [chosen] if chosen in LANGUAGES else LANGUAGES
    return texts_of(preferred_language(header_of(scope, b"accept-language"), among))
