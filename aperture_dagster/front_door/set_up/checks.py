"""What set-up tests, from where the program runs: the media server, accounts, keys and the folder of lists.

A check that fails raises :class:`Problem`, with a sentence for whoever sets up. All requests are made by the clients of
the product.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from pydantic import TypeAdapter, ValidationError

from aperture_dagster.catalogue.servers import MediaServers, open_accounts
from aperture_dagster.discovery.seerr import SEERR
from aperture_dagster.enrichment.sources import SOURCES
from aperture_dagster.front_door.proxies import find_gateways
from aperture_dagster.http import errors
from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.home_network import route_to_media_server
from aperture_dagster.http.messages import Answer, Request
from aperture_dagster.media_server.accounts import NoAdministrator, WrongAccount
from aperture_dagster.media_server.detection import PUBLIC_INFO, server_type_of
from aperture_dagster.media_server.emby.reader import EmbyReader
from aperture_dagster.media_server.emby.writer import EmbyWriter
from aperture_dagster.media_server.jellyfin.writer import JellyfinWriter
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.model import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.backup.folder import in_container
from aperture_dagster.postgres.database import Database
from aperture_dagster.publishing.disk.paths import PathMap, root_problems
from aperture_dagster.publishing.server.preflight import shows_its_files
from aperture_dagster.settings import Settings, environment_names, settings_set_outside
from aperture_dagster.settings.types import Address, is_loopback
from aperture_dagster.texts import marked
from aperture_dagster.trakt.client import Trakt
from aperture_dagster.worklist.services import MeteredService

SECONDS = 10.0
OTHER_SECONDS = 3.0
"""How long another address, which was not asked for, is tried."""
MOST_OTHERS = 12
HOST_OF_CONTAINER = "host.docker.internal"
"""As Docker Desktop calls it; elsewhere it is the gateway."""
USUAL_PORTS = (("http", 8096), ("https", 8920))
BUSY = (502, 503, 504)
ALL_BUT_FAILURES = (*range(300, 600),)
ADDRESS: TypeAdapter[str] = TypeAdapter(Address)


class Problem(Exception):
    """Why a step is not accepted: a text to be translated, its values, and an address that would be accepted."""

    def __init__(self, text: str, *, other: str = "", **values: str) -> None:
        super().__init__(text)
        self.text, self.values, self.other = text, values, other


@dataclass(frozen=True, slots=True)
class Found:
    """A media server that answers at an address."""

    url: str
    name: str
    product: str
    version: str


def find_media_server(typed: str, settings: Settings) -> Found:
    """Find the media server at an address as somebody types it, or pastes it from a browser.

    Raises:
        Problem: no server answers there. It names an address nearby at which one does, if there is any.
    """
    url = _cleaned(typed)
    try:
        return _ask(url, settings, SECONDS)
    except Problem as problem:
        known = problem
    others = [one for one in dict.fromkeys(_others(url, known.other)) if one != url][:MOST_OTHERS]
    with ThreadPoolExecutor(max(1, len(others))) as pool:
        for found in pool.map(lambda other: _ask_or_none(other, settings), others):
            if found is not None:
                raise Problem(
                    marked("%(product)s does not answer at %(url)s, but it does at %(other_url)s."),
                    other=found.url, product=found.product, url=url, other_url=found.url,
                )  # fmt: skip
    raise Problem(known.text, **known.values)


def _cleaned(typed: str) -> str:
    """Return an address without path and query of the page that it was copied from. Raises Problem if it is none."""
    text = typed.strip()
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        path = parts.path.partition("/web")[0] if f"{parts.path}/".find("/web/") >= 0 else parts.path
        return ADDRESS.validate_python(urlunsplit((parts.scheme, parts.netloc, path.rstrip("/"), "", "")))
    except (ValidationError, ValueError):
        raise Problem(marked("This is no address. It looks like http://192.168.1.10:8096.")) from None


def _others(url: str, redirected: str) -> Iterator[str]:
    """Yield addresses at which the server may be that was meant."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    named = f"[{host}]" if ":" in host else host
    if redirected:
        yield redirected
    if is_loopback(host) and in_container():
        for gateway in (HOST_OF_CONTAINER, *find_gateways(Path("/proc/net"), Path("/sys/class/net"))):
            yield f"{parts.scheme}://{gateway}:{port or 8096}{parts.path}"
    other = "http" if parts.scheme == "https" else "https"
    yield f"{other}://{parts.netloc}{parts.path}"
    path = parts.path
    while path:
        path = path.rpartition("/")[0]
        yield f"{parts.scheme}://{parts.netloc}{path}"
    for path in ("/jellyfin", "/emby"):
        yield f"{parts.scheme}://{parts.netloc}{path}"
    yield from (f"{scheme}://{named}:{number}" for scheme, number in USUAL_PORTS)


