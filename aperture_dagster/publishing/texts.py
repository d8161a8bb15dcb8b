"""What published titles tell their viewers, by the language of the library; in English where there is no translation.

To add a language, add its texts here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts of one language.

    Args:
        liked: why a title is recommended; ``{titles}`` are liked ones.
        widely_liked: the same, without any.
        two: joins two titles, ``{0}`` and ``{1}``.
        season: which season of a series a library holds, and that ``{library}`` has the others.
        episodes: the same of a part of a season, from episode ``{first}`` to ``{last}``.
    """

    liked: str
    widely_liked: str
    two: str
    season: str
    episodes: str

    def reason(self, titles: Sequence[str]) -> str:
        """Return why a title is recommended, given at most two liked ones."""
        if not titles:
            return self.widely_liked
        return self.liked.format(titles=self.two.format(*titles) if len(titles) > 1 else titles[0])


ENGLISH = Texts(
    liked="Because you liked {titles}",
    widely_liked="Widely liked",
    two="{0} and {1}",
    season="This is season {season}. All seasons are in {library}.",
    episodes="These are episodes {first} to {last} of season {season}. All episodes are in {library}.",
)
TEXTS = {
    "en": ENGLISH,
    "de": Texts(
        liked="Weil dir {titles} gefallen hat",
        widely_liked="Allgemein beliebt",
        two="{0} und {1}",
        season="Das ist Staffel {season}. Alle Staffeln sind in {library}.",
        episodes="Das sind die Folgen {first} bis {last} von Staffel {season}. Alle Folgen sind in {library}.",
    ),
    "fr": Texts(
        liked="Parce que vous avez aimé {titles}",
        widely_liked="Apprécié de tous",
        two="{0} et {1}",
        season="Voici la saison {season}. Toutes les saisons sont dans {library}.",
        episodes="Voici les épisodes {first} à {last} de la saison {season}. Tous les épisodes sont dans {library}.",
    ),
    "es": Texts(
        liked="Porque te gustó {titles}",
        widely_liked="Gusta a casi todos",
        two="{0} y {1}",
        season="Esta es la temporada {season}. Todas las temporadas están en {library}.",
        episodes="Estos son los episodios {first} a {last} de la temporada {season}. Todos están en {library}.",
    ),
}


def texts_of(language: str | None) -> Texts:
    """Return the texts of a language such as ``de`` or ``de-AT``; English if it is not known or not translated."""
    return TEXTS.get((language or "").replace("_", "-").partition("-")[0].lower(), ENGLISH)
