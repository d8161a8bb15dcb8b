"""The best version that consists of files is published."""

from __future__ import annotations

from itertools import permutations

import pytest

from aperture_dagster.media_server.records import MediaSource
from aperture_dagster.publishing.publishable import best_source


def source(
    name: str, width: int | None = 1920, height: int | None = 1080, *, bitrate: int | None = None, size: int = 1
) -> MediaSource:
    return MediaSource(f"/m/{name}.mkv", size=size, width=width, height=height, bitrate=bitrate)


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
def test_resolution_counts_first_then_bitrate_then_size(best: MediaSource, others: list[MediaSource]):
    for order in permutations([best, *others]):
        assert best_source(order) == best


@pytest.mark.parametrize("kind", ["Dvd", "BluRay", "HdDvd", "bluray"])
def test_disc_folders_are_never_published(kind: str):
    disc = MediaSource("/m/Film", kind, size=10**11, width=3840, height=2160, bitrate=10**9)
    assert best_source([disc]) is None
    assert best_source([disc, source("sd", 720, 576)]) == source("sd", 720, 576)


def test_an_image_of_a_disc_and_a_file_on_windows_are_files():
    for path in ("/m/Film.iso", "D:\\m\\Film.iso", "\\\\nas\\m\\Film.iso"):
        image = MediaSource(path, "Iso")
        assert best_source([image]) == image


def test_versions_without_a_file_of_their_own_are_left_out():
    assert best_source([]) is None
    assert best_source([MediaSource(None), MediaSource("http://host/film.mkv"), MediaSource("")]) is None
    assert best_source([MediaSource("/m/a-part1.mkv", parts=("http://host/a-part2.mkv",))]) is None
