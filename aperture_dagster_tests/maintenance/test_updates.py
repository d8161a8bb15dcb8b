"""Only the operator's own file says whether a newer version is out; a bad one costs nothing but its line."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from aperture_dagster.maintenance.updates import LARGEST_BYTES, find_update
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.settings import Settings
from aperture_dagster_tests.listener import listening


@pytest.mark.parametrize(
    ("content", "state", "words"),
    [
        (f"{version('aperture-dagster')}\n", "ok", "is the newest version"),
        ("0.0.1", "ok", "is the newest version"),
        ("\ufeff99.1.0\r\nmore about it", "warning", "version 99.1.0 is out, this is "),
        ("", "warning", "does not begin with a version: ''"),
        ("<html>" * 99, "warning", "does not begin with a version: '<html><html>"),
        (f"99.1{' ' * LARGEST_BYTES}\n", "warning", "version 99.1 is out"),
    ],
)
def test_a_file_says_which_is_the_newest(
    make_settings: Callable[..., Settings], tmp_path: Path, content: str, state: str, words: str
):
    path = tmp_path / "newest.txt"
    path.write_text(content, encoding="utf-8")
    found = find_update(make_settings(update_file=str(path)))
    assert found[0] == state and words in found[1]


def test_without_a_file_nobody_looks_and_a_missing_one_is_named(make_settings: Callable[..., Settings], tmp_path: Path):
    assert find_update(make_settings())[0] == "off"
    found = find_update(make_settings(update_file=str(tmp_path)))
    assert found == ("warning", "The file of APERTURE_UPDATE_FILE could not be read: Is a directory")


def test_the_file_may_be_on_a_server(make_settings: Callable[..., Settings]):
    def look(url: str) -> tuple[str, str]:
        return find_update(make_settings(update_file=f"{url}/mirror/newest.txt", http_attempts=1))

    with listening("99.2\n") as mirror:
        assert "99.2 is out" in look(mirror.url)[1]
        (request,) = mirror.received
        assert request.startswith("GET /mirror/newest.txt ")
    with listening() as mirror:
        state, said = look(mirror.url)
    assert state == "warning" and "could not be read" in said


@pytest.mark.parametrize(
    "address", ["https://me:secret@mirror/newest.txt", "https://mirror/a?token=secret", "https://mirror"]
)
def test_an_address_that_would_show_a_secret_or_names_no_file_is_refused(
    make_settings: Callable[..., Settings], address: str
):
    with pytest.raises(OperatorError) as refused:
        make_settings(update_file=address)
    assert "secret" not in str(refused.value)
