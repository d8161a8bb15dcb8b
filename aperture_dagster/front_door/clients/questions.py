"""What a client asks for: its parameters, checked, and which media server it means."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

SERVER_NUMBER = 1
"""The number of the media server: there is one."""
WAYS = ("serverId", "serverName", "serverUrl", "jellyfinServerId")
LONGEST = 200
Format = Literal["full", "ids"]


class Question(BaseModel):
    """What may be asked of every list. Other parameters are ignored."""

    model_config = ConfigDict(frozen=True)

    format: Format = "full"
    limit: int = 20
    target: str | None = Field(None, alias="targetUserId", max_length=64)

    @field_validator("limit", mode="before")
    @classmethod
    def _whole(cls, given: object) -> object:
        # Longer than any number that could be meant, and slow to read.
        if isinstance(given, str) and len(given) > 18:
            raise ValueError("expected a number from 1 to 100")
        return given

    @field_validator("limit")
    @classmethod
    def _clamped(cls, given: int) -> int:
        return min(max(given, 1), 100)


class ForRecommendations(Question):
    """What may be asked of recommendations. Plays of all times count, whatever range is given."""

    type: Literal["Movie", "Series", "all"] = "all"
    range: Literal["7d", "30d", "90d", "thisMonth", "all"] = "all"
    start: str | None = Field(None, max_length=LONGEST)
    end: str | None = Field(None, max_length=LONGEST)
    based_on: bool = Field(True, alias="includeBasedOn")
    reasons: bool = Field(True, alias="includeReasons")


class ForLists(Question):
    """What may be asked of promoted lists."""

    preview: bool = Field(True, alias="includePreview")


class ForSearch(Question):
    """What may be searched for."""

    q: str = Field("", max_length=LONGEST)
    limit: int = 10
    type: str = Field("all", max_length=30)


class Malformed(Exception):
    """A parameter is missing or malformed; the text says which."""


def read_question(kind: type[Any], given: Mapping[str, str]) -> Any:
    """Return the question of a kind in the parameters of a request. Raises Malformed."""
    try:
        return kind.model_validate({name: value for name, value in given.items() if value != ""})
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise Malformed("; ".join(problems)) from None


def names_server(given: Mapping[str, str], identity: Mapping[str, Any], hosts: Collection[str]) -> bool | None:
    """Return whether a request means this media server; None if it names none.

    Args:
        given: the parameters.
        identity: the server's.
        hosts: the names and addresses by which it is known, in lower case.
    """
    verdicts = {
        "serverId": lambda value: value == str(SERVER_NUMBER),
        "serverName": lambda value: value.casefold() == str(identity["name"]).strip().casefold(),
        "serverUrl": lambda value: host_of(value) in hosts,
        "jellyfinServerId": lambda value: _plain(value) == _plain(str(identity["server_id"])),
    }
    named = [verdicts[way](given[way].strip()) for way in WAYS if given.get(way, "").strip()]
    return all(named) if named else None


def host_of(address: str) -> str | None:
    """Return the host of a whole address, or of one without a scheme, in lower case; None if it has none."""
    try:
        return urlsplit(address if "://" in address else f"//{_bracketed(address)}").hostname
    except ValueError:
        return None


def _bracketed(address: str) -> str:
    # A bare IPv6 address, as browsers name it in `location.hostname`, may lack its brackets.
    return f"[{address}]" if address.count(":") > 1 and not address.startswith("[") else address


def _plain(server_id: str) -> str:
    return server_id.replace("-", "").lower()