def _ask_or_none(url: str, settings: Settings) -> Found | None:
    try:
        return _ask(url, settings, OTHER_SECONDS)
    except Problem:
        return None


def _ask(url: str, settings: Settings, seconds: float) -> Found:
    """Ask what answers at an address. Raises Problem if it is no media server."""
    settings = settings.model_copy(update={"media_server_url": url})
    try:
        route = route_to_media_server(settings)
        client = ServiceClient("The media server", url, route=route, attempts=1, timeout_seconds=seconds)
        with closing(client):
            answers = (
                client.transport.send(Request("GET", path, accept=ALL_BUT_FAILURES))
                for path in (PUBLIC_INFO, f"/emby{PUBLIC_INFO}")
            )
            return _recognised(url, answers)
    except errors.ServiceError as error:
        raise _silence(url, error) from None


def _recognised(url: str, answers: Iterator[Answer]) -> Found:
    first: Answer | None = None
    for answer in answers:
        first = first or answer
        info = answer.fields() if answer.status < 300 else {}
        if isinstance(info.get("Id"), str) and isinstance(info.get("Version"), str):
            if info.get("StartupWizardCompleted") is False:
                raise Problem(
                    marked("The media server at %(url)s has not been set up itself: open that address first."), url=url
                )
            product = "Emby" if server_type_of(info) == "emby" else "Jellyfin"
            return Found(url, str(info.get("ServerName") or product), product, info["Version"])
        if answer.status not in (300, 404, *range(200, 300)):
            break
    assert first is not None
    if first.status in BUSY:
        raise Problem(
            marked("The media server at %(url)s is starting, or what forwards to it does not reach it. Try again in a "
                   "minute."),
            url=url,
        )  # fmt: skip
    if first.status in (301, 302, 303, 307, 308):
        target = urljoin(f"{url}{PUBLIC_INFO}", first.headers.get("location", ""))
        raise Problem(
            marked("The address %(url)s leads on to another one. Enter the address at which you end up in a browser."),
            url=url, other=target.partition("/System/")[0].partition("/web")[0].partition("?")[0].rstrip("/"),
        )  # fmt: skip
    if first.status == 401 and "basic" in first.headers.get("www-authenticate", "").lower():
        raise Problem(
            marked("Something in front of the media server asks for a password. Enter an address that leads to the "
                   "server itself, or set APERTURE_MEDIA_SERVER_HEADERS.")
        )  # fmt: skip
    raise Problem(marked("What answers at %(url)s is neither Jellyfin nor Emby. Check the port and the path."), url=url)


