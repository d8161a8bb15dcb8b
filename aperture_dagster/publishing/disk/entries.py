"""Make the desired state of a library: for each title of a list the folder, the files in it, and what they hold."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from aperture_dagster.media_server.records import Artwork, ArtworkKind, MediaSource
from aperture_dagster.publishing.disk import names
from aperture_dagster.publishing.disk.dates import OLDEST, dates_in_order
from aperture_dagster.publishing.disk.desired import DesiredEntry, DesiredFile, DesiredLibrary, PictureSource
from aperture_dagster.publishing.disk.forms import Form
from aperture_dagster.publishing.disk.listed import ListedTitle, ListSpec, Number, Original, OriginalEpisode
from aperture_dagster.publishing.disk.nfo import TitleFacts, episode_nfo, film_nfo, series_nfo
from aperture_dagster.publishing.disk.versions import best_source, is_on_disk
from aperture_dagster.publishing.placed import PlacedEntry
from aperture_dagster.taste.lists import why_recommended
from aperture_dagster.texts import ENGLISH, Texts

POSTER_NAME = "poster.jpg"
# As both servers find them beside a film or in the folder of a series.
ARTWORK_NAMES: dict[ArtworkKind, str] = {"Backdrop": "backdrop", "Logo": "logo", "Thumb": "landscape"}
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
# Of a season; a longer one is published in parts of this length.
SEASON_EPISODES = 26
NAMED_TITLES = 2
# So many episodes of a series have its date: servers show a series in a row where its newest episode is, and as a
# series only if several are that new. The others never change with the rank.
DATED_EPISODES = 2


@dataclass(frozen=True, slots=True)
class EntryForm:
    """How entries are written, which depends on the server.

    Args:
        form: how a published file refers to the original.
        with_ids: whether NFO files hold the ids of other services.
        lock: whether NFO files lock the item.
        premiered: whether NFO files hold the date of the premiere.
        reasons: where NFO files say why a title is recommended.
        texts: in which words, by media type; English where there are none.
    """

    form: Form
    with_ids: bool
    lock: bool = False
    premiered: bool = True
    reasons: Literal["tagline", "overview", "off"] = "tagline"
    texts: Mapping[str, Texts] = field(default_factory=dict)


class _Unusable(Exception):
    """A title cannot be published; the message says why."""


def build_library(
    spec: ListSpec,
    titles: Iterable[ListedTitle],
    placed: Mapping[str, PlacedEntry],
    how: EntryForm,
    *,
    moment: datetime,
    skipped: Sequence[str] = (),
) -> DesiredLibrary:
    """Make the desired state of a library.

    An entry that is placed keeps its folder, so that it keeps its id, and the date that the server shows unless it
    overtakes another one: rows that are sorted by date are in the order of the list.

    Args:
        spec: the list.
        titles: in rank order.
        placed: what was placed, by entry id.
        how: how entries are written.
        moment: of the library; all dates are counted from it.
        skipped: titles that were left out before, with the reason.
    """
    entries: list[DesiredEntry] = []
    left_out = list(skipped)
    titles = list(titles)
    ids = [names.entry_id(spec.list_key, title.work_id) for title in titles]
    known = [placed[one].date_added if one in placed else None for one in ids]
    for title, entry_id, date in zip(titles, ids, dates_in_order(known, moment), strict=True):
        before = placed.get(entry_id)
        folder = (
            before.folder if before is not None else names.entry_folder(title.facts.title, title.facts.year, entry_id)
        )
        because = _because(title, before.because if before is not None else ())
        kept = _Identity(entry_id, folder, date, moment.replace(microsecond=0) - OLDEST, because)
        try:
            entries.append(_entry(spec, title, kept, how))
        except _Unusable as problem:
            left_out.append(f"{title.facts.title}: {problem}")
    return DesiredLibrary(
        spec.list_key, spec.name, spec.media_type, spec.user_id, spec.viewers, tuple(entries), tuple(left_out)
    )


def _because(title: ListedTitle, shown: Sequence[int]) -> tuple[int, ...]:
    """Choose the liked titles that a reason names.

    Those that are shown stay while all of them still count, whatever their order: a reason should change on the server
    only when it means something else.
    """
    liked = title.because or {}
    return tuple(shown) if shown and liked.keys() >= set(shown) else tuple(liked)[:NAMED_TITLES]


@dataclass(frozen=True, slots=True)
class _Identity:
    """What an entry keeps as long as it stays in its list.

    ``episodes_added`` is the date of those episodes that do not have the entry's.
    """

    entry_id: str
    folder: str
    date_added: datetime
    episodes_added: datetime
    because: tuple[int, ...]


def _entry(spec: ListSpec, title: ListedTitle, kept: _Identity, how: EntryForm) -> DesiredEntry:
    entry_id, folder, texts = kept.entry_id, kept.folder, how.texts.get(spec.media_type, ENGLISH)
    facts = replace(
        title.facts,
        marker=entry_id,
        date_added=kept.date_added,
        # Servers pad numbers, drop leading articles and ignore case when they sort; the rank comes first.
        sort_title=f"{title.rank:04d} {title.facts.title}",
        provider_ids=title.facts.provider_ids if how.with_ids else {},
    )
    if title.because is not None and how.reasons != "off":
        reason = why_recommended([title.because[work] for work in kept.because], _=texts)
        facts = (
            replace(facts, tagline=reason)
            if how.reasons == "tagline"
            else replace(facts, overview=_above(f"{reason}.", facts.overview))
        )
    if spec.media_type == "movie":
        copy, files = _film(title, folder, how)
        facts = replace(facts, official_rating=copy.official_rating)
        nfo = _text("movie.nfo", film_nfo(facts, lock=how.lock, premiered=how.premiered))
    else:
        copy, episodes, rest = _episodes(spec, title)
        playing = [one for one in rest if (one[0].season, one[0].number) in title.playing]
        # No row of a home screen shows what its user is in the middle of.
        dated = DATED_EPISODES if spec.most_episodes is None else 0
        files = _episode_files(
            [*episodes, *playing], facts, how, dates=[kept.date_added] * dated, others=kept.episodes_added
        )
        note = _season_note(copy, episodes, rest, texts) if spec.most_episodes is None else None
        facts = replace(facts, official_rating=copy.official_rating, overview=_above(note, facts.overview))
        nfo = _text("tvshow.nfo", series_nfo(facts, lock=how.lock, premiered=how.premiered))
    rank = title.rank if spec.badges else None
    picture = PictureSource(copy.server_item_id, copy.picture_tag, title.poster_path, facts.title, rank)
    poster = DesiredFile(POSTER_NAME, "poster", _digest(repr(picture).encode()), picture=picture)
    artwork = [_artwork(copy, one, how) for one in copy.artwork]
    return DesiredEntry(
        entry_id=entry_id,
        work_id=title.work_id,
        item_id=copy.item_id,
        rank=title.rank,
        title=f"{facts.title} ({facts.year})" if facts.year else facts.title,
        folder=folder,
        date_added=kept.date_added,
        files=(nfo, poster, *artwork, *files),
        because=kept.because,
    )


def _artwork(copy: Original, one: Artwork, how: EntryForm) -> DesiredFile:
    """A link to a picture of the original, where the server names its file; else it is downloaded, once."""
    name = ARTWORK_NAMES[one.kind]
    extension = posixpath.splitext(one.path or "")[1].lower()
    if how.form == "symlink" and one.path is not None and extension in PICTURES and is_on_disk(one.path):
        return DesiredFile(f"{name}{extension}", "artwork", one.path, target=one.path)
    picture = PictureSource(copy.server_item_id, one.tag, None, "", None, one.kind)
    extension = ".png" if one.kind == "Logo" else ".jpg"
    return DesiredFile(f"{name}{extension}", "artwork", _digest(repr(picture).encode()), picture=picture)


def _above(sentence: str | None, text: str | None) -> str | None:
    """Put a sentence above a text, where it is seen without scrolling."""
    return "\n\n".join(one for one in (sentence, text) if one) or None


def _film(title: ListedTitle, folder: str, how: EntryForm) -> tuple[Original, list[DesiredFile]]:
    """Choose the best copy of a film; return it with its files."""
    owners = {id(source): copy for copy in title.copies for source in copy.sources}
    source = best_source([source for copy in title.copies for source in copy.sources])
    if source is None:
        raise _Unusable(_why_unusable(title.copies))
    copy = owners[id(source)]
    files: list[DesiredFile] = []
    for number, path in enumerate(source.files, start=1):
        name = names.video_name(folder, _extension(path, how), number if source.parts else None)
        files += _refer(name, path, source.side_cars if number == 1 else (), how, copy.item_id)
    return copy, files


_Playable = tuple[OriginalEpisode, MediaSource]
"""An episode, and the version of it that is published."""


def _episodes(spec: ListSpec, title: ListedTitle) -> tuple[Original, list[_Playable], list[_Playable]]:
    """Choose the copy of a series with the most episodes, and of it those to publish; return the others as well."""
    chosen: tuple[Original, list[_Playable]] | None = None
    for copy in title.copies:
        usable = _usable_episodes(title, copy)
        if chosen is None or len(usable) > len(chosen[1]):
            chosen = copy, usable
    if chosen is None or not chosen[1]:
        raise _Unusable("no episode of it consists of files that can be linked")
    copy, usable = chosen
    wanted = usable[: spec.most_episodes] if spec.most_episodes is not None else _next_season(usable, title.watched)
    return copy, wanted, [one for one in usable if one not in wanted]


def _next_season(usable: Sequence[_Playable], watched: Number | None) -> list[_Playable]:
    """Choose the season with the first episode after the furthest watched one, or with the first one.

    It stays whole while it is being watched. Of a season that is longer than ``SEASON_EPISODES``, a part of this length
    is chosen, which does not move with each episode either.
    """
    regular = [one for one in usable if one[0].season > 0] or list(usable)
    following = (one for one in regular if watched is not None and (one[0].season, one[0].number) > watched)
    first = next(following, regular[0])
    season = [one for one in regular if one[0].season == first[0].season]
    start = season.index(first) // SEASON_EPISODES * SEASON_EPISODES
    return season[start : start + SEASON_EPISODES]


def _season_note(copy: Original, episodes: Sequence[_Playable], rest: Sequence[_Playable], _: Texts) -> str | None:
    """Say what a series holds, and where the rest is; None if there is no more."""
    if not rest or not copy.library:
        return None
    first, last = episodes[0][0], episodes[-1][0]
    is_whole = all(one.season != first.season for one, _ in rest)
    if is_whole:
        return _(
            "This is season %(season)s. All seasons are in %(library)s.", season=first.season, library=copy.library
        )
    return _(
        "These are episodes %(first)s to %(last)s of season %(season)s. All episodes are in %(library)s.",
        first=first.number,
        last=last.number_end or last.number,
        season=first.season,
        library=copy.library,
    )


def _episode_files(
    episodes: Iterable[_Playable], series: TitleFacts, how: EntryForm, *, dates: Sequence[datetime], others: datetime
) -> list[DesiredFile]:
    """The files of episodes; the first of them have these dates, and the others another one."""
    files: list[DesiredFile] = []
    for place, (episode, source) in enumerate(episodes):
        season = names.season_folder(episode.season)
        path = source.files[0]
        name = names.episode_name(
            series.title, episode.season, episode.number, episode.number_end, series.marker, _extension(path, how)
        )
        added = dates[place] if place < len(dates) else others
        nfo = episode_nfo(episode, series, added=added, lock=how.lock, premiered=how.premiered)
        files.append(_text(f"{season}/{posixpath.splitext(name)[0]}.nfo", nfo))
        stands_for_it = _refer(name, path, source.side_cars, how, episode.item_id)
        files += [replace(one, path=f"{season}/{one.path}") for one in stands_for_it]
    return files


def _usable_episodes(title: ListedTitle, copy: Original) -> list[_Playable]:
    """The episodes of a copy from the start on, in order, each number once."""
    found: dict[Number, _Playable] = {}
    for episode in sorted(title.episodes.get(copy.item_id, ()), key=lambda one: (one.season, one.number, one.item_id)):
        number = episode.season, episode.number
        source = best_source(episode.sources)
        if source is None or number in found:
            continue
        if (
            number in title.playing
            or title.start is None
            or (episode.season > 0 and (number >= title.start or _reaches(episode, title.start)))
        ):
            found[number] = episode, source
    return list(found.values())


def _reaches(episode: OriginalEpisode, start: Number) -> bool:
    """Tell whether a file of several episodes holds the first one to publish."""
    return episode.season == start[0] and episode.number <= start[1] <= (episode.number_end or episode.number)


def _refer(name: str, path: str, sidecars: Iterable[str], how: EntryForm, item_id: int) -> list[DesiredFile]:
    """The files that stand for an original: the video, and what lies beside it."""
    files = [_original(name, path, how, item_id)]
    if how.form != "strm":
        taken = {name}
        for sidecar in sidecars:
            beside = names.sidecar_name(name, path, sidecar)
            if beside not in taken:
                taken.add(beside)
                files.append(_original(beside, sidecar, how, None))
    return files


def _original(name: str, path: str, how: EntryForm, item_id: int | None) -> DesiredFile:
    if how.form == "symlink":
        return DesiredFile(name, "symlink", path, target=path, item_id=item_id)
    return DesiredFile(name, "strm", path, content=f"{path}\n".encode(), target=path, item_id=item_id)


def _extension(path: str, how: EntryForm) -> str:
    if how.form == "strm":
        return ".strm"
    suffix = posixpath.splitext(path.replace("\\", "/"))[1]
    try:
        names.video_name("", suffix)
    except ValueError:
        raise _Unusable(f"{path} has no extension by which a player would know it") from None
    return suffix


def _why_unusable(copies: Sequence[Original]) -> str:
    if any(copy.sources for copy in copies):
        return "it is on the server as a disc folder or a network address, which cannot be linked"
    return "the server names no file of it"


def _text(path: str, content: bytes) -> DesiredFile:
    return DesiredFile(path, "nfo", _digest(content), content=content)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()
