"""The types of settings, each with its own validation and a sentence about what it expects."""

import contextlib
import ipaddress
import json
import re
import socket
from datetime import time
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    Json,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic_settings import BaseSettings, NoDecode


def _blank_is_none(value: Any) -> Any:
    """Strip a text, because files and shells leave line breaks at its end; a blank one is not set."""
    return value.strip() or None if isinstance(value, str) else value


def _off_is_none(value: Any) -> Any:
    """Read ``off`` as no address: an empty variable counts as one that is not set, and would leave the default."""
    value = _blank_is_none(value)
    return None if isinstance(value, str) and value.lower() == "off" else value


def split_names(value: Any) -> Any:
    """Split ``a, b`` or ``["a", "b"]``."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        # A name may begin with a bracket, too.
        with contextlib.suppress(ValueError):
            return tuple(json.loads(value))
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _check_address(value: str) -> str:
    """Accept an address that a path can be appended to and that may be shown in messages and logs."""
    value = value.strip().rstrip("/")
    scheme, separator, rest = value.partition("://")
    value = f"{scheme.lower()}{separator}{rest}"
    if not value.startswith(("http://", "https://")):
        raise ValueError("expected an address that begins with http:// or https://")
    # Anywhere in it: a password with a slash would pass for the beginning of the path.
    if "@" in value:
        raise ValueError("expected an address without user and password, which would show in logs")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0 or any(character.isspace() for character in value):
        raise ValueError("expected an address such as http://192.168.1.10:8096")
    if "?" in value or "#" in value:
        raise ValueError("expected an address that ends with its path, without ? or # and what follows")
    return value


def _check_time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("expected a name such as Europe/Berlin or UTC") from None
    return value


def parse_json(value: Any) -> Any:
    """Parse a JSON object."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError('expected JSON, such as {"name": "value"}') from None


_AUTHORITY = re.compile(r"(?P<name>[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])\.?(:(?P<port>[0-9]{1,5}))?")


def parse_authority(text: str) -> tuple[str, str] | None:
    """Split ``host:port``; the port is empty if it is that of HTTP or HTTPS. Return None if the text is malformed."""
    found = _AUTHORITY.fullmatch(text.lower())
    if found is None:
        return None
    port = found["port"] or ""
    return found["name"].strip("[]"), "" if port in ("80", "443") else port


def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an IP address without its zone, and as IPv4 if IPv6 only wraps it; None if the text is no address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    return address


def is_address(name: str) -> bool:
    """Return whether a name is an IP address."""
    return address_of(name) is not None


def is_loopback(name: str) -> bool:
    """Return whether a name or address is one that leads to this machine only."""
    if address := address_of(name):
        return address.is_loopback
    return name == "localhost" or name.endswith(".localhost")


def is_loopback_only(host: str) -> bool:
    """Return whether a server that listens on an address, or on all addresses of a name, is for this machine only."""
    if is_address(host):
        return is_loopback(host)
    try:
        # Without a name, a server listens on all addresses, and so it does for `0`.
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host or None, 0, flags=socket.AI_PASSIVE)}
    except (OSError, UnicodeError):
        return False
    return all(is_loopback(address) for address in found)


def _check_authority(value: str) -> str:
    if parse_authority(value) is None:
        raise ValueError("expected names such as aperture.example.org, without https:// and without a path")
    return value


GATEWAY = "gateway"
"""The host of a container, as the container sees it."""


def _check_proxy(value: str) -> str:
    if value == GATEWAY:
        return value
    try:
        network = ipaddress.ip_network(value)
    except ValueError:
        raise ValueError(
            f"expected addresses such as 192.168.1.2, networks such as 172.20.0.0/16, or the word {GATEWAY}"
        ) from None
    if network.prefixlen == 0:
        raise ValueError("expected the proxy's network, since with this one every client may say where it comes from")
    return value


_HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")]
_HeaderValue = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[ -~]+$")]
_HEADERS = TypeAdapter(Json[dict[_HeaderName, _HeaderValue]])


def parse_headers(text: str) -> dict[str, str] | None:
    """Parse a JSON object of HTTP headers; None if it is not one or contains what no header may."""
    try:
        return _HEADERS.validate_python(text)
    except ValidationError:
        return None


def _check_headers(value: SecretStr | None) -> SecretStr | None:
    if value is not None and parse_headers(value.get_secret_value()) is None:
        raise ValueError('expected a JSON object of names and values, such as {"Authorization": "Basic …"}')
    return value


# Only times that a job's freshness can follow from, and that can be said in words.
_TIME = re.compile(
    r"[1-5]?\d (1?\d|2[0-3]) \* \* (\*|[0-6](,[0-6])*)"
    r"|[1-5]?\d \*(/([1-9]|1\d|2[0-3]))? \* \* \*"
    r"|\*/([1-9]|[1-5]\d) \* \* \* \*"
)


def _check_times(value: dict[str, str]) -> dict[str, str]:
    times = {job: " ".join(given.split()) for job, given in value.items()}
    for job, given in times.items():
        if given != "off" and not _TIME.fullmatch(given):
            raise ValueError(
                f"expected for {job} a time of every day (30 2 * * *) or of weekdays (30 2 * * 0,3; 0 is Sunday), an "
                "interval (0 */6 * * *, */30 * * * *), or off"
            )
    return times


def span_of(text: str) -> tuple[time, time]:
    """Read when a span of a day begins and ends.

    Raises:
        ValueError: it is not of the form ``19:00-23:30``, or lasts for no time.
    """
    try:
        start, end = (time.fromisoformat(part.strip()).replace(second=0, microsecond=0) for part in text.split("-"))
    except ValueError:
        start = end = time()
    if start == end or start.tzinfo or end.tzinfo:
        raise ValueError("expected two times of day, such as 19:00-23:30")
    return start, end


def _check_span(value: str) -> str:
    span_of(value)
    return value


Share = Annotated[float, Field(ge=0, le=1)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_names)]
Hosts = Annotated[tuple[Annotated[str, AfterValidator(_check_authority)], ...], NoDecode, BeforeValidator(split_names)]
Proxies = Annotated[tuple[Annotated[str, AfterValidator(_check_proxy)], ...], NoDecode, BeforeValidator(split_names)]
Texts = Annotated[dict[str, str], NoDecode, BeforeValidator(parse_json)]
Times = Annotated[Texts, AfterValidator(_check_times)]
DaySpan = Annotated[str, BeforeValidator(_blank_is_none), AfterValidator(_check_span)]
OptionalText = Annotated[str | None, BeforeValidator(_blank_is_none)]
Address = Annotated[str, AfterValidator(_check_address)]
OptionalAddress = Annotated[Address | None, BeforeValidator(_off_is_none)]
TimeZone = Annotated[str, AfterValidator(_check_time_zone)]
Secret = Annotated[SecretStr | None, BeforeValidator(_blank_is_none)]
SecretHeaders = Annotated[Secret, AfterValidator(_check_headers)]


class SettingsGroup(BaseSettings):
    """A group of settings; ``docs/settings.md`` shows its docstring as heading and those of its fields beside them."""