def _silence(url: str, error: errors.ServiceError) -> Problem:
    """Say why nothing was answered."""
    host, reason = urlsplit(url).hostname or "", str(error)
    if is_loopback(host) and in_container():
        return Problem(
            marked("Nothing answers at %(url)s: this program runs in a container, where localhost is the container. "
                   "Enter the address that the machine of the media server has in your network."),
            url=url,
        )  # fmt: skip
    if "certificate" in reason:
        return Problem(
            marked("The certificate of %(url)s is not trusted. Enter an address with http://, or set "
                   "APERTURE_MEDIA_SERVER_CA_FILE or APERTURE_MEDIA_SERVER_VERIFY_TLS."),
            url=url,
        )  # fmt: skip
    if "does not speak https" in reason or ssl.SSLError.__name__ in reason or "SSL" in reason:
        return Problem(marked("What answers at %(url)s does not speak HTTPS. Try http:// instead."), url=url)
    if any(words in reason for words in ("Name or service", "nodename", "name resolution", "No address associated")):
        return Problem(
            marked("Nobody knows the name %(host)s where this program runs. Try the IP address instead."), host=host
        )
    if isinstance(error, errors.ServiceTimedOut) or "in time" in reason:
        return Problem(
            marked("%(url)s does not answer in time. Check the address, whether the machine runs, and whether a "
                   "firewall keeps this program out."),
            url=url,
        )  # fmt: skip
    return Problem(
        marked("Nothing answers at %(url)s. Check address and port, and whether the media server runs."), url=url
    )


def make_key(settings: Settings, name: str, password: str) -> str:
    """Sign in as an administrator of the media server, and return this program's key there. Raises Problem."""
    try:
        with open_accounts(settings) as accounts:
            return accounts.make_key(name, password)
    except WrongAccount:
        raise Problem(marked("The media server does not accept this name and password.")) from None
    except NoAdministrator:
        raise Problem(
            marked(
                "This account is not one of an administrator of the media server. Only an administrator can make a key."
            )
        ) from None
    except (errors.RequestRejected, errors.BadAnswer, errors.NotFound):
        raise Problem(marked("The media server makes no key. Make one there, and paste it below.")) from None
    except errors.ServiceError as error:
        raise _silence(settings.media_server_url or "", error) from None


@contextmanager
def _reader(settings: Settings) -> Iterator[MediaServerReader]:
    """Connect to the media server. Raises Problem, also for what fails in the block."""
    hasty = settings.model_copy(update={"http_attempts": 1, "media_server_timeout_seconds": SECONDS})
    try:
        with MediaServers(hasty, Database(hasty)).open_without_database() as reader:
            yield reader
    except errors.AccessDenied:
        raise Problem(
            marked(
                "The media server refuses this key. Check that all of it was copied, and that it was made on that "
                "server."
            )
        ) from None
    except errors.ServiceRefused as error:
        raise Problem(marked("The media server cannot be used: %(reason)s"), reason=str(error)) from None
    except errors.ServiceError as error:
        raise _silence(settings.media_server_url or "", error) from None


def list_users(settings: Settings) -> list[tuple[str, bool]]:
    """Return the names of the media server's users, and whether they may sign in there. Raises Problem."""
    with _reader(settings) as server:
        return [(user.name, not user.is_disabled) for user in server.users().records]


@dataclass(frozen=True, slots=True)
class KeyOffer:
    """A service that needs a key, which may be left out.

    Attributes:
        name: of the service.
        fields: variables to enter, each with what it is called.
        where: the page on which the key is had; empty if that is the operator's own program.
        brings: what it is good for.
    """

    name: str
    fields: Mapping[str, str]
    where: str
    brings: str

    @property
    def required(self) -> Sequence[str]:
        """All of its variables: one without the others is of no use."""
        return tuple(self.fields)


