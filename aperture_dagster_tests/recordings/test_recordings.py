"""The stand-ins answer as the real servers did, apart from named differences."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from aperture_dagster_tests.recordings.comparison import compared, names_read
from aperture_dagster_tests.recordings.differences import DIFFERENCES, UNREAD
from aperture_dagster_tests.recordings.recording import SERVERS, load
from aperture_dagster_tests.recordings.shapes import differences, shape_of

FILM = {"Id": "1", "ServerId": "2", "Type": "Movie"}


@pytest.mark.parametrize("server", SERVERS)
def test_a_stand_in_differs_from_the_real_server_only_where_the_table_says_so(server: str, tmp_path: Path) -> None:
    found = compared(server, tmp_path)
    known = {name for one in DIFFERENCES if server in one.servers for name in one.names()}
    assert sorted(found - known) == [], "new differences"
    assert sorted(known - found) == [], "entries that no longer apply"


def test_what_stand_ins_leave_out_is_read_by_no_client() -> None:
    left_out = {name.rpartition(".")[2] for one in DIFFERENCES if one.because == UNREAD for name in one.names()}
    assert sorted(left_out & names_read()) == []


def test_every_difference_is_named_once_with_a_reason() -> None:
    for server in SERVERS:
        names = [name for one in DIFFERENCES if server in one.servers for name in one.names()]
        assert len(names) == len(set(names))
    assert all(one.because for one in DIFFERENCES)


@pytest.mark.parametrize(
    ("real", "ours", "named"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, ["adds GET.b"]),
        ({"a": 1, "b": {"c": 1}}, {"a": 1}, ["lacks GET.b"]),
        ({"a": 1}, {"a": "1"}, ["GET.a is text, not number"]),
        ({"a": 1}, {"a": None}, ["GET.a is null, not number"]),
        ([{"a": 1}, {"a": 2}], [{"a": 1}, {}], ["GET[].a is absent or number, not number"]),
        ([{"a": 1}, {}], [{"a": 1}, {"a": 1}], []),
        ({"a": "2026-11-29T15:25:22.0000000Z"}, {"a": "0" * 32}, ["GET.a is id, not time"]),
        (FILM | {"a": 1}, FILM, ["lacks Movie.a"]),
        ({"a": []}, {"a": [{"b": 1}]}, []),
    ],
)  # fmt: skip
def test_differences_are_named(real: object, ours: object, named: list[str]) -> None:
    assert list(differences(shape_of([("GET", real)]), shape_of([("GET", ours)]))) == named


@pytest.mark.parametrize("server", SERVERS)
def test_recordings_hold_nothing_secret(server: str) -> None:
    text = json.dumps([dataclasses.asdict(one) for one in load(server)])
    for word in ('AccessToken": "', "ApiKey", "X-Emby-Token", 'Password": "', "/root", "/home", "/work"):
        assert word not in text
