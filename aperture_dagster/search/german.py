"""German words of plots and keywords, in English.

Plots and keywords of most libraries are in English, or at least their keywords are, while questions may be in German.
There is no model that knows both: a table has the words that occur in plots, and their forms and compounds are taken
apart. What it does not know is searched for as it is, which finds German plots.
"""

from __future__ import annotations

from collections.abc import Container
from functools import cache
from pathlib import Path

from aperture_dagster.search.lexicon import entries
from aperture_dagster.search.words import listed

SHORTEST_PART = 3
"""Letters of a part of a compound."""
GERMAN = entries(Path(__file__).with_name("german.txt").read_text(encoding="utf-8"))
"""German words and phrases without accents, as :func:`~aperture_dagster.search.words.words_of` returns them."""
# Words of English as well, which are German in a question that has other German words.
ALSO_ENGLISH = listed(
    """
    arm all alter star see gift job gang model bar wind bus camp land party agent killer hacker reporter boxer
    clown radio internet gold mars jazz tennis basketball wolf tiger baby hotel restaurant winter museum band
    teenager computer cowboy samurai boot mode brief kind wall blind trainer sheriff veteran bank
    college bomben sex taxi virus hai fluch see reich rat alien aliens android mission expedition
    experiment revolution rebellion invasion obsession depression corruption ski rap opera held strand mine manner
    terror pest brand wale fee outing rendezvous genie keller auto ringer banker trucker pilot papa mama lotto
    poker wolfe butler surfer vampire nazis doppelganger student sport
    """
)
# Words that only German has, and that nearly every German question has one of.
FUNCTION_WORDS = listed(
    """
    der die das den dem des ein eine einen einem einer eines und oder mit ohne uber ubers im ins vom zum zur von
    vor nach bei aus auf fur wie wo wer was ist sind wird aber nicht kein keine sich seine seiner ihre ihrer film
    filme serie serien wenn als
    """
) - {"die", "film", "was"}
NOTHING = listed(
    """
    war waren wird werden wurde wurden bekommt kommt geht macht beim ins durch gegen einzigen immer wieder andere
    anderen alles alle viel viele ganz ihr ihm ihn man selbst denn dann damit doch mal etwas handelt
    """
)
"""Words that say nothing of a title in German."""
KINDS = ("filmen", "filme", "film", "komodien", "komodie", "dramen", "drama", "thriller", "serien", "serie", "krimis",
         "krimi", "dokus", "doku", "western", "musical", "horror")  # fmt: skip
_OF_ADJECTIVES = ("en", "em", "er", "es", "e")
_ENDINGS = ("innen", "erin", "ern", "en", "er", "es", "em", "in", "e", "n", "s")
_LINKS = ("", "s", "es", "n", "en", "e")


def is_german(words: list[str]) -> bool:
    """Return whether a question is in German: it has one of the words that only German has."""
    return any(word in FUNCTION_WORDS or is_only_german(word) for word in words)


def is_only_german(word: str) -> bool:
    """Return whether a word is known here, and means nothing in English."""
    return word in GERMAN and word not in ALSO_ENGLISH and word not in GERMAN[word].split()


def prepared(words: list[str], known: Container[str]) -> list[str]:
    """Return the words of a German question with words of kinds as ``known`` has them: *ruhigen* is *ruhig*.

    A kind at the end of a compound becomes a word of its own: *mafiafilm* is *mafia film*. Words that say nothing are
    left out, some of which mean something in English.
    """
    found: list[str] = []
    for word in words:
        if word in NOTHING:
            continue
        kind = next((kind for kind in KINDS if word.endswith(kind) and len(word) > len(kind) + 3), None)
        base = next((word.removesuffix(ending) for ending in _OF_ADJECTIVES if word.endswith(ending)), word)
        if word in known or word in GERMAN:
            found.append(word)
        elif base in known:
            found.append(base)
        elif kind is not None:
            found += [word.removesuffix(kind), kind]
        else:
            found.append(word)
    return found


@cache
def translated(word: str) -> tuple[str, ...]:
    """Return what a German word means in English, one word each: of the word itself, of its stem, or of its parts."""
    meaning = _meaning(word)
    if meaning is not None:
        return tuple(meaning.split())
    for cut in range(len(word) - SHORTEST_PART, SHORTEST_PART - 1, -1):
        first, second = _part(word[:cut]), _meaning(word[cut:])
        if first is not None and second is not None:
            return (*first.split(), *second.split())
    return ()


def stem(word: str) -> str:
    """Return what the forms of a German word share."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST_PART:
            return word.removesuffix(ending)
    return word


def _meaning(word: str) -> str | None:
    return GERMAN.get(word) or _stems().get(stem(word))


def _part(word: str) -> str | None:
    """Return the meaning of the first part of a compound, which may have letters that link it to the next one."""
    for link in _LINKS:
        if word.endswith(link) and len(word) - len(link) >= SHORTEST_PART:
            found = GERMAN.get(word.removesuffix(link))
            if found is not None:
                return found
    return None


@cache
def _stems() -> dict[str, str]:
    return {stem(word): meaning for word, meaning in reversed(GERMAN.items()) if " " not in word}