OFFERS = (
    KeyOffer(
        "TMDb", {"TMDB_API_KEY": marked("API read access token, or API key")}, "https://www.themoviedb.org/settings/api",
        marked("Descriptions, keywords and posters, and titles that are not in the library. Free."),
    ),
    KeyOffer(
        "OMDb", {"OMDB_API_KEY": marked("API key")}, "https://www.omdbapi.com/apikey.aspx",
        marked("Scores of critics, and awards. Free for 1,000 titles a day."),
    ),
    KeyOffer(
        "MDBList", {"MDBLIST_API_KEY": marked("API key")}, "https://mdblist.com/preferences/",
        marked("Scores of many sites, and where titles stream. Free for 1,000 titles a day."),
    ),
    KeyOffer(
        "Trakt", {"TRAKT_CLIENT_ID": marked("Client ID"), "TRAKT_CLIENT_SECRET": marked("Client secret")},
        "https://trakt.tv/oauth/applications",
        marked("Everybody can have their ratings on Trakt and here in step. Make an app there; its redirect URI is "
               "urn:ietf:wg:oauth:2.0:oob."),
    ),
    KeyOffer(
        "Seerr", {"APERTURE_SEERR_URL": marked("Address"), "SEERR_API_KEY": marked("API key")}, "",
        marked("Titles that are not in the library can be requested. The key is in Seerr under Settings, General."),
    ),
)  # fmt: skip


def check_key(offer: KeyOffer, settings: Settings) -> None:
    """Verify the key of a service, which is in the settings, with one request. Raises Problem."""
    hasty = settings.model_copy(update={"http_attempts": 1})
    try:
        if offer.name == "Trakt":
            with closing(Trakt(hasty.trakt_url, hasty.trakt_client_id or "", access=None, attempts=1)) as trakt:
                trakt.check_app()
            return
        service = next(one for one in (*SOURCES, SEERR) if one.label == offer.name)
        with MeteredService(service, hasty, Database(hasty), Clock()).open_without_database() as client:
            client.check()
    except errors.QuotaSpent:
        # It knows the key.
        return
    except (errors.ServiceRefused, errors.RequestRejected, errors.BadAnswer, errors.NotFound):
        raise Problem(
            marked("%(service)s does not accept this. Check that all of it was copied."), service=offer.name
        ) from None
    except errors.ServiceError:
        raise Problem(
            marked("%(service)s does not answer from here. Try again, or leave it out for now."), service=offer.name
        ) from None


def check_folder(settings: Settings) -> None:
    """Verify that lists can be published in the folder of the settings, as `publish --dry-run` does. Raises Problem."""
    assert settings.publish_root is not None
    root, paths = settings.publish_root.expanduser(), PathMap(settings.path_map)
    if not root.is_absolute():
        raise Problem(
            marked("The folder %(folder)s is not the whole path, which begins with a slash."), folder=str(root)
        )
    on_server = paths.to_server(root)
    with _reader(settings) as reader:
        writer = (EmbyWriter if isinstance(reader, EmbyReader) else JellyfinWriter)(reader, dry_run=False)
        writer.server()
        locations = [path for library in writer.libraries() for path in library.locations]
        if problems := root_problems(on_server, locations):
            raise Problem(marked("The folder cannot be used: %(reason)s"), reason=" ".join(problems))
        try:
            is_seen = shows_its_files(root, paths, writer)
        except (OSError, OperatorError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise Problem(
                marked("The folder %(folder)s cannot be written where this program runs (%(reason)s). Create it, and "
                       "in a container mount it."),
                folder=str(root), reason=reason,
            ) from None  # fmt: skip
        if not is_seen:
            raise Problem(
                marked("%(product)s does not see the files of %(folder)s at %(on_server)s. Let it see the folder "
                       "there, in a container by a mount, or enter the path under which it sees the folder."),
                product=reader.product, folder=str(root), on_server=on_server,
            )  # fmt: skip


def usual_folder() -> str:
    """Return a folder to offer for lists: where the image has a volume for them."""
    return "/published" if in_container() and Path("/published").is_dir() else ""


def settings_with(values: Mapping[str, str]) -> Settings:
    """Return the settings with the values of variables, validated. Raises Problem for one that is impossible."""
    # The environment wins, as it does for everything that runs afterwards.
    outside = settings_set_outside()
    by_variable = {name: field for field in Settings.model_fields for name in environment_names(field)}
    given: dict[str, Any] = {by_variable[name]: value for name, value in values.items()}
    try:
        return Settings(**{field: value for field, value in given.items() if field not in outside})
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise Problem(marked("%(field)s: %(reason)s"), field=field, reason=reason) from None
