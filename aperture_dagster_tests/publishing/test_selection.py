"""The best version that consists of files is published."""

from __future__ import annotations

from itertools import permutations

import pytest

from aperture_dagster.publishing.selection import MediaFile, Source, best_source


def source(
    name: str, width: int | None = 1920, height: int | None = 1080, *, bitrate: int | None = None, size: int = 1
) -> Source:
    return Source((MediaFile(f"/m/{name}.mkv", size, width, height),), bitrate)


@pytest.mark.parametrize(
    ("best", "others"),
    [
        (source("4k", 3840, 1600), [source("hd", bitrate=10**8), source("unknown", None, None)]),
        # A wide picture is no worse than one with black bars, nor is an old narrow one.
        (source("wide", 1920, 800, bitrate=9), [source("bars", bitrate=8), source("narrow", 1440, 1080, bitrate=7)]),
        (source("narrow", 1440, 1080, bitrate=9), [source("wide", 1920, 800, bitrate=8)]),
        (source("large", size=9), [source("small", size=8)]),
        (source("a"), [source("b"), source("c")]),
    ],
)
def test_resolution_counts_first_then_bitrate_then_size(best: Source, others: list[Source]):
    for order in permutations([best, *others]):
        assert best_source(order) == best


@pytest.mark.parametrize("kind", ["Dvd", "BluRay", "HdDvd", "bluray"])
def test_disc_folders_are_never_published(kind: str):
    disc = Source((MediaFile("/m/Film", 10**11, 3840, 2160, video_type=kind),), 10**9)
    assert best_source([disc]) is None
    assert best_source([disc, source("sd", 720, 576)]) == source("sd", 720, 576)


def test_an_image_of_a_disc_and_a_file_on_windows_are_files():
    for path in ("/m/Film.iso", "D:\\m\\Film.iso", "\\\\nas\\m\\Film.iso"):
        image = Source((MediaFile(path, video_type="Iso"),))
        assert best_source([image]) == image


def test_versions_without_a_file_of_their_own_are_left_out():
    assert best_source([]) is None
    assert best_source([Source(()), Source((MediaFile("http://host/film.mkv"),)), Source((MediaFile(""),))]) is None
    parts = (MediaFile("/m/a-part1.mkv", part=1), MediaFile("/m/a-part2", part=2, video_type="Dvd"))
    assert best_source([Source(parts)]) is None
