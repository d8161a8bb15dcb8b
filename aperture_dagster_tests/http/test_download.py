"""Downloads: they go on where they were interrupted, and keep only the file that was published."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.http.download import PublishedFile, download
from aperture_dagster.http.errors import BadAnswer, NotFound, Redirected, ServiceUnavailable
from aperture_dagster.http.transport import PROGRESS, Transport
from aperture_dagster_tests.services import Answer, Asked, Scripted

Make = Callable[..., Transport]
CONTENT = random.Random(1).randbytes(6 * PROGRESS + 321)
WANTED = PublishedFile("/set.zip", hashlib.md5(CONTENT).hexdigest(), most_bytes=len(CONTENT))
ZIP = {"content-type": "application/zip", "etag": '"1"'}


def broken_off(content: bytes, after: int, **headers: str) -> Answer:
    return Answer(content[:after], 200, ZIP | headers, missing=len(content) - after)


def served(
    content: bytes = CONTENT, *, etag: str = '"1"', breaks_after: int | None = None
) -> Callable[[Asked], Answer]:
    """A server that knows ranges; each answer may break off after so many bytes."""

    def answer(asked: Asked) -> Answer:
        start = 0
        if asked.headers.get("if-range") == etag and "range" in asked.headers:
            start = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-"))
        rest = CONTENT[start:]
        sent = rest if breaks_after is None else rest[:breaks_after]
        about = ZIP | {"etag": etag, "content-range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"}
        return Answer(sent, 206 if start else 200, about, missing=len(rest) - len(sent))

    return answer


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_arrives_whole_and_unchanged_and_is_not_requested_again(
    scripted: Scripted, transport: Make, tmp_path: Path
):
    scripted.say(served())
    seen: list[tuple[int, int]] = []
    download(transport(), WANTED, tmp_path / "set.zip", show=lambda there, whole: seen.append((there, whole)))
    assert (tmp_path / "set.zip").read_bytes() == CONTENT and left_in(tmp_path) == {"set.zip"}
    assert (tmp_path / "set.zip").stat().st_mode & 0o77 == 0
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert scripted.asked[0].headers["accept-encoding"] == "identity"
    download(transport(), WANTED, tmp_path / "set.zip")
    assert len(scripted.asked) == 1
    (tmp_path / "set.zip").write_bytes(b"altered")
    download(transport(), WANTED, tmp_path / "set.zip")
    assert (tmp_path / "set.zip").read_bytes() == CONTENT


def test_each_attempt_goes_on_and_those_that_get_further_are_not_limited(
    scripted: Scripted, transport: Make, tmp_path: Path
):
    scripted.say(served(breaks_after=PROGRESS))
    download(transport(attempts=2), WANTED, tmp_path / "set.zip")
    assert (tmp_path / "set.zip").read_bytes() == CONTENT
    ranges = [asked.headers.get("range") for asked in scripted.asked]
    assert ranges == [None, *(f"bytes={number * PROGRESS}-" for number in range(1, 7))]


def test_attempts_that_get_no_further_end(scripted: Scripted, transport: Make, tmp_path: Path):
    changing = (served(etag=f'"{number}"', breaks_after=2 * PROGRESS) for number in range(99))
    scripted.say(lambda asked: next(changing)(asked))
    with pytest.raises(ServiceUnavailable, match=r"set\.zip"):
        download(transport(attempts=3), WANTED, tmp_path / "set.zip")
    # The first one got further than nothing.
    assert len(scripted.asked) == 3


def test_an_interrupted_download_is_continued_by_the_next_process(scripted: Scripted, transport: Make, tmp_path: Path):
    scripted.say(broken_off(CONTENT, 100_000), Answer("", 503))
    with pytest.raises(ServiceUnavailable, match="answered 503"):
        download(transport(), WANTED, tmp_path / "set.zip")
    assert left_in(tmp_path) == {"set.zip.part", "set.zip.part.json"}
    assert all(path.stat().st_mode & 0o77 == 0 for path in tmp_path.iterdir())
    scripted.asked.clear()
    scripted.say(served())
    download(transport(), WANTED, tmp_path / "set.zip")
    (asked,) = scripted.asked
    assert asked.headers["range"] == "bytes=100000-" and asked.headers["if-range"] == '"1"'
    assert (tmp_path / "set.zip").read_bytes() == CONTENT and left_in(tmp_path) == {"set.zip"}


def test_what_arrived_whole_before_it_could_be_checked_is_only_checked(
    scripted: Scripted, transport: Make, tmp_path: Path
):
    scripted.say(broken_off(CONTENT, 100_000), Answer("", 503))
    with pytest.raises(ServiceUnavailable):
        download(transport(), WANTED, tmp_path / "set.zip")
    (tmp_path / "set.zip.part").write_bytes(CONTENT)
    scripted.asked.clear()
    download(transport(), WANTED, tmp_path / "set.zip")
    assert not scripted.asked and (tmp_path / "set.zip").read_bytes() == CONTENT


def test_a_file_that_has_changed_meanwhile_is_not_pieced_together(scripted: Scripted, transport: Make, tmp_path: Path):
    old = bytes(len(CONTENT))
    scripted.say(broken_off(old, 100_000, etag='"old"'), served())
    download(transport(), WANTED, tmp_path / "set.zip")
    assert (tmp_path / "set.zip").read_bytes() == CONTENT and scripted.asked[1].headers["if-range"] == '"old"'


@pytest.mark.parametrize(
    "second",
    [
        Answer(CONTENT[7:], 206, ZIP | {"content-range": f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}"}),
        Answer(CONTENT[:9], 206, ZIP),
        Answer("", 416, ZIP),
    ],
    ids=["another part", "a part without a place", "no such part"],
)
def test_a_part_that_does_not_fit_is_not_appended(scripted: Scripted, transport: Make, tmp_path: Path, second: Answer):
    scripted.say(broken_off(CONTENT, 100_000), second, served())
    download(transport(attempts=4), WANTED, tmp_path / "set.zip")
    assert (tmp_path / "set.zip").read_bytes() == CONTENT and "range" not in scripted.asked[2].headers


def test_without_a_version_nothing_is_continued(scripted: Scripted, transport: Make, tmp_path: Path):
    scripted.say(broken_off(CONTENT, 100_000, etag='W/"1"'), served())
    download(transport(), WANTED, tmp_path / "set.zip")
    assert "range" not in scripted.asked[1].headers and (tmp_path / "set.zip").read_bytes() == CONTENT


REFUSED: dict[str, tuple[Answer, Any, str]] = {
    "a web page": (Answer("<html>Sign in</html>", 200, {"content-type": "text/html"}), BadAnswer, "is a web page"),
    "another file": (Answer(bytes(len(CONTENT)), 200, ZIP), BadAnswer, "its checksum differs"),
    "more than allowed": (Answer(CONTENT + b"x", 200, ZIP), BadAnswer, "instead of at most"),
    "packed": (Answer(CONTENT, 200, ZIP | {"content-encoding": "gzip"}), BadAnswer, "in another form"),
    "nothing there": (Answer("", 404), NotFound, "not found"),
    "elsewhere": (Answer("", 302, {"location": "http://other.example"}), Redirected, "redirects to"),
}


@pytest.mark.parametrize(("answer", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_the_published_file_leaves_nothing_but_a_sentence(
    scripted: Scripted, transport: Make, tmp_path: Path, answer: Answer, error: Any, words: str
):
    scripted.say(answer)
    with pytest.raises(error, match=words):
        download(transport(), WANTED, tmp_path / "set.zip")
    assert all(not path.read_bytes() for path in tmp_path.iterdir()) and len(scripted.asked) == 1


def test_a_file_of_known_size_is_refused_before_it_is_read(scripted: Scripted, transport: Make, tmp_path: Path):
    scripted.say(Answer(CONTENT[:-1], 200, ZIP))
    known = PublishedFile("/set.zip", WANTED.md5, most_bytes=10**9, size=len(CONTENT))
    with pytest.raises(BadAnswer, match=r"has 393,536 bytes instead of 393,537"):
        download(transport(), known, tmp_path / "set.zip")
