"""Words of names and questions: without accents, punctuation and case, so that people find what they can type."""

from __future__ import annotations

import re
import unicodedata

LONGEST_QUESTION, MOST_WORDS = 200, 24
"""Characters and words of a question that are looked at; more of them is a text, which nobody searches with."""
# Letters that do not decompose into a Latin letter and an accent.
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "\u0131": "i", "&": " and "}
)
_NUMERALS = {"ii": "2", "iii": "3", "iv": "4", "vi": "6", "vii": "7", "viii": "8", "ix": "9"}
# An ideograph is a word of its own: nothing separates them.
_IDEOGRAPHS = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORDS = re.compile(rf"[{_IDEOGRAPHS}]|[^\W_{_IDEOGRAPHS}]+")
_INITIALS = re.compile(r"(?<!\w)(?:[^\W\d_]\.){2,}")
# In names and contractions: Schindler's, O'Brien, rock'n'roll.
APOSTROPHES = re.compile(r"(?<=\w)['\u2019\u02bc`\u00b4](?=\w)")


def plain(text: str) -> str:
    """Return a text in lower case, without accents."""
    text = text.casefold()
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(letter for letter in decomposed if unicodedata.category(letter) != "Mn")
    return text.translate(_LETTERS)


def words_of(text: str) -> list[str]:
    """Return the words of a text, with numerals as numbers: ``Rocky II`` is ``rocky 2``."""
    return [_NUMERALS.get(word) or word for word in _WORDS.findall(_as_typed(text))]


def _as_typed(text: str) -> str:
    """Return a plain text without apostrophes, and initials as a word: ``E.T.`` is ``et``."""
    return _INITIALS.sub(lambda found: found[0].replace(".", "") + " ", APOSTROPHES.sub("", plain(text)))


def clean_question(given: str | None) -> str:
    """Return what was asked on one line, without what cannot be shown, and no longer than a question is."""
    printable = "".join(letter if letter.isprintable() else " " for letter in given or "")
    return " ".join(printable.split())[:LONGEST_QUESTION].strip()


def listed(text: str) -> frozenset[str]:
    """Return the words of a text, or its phrases where there are commas."""
    return frozenset(" ".join(part.split()) for part in (text.split(",") if "," in text else text.split()))


STOP_WORDS = listed(
    """
    a aber about after all als also am an and any are as at auch auf aus be been bei being best between bin bis
    but by can could da das dass dem den der des did die dies diese dieser do doch does ein eine einem einen
    einer eines er es etwas film filme filmen films for from fur gerne geschichte get gets good great gut gute
    guter had has hat have having he her hers him his how i ich if ihr im in ins into is ist it its just kann
    like may me mehr mein mich mir mit more most movie movies my nach nice nicht no noch not nur ob oder of off
    ohne on one or other our out over people plot really s schon sehen sein seine set she should sich sie sind
    so some somebody someone something story such t than that the their them then there these they thing things
    this those to too uber um und uns up us very vom von vor want was watch we wenn wer were what when where
    which while who whom whose why wie will wir wird with wo would you your zu zum zur zwischen
    """
)
"""Words that say nothing of a title, in English and German, without accents."""
_VOWELS = re.compile(r"[aeiouy]")


def stem(word: str) -> str:
    """Return what the forms of an English word share, so that ``robbing`` finds ``robs``.

    It takes a microsecond, where a real stemmer takes a hundred, for each of 100,000 words; vectors know the others.
    """
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-3] + "y" if word.endswith("ies") and len(word) > 4 else word[:-1]
        word = word[:-1] if word.endswith(("sse", "xe", "che", "she")) else word
    for ending in ("ing", "ed"):
        begin = word.removesuffix(ending)
        if begin != word and len(begin) >= 3 and _VOWELS.search(begin):
            word = begin[:-1] if begin[-1] == begin[-2] and begin[-1] not in "lsz" else begin
            break
    return word[:-1] if len(word) > 4 and word.endswith("e") else word
