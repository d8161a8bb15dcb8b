"""Compare the stand-ins' answers with the recorded ones, request by request."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

import aperture_dagster
from aperture_dagster.discovery.seerr import SeerrRequest, parse_request, parse_title
from aperture_dagster_tests.recordings.recording import Recorded, load
from aperture_dagster_tests.recordings.replay import replay_jellyfin, replay_seerr
from aperture_dagster_tests.recordings.shapes import differences, shape_of

_PACKAGE = Path(aperture_dagster.__file__).parent


def compared(server: str, folder: Path) -> set[str]:
    """Name everything in which a stand-in's answers differ from the recorded ones; ``folder`` is empty, for its files.

    The version of a server follows from its name.
    """
    recorded = load(server)
    product, _, version = server.partition("-")
    answers = replay_seerr(recorded) if product == "seerr" else replay_jellyfin(version, recorded, folder)
    found = {one for pair in zip(recorded, answers, strict=True) for one in _of_answer(*pair)}
    both = [
        (f"{one.kind} {one.status}", one.answer, answer.json())
        for one, answer in zip(recorded, answers, strict=True)
        if one.status == answer.status_code and isinstance(one.answer, dict | list)
    ]
    real, ours = (shape_of([(pair[0], pair[side]) for pair in both]) for side in (1, 2))
    return found | set(differences(real, ours))


def _of_answer(one: Recorded, answer: httpx.Response) -> Iterator[str]:
    """Name differences in status, content type, and in what the client of Seerr makes of it."""
    name = one.step or one.kind
    if answer.status_code != one.status:
        yield f"{name} is answered with {answer.status_code}, not {one.status}"
        return
    given = answer.headers.get("content-type")
    # It was not recorded of Seerr.
    if given != one.type and not one.step:
        yield f"{name} is {given}, not {one.type}"
    if one.step and _meaning(one, one.answer) != _meaning(one, answer.json()):
        yield f"{name} means {_meaning(one, answer.json())}, not {_meaning(one, one.answer)}"


def _meaning(one: Recorded, content: Any) -> object:
    """Return what an answer of Seerr says to the client, apart from numbers that every server gives itself."""
    if one.status not in (200, 201):
        return content
    if "/request" in one.path:
        found = parse_request(content)
        assert found is not None, content
        return _of_request(found)
    if one.route.startswith(("/movie", "/tv")):
        title = parse_title(content)
        return title.status, title.seasons, title.open_seasons, tuple(map(_of_request, title.requests))
    return None


def _of_request(request: SeerrRequest) -> tuple[object, ...]:
    return request.status, request.seasons, request.media_status


def names_read() -> set[str]:
    """Return every text in the code of the clients of media servers and of Seerr: the keys that they can read."""
    files = [*(_PACKAGE / "media_server").glob("*.py"), _PACKAGE / "discovery" / "seerr.py"]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    return {
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
