"""What somebody means by a question: filters, words that are looked for, and a title that others should be like."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aperture_dagster.search import german, lexicon
from aperture_dagster.search.words import MOST_WORDS, STOP_WORDS, words_of

LONGEST_PHRASE = 4
COMPOUND = 9
"""Letters from which on a word is taken apart in any question: no English word consists of German ones then."""
KNOWN = frozenset().union(lexicon.GENRES, lexicon.MOOD_WORDS, lexicon.NATION_WORDS, lexicon.OLD, lexicon.NEW)
"""Words of kinds."""
OF_MOODS = 0.6
"""What a word counts that only a mood brought in."""
UNWANTED = -0.7
"""What a word counts that titles should do without."""
_DECADE = re.compile(r"(?:19|20)?(\d0)(?:s|er|ern)")
_YEAR = re.compile(r"(?:18|19|20)\d\d")
_UNITS = {"minutes": 1, "minute": 1, "mins": 1, "min": 1, "minuten": 1, "hours": 60, "hour": 60, "h": 60,
          "stunden": 60, "stunde": 60}  # fmt: skip
_UNDER = frozenset(["under", "below", "less than", "shorter than", "unter", "weniger als", "kurzer als", "at most",
                    "hochstens", "max"])  # fmt: skip
_OVER = frozenset(["over", "above", "more than", "longer than", "uber", "mehr als", "langer als", "at least",
                   "mindestens"])  # fmt: skip
_BEFORE = frozenset(["before", "vor", "older than", "until", "bis"])
_AFTER = frozenset(["after", "nach", "since", "seit", "ab", "newer than"])


@dataclass(slots=True)
class Question:
    """What is asked for.

    Attributes:
        words: what titles should be about, with weights.
        untranslated: the words of the question that were translated, for plots in their language.
        genres: what they should be, from -1 (not at all) to 1, by the names of the lexicon.
        required: genres, nations that they have to be of, as far as that is known.
        nations: where they should be from, by the adjective.
        years: first and last year.
        minutes: shortest and longest length.
        media_type: films or series alone.
        for_children: whether children should be able to watch it.
        like: the row of a title that they should be like.
        people: rows of titles of each person who is named.
        names: the words as they were asked, without the phrase that led to a title.
    """

    words: dict[str, float] = field(default_factory=dict)
    untranslated: dict[str, float] = field(default_factory=dict)
    genres: dict[str, float] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    nations: list[str] = field(default_factory=list)
    is_from: bool = False
    years: tuple[int | None, int | None] = (None, None)
    minutes: tuple[int | None, int | None] = (None, None)
    media_type: str | None = None
    for_children: bool = False
    like: int | None = None
    people: list[tuple[str, frozenset[int]]] = field(default_factory=list)
    prefers_old: bool = False
    prefers_new: bool = False

    @property
    def has_filters(self) -> bool:
        """Whether it says more of a title than what it is about."""
        return bool(
            self.required
            or self.is_from
            or self.people
            or self.for_children
            or self.years != (None, None)
            or self.minutes != (None, None)
            or self.like is not None
        )


FindTitle = Callable[[str], int | None]
FindPerson = Callable[[str, bool], tuple[str, frozenset[int]] | None]


def parse(text: str, find_title: FindTitle, find_person: FindPerson) -> Question:
    """Return what a question means.

    Args:
        text: the question.
        find_title: returns the row of the title of exactly that name.
        find_person: returns the person of that name with the rows of their titles; if the second argument is true, the
            last name is enough.
    """
    asked = words_of(text)[:MOST_WORDS]
    found = Question()
    reader = _Reader(asked, found, find_title, find_person)
    while reader.at < len(reader.asked):
        reader.step()
    return found


class _Reader:
    """Reads a question from its beginning, the longest phrase that means something at a time."""

    def __init__(self, asked: list[str], found: Question, find_title: FindTitle, find_person: FindPerson) -> None:
        self._is_german = german.is_german(asked)
        self.asked = german.prepared(asked, KNOWN) if self._is_german else asked
        self.found, self.at = found, 0
        self._find_title, self._find_person = find_title, find_person

    def step(self) -> None:
        """Take the next phrase."""
        for take in (self._like, self._length, self._years, self._not, self._person, self._known):
            taken = take()
            if taken:
                self.at += taken
                return
        self._word(self.asked[self.at], 1.0)
        self.at += 1

    def _phrase(self, size: int, at: int | None = None) -> str:
        start = self.at if at is None else at
        return " ".join(self.asked[start : start + size]) if start + size <= len(self.asked) else ""

    def _match(self, phrases: frozenset[str] | dict[str, str], at: int | None = None) -> tuple[str, int]:
        """Return the longest of some phrases that is next, and its length in words."""
        for size in range(LONGEST_PHRASE, 0, -1):
            phrase = self._phrase(size, at)
            if phrase and phrase in phrases:
                return phrase, size
        return "", 0

    def _word(self, word: str, weight: float) -> None:
        words, own = self._translated(word), self.found.words
        if words:
            self.found.untranslated[word] = weight
        for meant in words or (word,):
            if meant not in STOP_WORDS and len(meant) > 1:
                own[meant] = max(own.get(meant, 0.0), weight)

    def _translated(self, word: str) -> Sequence[str]:
        """Return what a word means in English, or the phrase that begins with it, which is then taken."""
        for size in range(LONGEST_PHRASE, 1, -1):
            phrase = self._phrase(size) if word == self.asked[self.at] else ""
            if phrase in german.GERMAN:
                self.at += size - 1
                return german.translated(phrase)
        if self._is_german or len(word) >= COMPOUND:
            return german.translated(word)
        return ()

    def _like(self) -> int:
        _, size = self._match(lexicon.LIKE)
        before = self.asked[self.at - 1] if self.at else "something"
        follows_kind = before in lexicon.SCREEN_WORDS or before in lexicon.GENRES or before in ("something", "etwas")
        if not size or self.found.like is not None or not follows_kind:
            return 0
        rest = self.asked[self.at + size :]
        # "but" and what follows it are no part of the name, unless a title is called so.
        but = next((place for place, word in enumerate(rest) if word in lexicon.BUT), len(rest))
        for length in (len(rest), *range(min(but, len(rest) - 1), 0, -1), *range(len(rest) - 1, but, -1)):
            row = self._find_title(" ".join(rest[:length]))
            if row is not None:
                self.found.like = row
                return size + length
        return 0

    def _length(self) -> int:
        for phrases, is_most in ((_UNDER, True), (_OVER, False)):
            _, size = self._match(phrases)
            minutes, used = self._minutes(self.at + size) if size else (0, 0)
            if minutes:
                shortest, longest = self.found.minutes
                self.found.minutes = (shortest, minutes) if is_most else (minutes, longest)
                return size + used
        minutes, used = self._minutes(self.at)
        if minutes:
            self.found.minutes = (minutes - 15, minutes + 10)
            return used
        for phrases, limits in ((lexicon.SHORT, (None, 95)), (lexicon.LONG, (150, None))):
            _, size = self._match(phrases)
            if size:
                self.found.minutes = limits
                return size
        return 0

    def _minutes(self, at: int) -> tuple[int, int]:
        """Return the length that is said there, in minutes, and the number of words; 0 if none is."""
        number, unit = self._phrase(1, at), self._phrase(1, at + 1)
        joined = re.fullmatch(r"(\d{1,3})(min|h|minuten|minutes)", number)
        if joined:
            return int(joined[1]) * _UNITS[joined[2]], 1
        if unit not in _UNITS or not (number in lexicon.NUMBERS or (number.isdecimal() and len(number) <= 3)):
            return 0, 0
        value = lexicon.NUMBERS[number] if number in lexicon.NUMBERS else int(number)
        return int(value * _UNITS[unit]), 2

    def _years(self) -> int:
        for phrases, is_last in ((_BEFORE, True), (_AFTER, False)):
            _, size = self._match(phrases)
            year = self._phrase(1, self.at + size) if size else ""
            if _YEAR.fullmatch(year):
                first, last = self.found.years
                self.found.years = (first, int(year) - 1) if is_last else (int(year), last)
                return size + 1
        word = self.asked[self.at]
        if _YEAR.fullmatch(word):
            after = self._phrase(1, self.at + 2)
            if self._phrase(1, self.at + 1) in ("and", "to", "und", "bis") and _YEAR.fullmatch(after):
                self.found.years = (int(word), int(after))
                return 3
            self.found.years = (int(word), int(word))
            return 1
        decade = _DECADE.fullmatch(word)
        begin = lexicon.DECADES.get(word)
        if decade and begin is None:
            begin = int(decade[1]) + (2000 if word.startswith("20") or int(decade[1]) < 20 else 1900)
        if begin is None:
            return 0
        self.found.years = (begin, begin + 9)
        return 2 if self._phrase(1, self.at + 1) in ("jahre", "jahren", "jahrs") else 1

    def _not(self) -> int:
        _, size = self._match(lexicon.NOT)
        if not size:
            return 0
        for kinds in (lexicon.GENRES, lexicon.MOOD_WORDS):
            phrase, used = self._match(kinds, self.at + size)
            if used and kinds is lexicon.GENRES:
                self.found.genres[kinds[phrase]] = -1.0
                return size + used
            if used:
                for genre, value in lexicon.MOODS[kinds[phrase]][0].items():
                    self.found.genres[genre] = -value
                return size + used
        if self.asked[self.at] in ("without", "ohne") and self._phrase(1, self.at + 1) not in ("", *STOP_WORDS):
            self.found.words[self.asked[self.at + 1]] = UNWANTED
            return 2
        return 0

    def _person(self) -> int:
        """Take a whole name, or the last name of somebody after ``by`` or before ``films``."""
        _, size = self._match(lexicon.BY)
        for length in (4, 3, 2):
            name = self._phrase(length, self.at + size)
            person = self._find_person(name, False) if name else None
            if person is not None:
                self.found.people.append(person)
                return size + length
        word, following = self._phrase(1, self.at + size), self._phrase(1, self.at + size + 1)
        is_named = size > 0 or following in lexicon.SCREEN_WORDS or following in lexicon.GENRES
        if word and is_named and word not in STOP_WORDS and not self._means_something(word):
            person = self._find_person(word, True)
            if person is not None:
                self.found.people.append(person)
                return size + 1
        return 0

    def _means_something(self, word: str) -> bool:
        return word in KNOWN or word in german.GERMAN

    def _known(self) -> int:
        """Take what says of which kind titles should be."""
        for take in (self._children, self._kind, self._nation):
            size = take()
            if size:
                return size
        for phrases, name in ((lexicon.OLD, "prefers_old"), (lexicon.NEW, "prefers_new")):
            _, size = self._match(phrases)
            if size:
                setattr(self.found, name, True)
                return size
        for phrases, media_type in ((lexicon.SERIES, "series"), (lexicon.FILMS, "movie")):
            _, size = self._match(phrases)
            if size:
                self.found.media_type = media_type
                return size
        return 0

    def _children(self) -> int:
        _, size = self._match(lexicon.FOR_CHILDREN)
        self.found.for_children |= size > 0
        return size

    def _kind(self) -> int:
        """Take a genre or a mood; a phrase may be both."""
        genre, of_genre = self._match(lexicon.GENRES)
        mood, of_mood = self._match(lexicon.MOOD_WORDS)
        if of_mood and of_mood >= of_genre:
            kinds, words = lexicon.MOODS[lexicon.MOOD_WORDS[mood]]
            for name, value in kinds.items():
                self.found.genres[name] = max(self.found.genres.get(name, value), value)
            for word in words.split():
                self.found.words.setdefault(word, OF_MOODS)
            # English plots and keywords have some of these words themselves. In which mood something should be like a
            # title is not what it is about.
            is_subject = self.found.like is None and not self._is_german
            for word in mood.split() if is_subject else ():
                if word not in STOP_WORDS:
                    self.found.words.setdefault(word, OF_MOODS)
        if of_genre and of_genre >= of_mood:
            name = lexicon.GENRES[genre]
            if genre == "war" and self.at and self.asked[self.at - 1] == "cold":
                self._word(genre, 1.0)
            elif genre in lexicon.SUBJECTS_TOO:
                self.found.genres[name] = max(self.found.genres.get(name, 0.0), 0.6)
                for word in genre.split():
                    self._word(word, 1.0)
            else:
                self.found.genres[name] = 1.0
                self.found.required.add(name)
        return max(of_genre, of_mood)

    def _nation(self) -> int:
        phrase, size = self._match(lexicon.NATION_WORDS)
        if not size:
            return 0
        self.found.nations.append(lexicon.NATION_WORDS[phrase])
        following = [self._phrase(1, self.at + size), self._phrase(1, self.at + size + 1)]
        kinds = (lexicon.SCREEN_WORDS, lexicon.GENRES, lexicon.SERIES)
        is_kind = any(word in kind for word in following for kind in kinds) or bool(
            self._match(lexicon.GENRES, self.at + size)[1]
        )
        is_after = self.at > 0 and self.asked[self.at - 1] in ("in", "from", "aus", "auf")
        if is_kind or is_after or len(self.asked) == size:
            self.found.is_from = True
        else:
            for word in phrase.split():
                self._word(word, 1.0)
        return size
