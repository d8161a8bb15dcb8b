"""Which proxies may say whose requests they forward, and which others forward requests although nobody trusts them.

A client can send the headers of a proxy itself, so they count only if the connection comes from a trusted proxy. From
any other address they are ignored, and ``aperture doctor`` names the address, since the settings may lack that proxy.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from aperture_dagster.files.private import FileError, write_file
from aperture_dagster.front_door.secrets import FOLDER
from aperture_dagster.model import listed
from aperture_dagster.settings import Settings
from aperture_dagster.settings.types import GATEWAY, address_of, is_loopback

_LOG = logging.getLogger(__name__)
SETTING = "APERTURE_UI_TRUSTED_PROXIES"
HEADERS = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"forwarded", b"x-real-ip"})
OWN = (ipaddress.ip_network("127.0.0.1"), ipaddress.ip_network("::1"))
PEER = "aperture.peer"
FILE = "untrusted-proxies.json"
MOST_REMEMBERED = 16
REMEMBERED_SECONDS = 7 * 86_400
AGAIN_SECONDS, NEXT_SECONDS = 3600.0, 60.0
"""How long until an address is remembered again, and until another one is: a client may have many."""
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_of_this_machine(request: HTTPConnection) -> bool:
    """Tell whether a request was made on this machine, and forwarded by nobody."""
    is_forwarded = any(header.decode() in request.headers for header in HEADERS)
    return not is_forwarded and request.client is not None and is_loopback(request.client.host)


class Proxies:
    """The proxies of a household.

    Args:
        settings: which proxies are trusted, and the home.
        routes: folder of the kernel's tables of routes.
        devices: folder of the kernel's network devices.
    """

    def __init__(
        self, settings: Settings, routes: Path = Path("/proc/net"), devices: Path = Path("/sys/class/net")
    ) -> None:
        self._given, self._is_published = settings.ui_trusted_proxies, not is_loopback(settings.ui_host)
        self._path = settings.home_path / FOLDER / FILE
        self.gateways = tuple(find_gateways(routes, devices))
        self._named = [one for one in self._given if one != GATEWAY]
        if GATEWAY in self._given and not self._is_published:
            self._named += self.gateways
        # A network that is trusted has a gateway as well, which is no proxy unless it is named itself.
        networks = [ipaddress.ip_network(one) for one in self._named]
        for gateway in (ipaddress.ip_network(one) for one in self.gateways):
            if gateway not in networks:
                networks = [part for network in networks for part in _without(network, gateway)]
        self.networks: tuple[Network, ...] = (*OWN, *networks)

    def trusts(self, address: str) -> bool:
        """Return whether a proxy at an address may say whose requests it forwards."""
        found = address_of(address)
        return found is not None and any(found in network for network in self.networks)

    def describe(self) -> str:
        """Say whom requests are believed to come from."""
        said = f"{listed(['this machine', *self._named])} may say whose requests they forward"
        if GATEWAY not in self._given or any(one in self._named for one in self.gateways):
            return said
        return f"{said}; {GATEWAY} in {SETTING} names nobody: {self._why_no_gateway()}"

    def advise(self, address: str) -> str:
        """Say that an address that is not trusted forwards requests, and what to do if it is a proxy."""
        said = f"{address} forwards requests, but is no trusted proxy, so that everybody behind it counts as one client"
        if address in self.gateways and self._is_published:
            return (
                f"{said}. It is the host of this container: if your proxy runs there, let it alone reach the port: "
                f"APERTURE_UI_HOST=127.0.0.1, and {SETTING}={GATEWAY} (docs/remote-access.md, Trusted proxies)"
            )
        value = ", ".join([*self._given, GATEWAY if address in self.gateways else address])
        return (
            f"{said}. If it is your proxy, set {SETTING}={value} (docs/remote-access.md, Trusted proxies); otherwise a "
            "client made the headers up, and they are ignored"
        )

    def untrusted(self) -> list[str]:
        """Return the addresses that forwarded requests within a week without being trusted, the latest first."""
        seen = sorted(self._read().items(), key=lambda one: -one[1])
        return [address for address, at in seen if time.time() - at < REMEMBERED_SECONDS and not self.trusts(address)]

    def remember(self, address: str) -> None:
        """Remember an address that forwards requests and is not trusted."""
        latest = sorted(({**self._read(), address: time.time()}).items(), key=lambda one: one[1])[-MOST_REMEMBERED:]
        try:
            write_file(self._path, json.dumps({one: round(at) for one, at in latest}).encode())
        except FileError as error:
            _LOG.warning("`aperture doctor` cannot be told which proxy is not trusted: %s", error)

    def _read(self) -> Mapping[str, float]:
        try:
            stored = json.loads(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return {}
        found = stored.items() if isinstance(stored, dict) else ()
        return {str(one): at for one, at in found if address_of(one) and isinstance(at, (int, float))}

    def _why_no_gateway(self) -> str:
        if self._is_published:
            return "APERTURE_UI_HOST opens the port to the network, and clients there may have the host's address, too"
        return "this is no container in a network of its own"


def find_gateways(routes: Path, devices: Path) -> Iterator[str]:
    """Yield the addresses that a container's host has in its network, from the kernel's tables.

    Nothing unless the default route leads through a virtual pair of devices (*veth*): a container that shares the
    network of its host, or is a device of the local network itself, has the household's router there.
    """
    for device, destination, gateway in _routes(routes):
        if int(destination, 16) == 0 and int(gateway, 16) and _is_pair(devices / device):
            # The kernel writes an IPv4 address as a number of the processor's, and an IPv6 address as it is.
            number = bytes.fromhex(gateway)
            yield str(ipaddress.ip_address(number if len(number) == 16 else number[::-1]))


def _routes(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield device, destination and gateway of each route; both addresses in hexadecimal."""
    for name, columns in (("route", (0, 1, 2)), ("ipv6_route", (9, 0, 4))):
        try:
            lines = (folder / name).read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        for fields in map(str.split, lines):
            # The table of IPv4 has a heading.
            if len(fields) > max(columns) and fields[0] != "Iface":
                device, destination, gateway = (fields[column] for column in columns)
                yield device, destination, gateway


def _is_pair(device: Path) -> bool:
    try:
        numbers = [(device / name).read_text(encoding="ascii").strip() for name in ("ifindex", "iflink")]
        # A device that is made of another one (*macvlan*, *ipvlan*) says so.
        return numbers[0] != numbers[1] and "DEVTYPE=" not in (device / "uevent").read_text(encoding="ascii")
    except OSError:
        return False


def _without(network: Network, other: Network) -> Iterator[Network]:
    """Yield the networks that make up one without another."""
    if network.version == other.version and other.subnet_of(network):  # pyright: ignore[reportArgumentType]
        yield from network.address_exclude(other)  # pyright: ignore[reportArgumentType]
    else:
        yield network


class Forwarding:
    """Middleware that gives a request the client and the scheme that a trusted proxy names.

    The client is the last address in ``X-Forwarded-For`` that is not a trusted proxy: clients can put others before it.
    """

    def __init__(self, app: ASGIApp, proxies: Proxies) -> None:
        self._app, self._proxies = app, proxies
        # An IPv4 address that is written as IPv6 may be one of a network of IPv4.
        networks = [one for network in proxies.networks for one in (network, _as_ipv6(network))]
        self._believe = ProxyHeadersMiddleware(self._with_address, [*map(str, networks)])  # pyright: ignore[reportArgumentType]
        # Until when an address, or another one, is not noted again.
        self._until: dict[str, float] = {}
        self._next = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        peer = scope.get("client")
        if scope["type"] not in ("http", "websocket") or peer is None:
            await self._app(scope, receive, send)
        elif self._proxies.trusts(peer[0]):
            scope[PEER] = peer
            await self._believe(scope, receive, send)  # pyright: ignore[reportArgumentType]
        else:
            if not HEADERS.isdisjoint(name for name, _ in scope["headers"]):
                self._note(peer[0])
            await self._app(scope, receive, send)

    async def _with_address(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on whose client has been replaced: if by something that is no address, by the proxy again."""
        address, port = scope["client"]
        found = address_of(address)
        scope["client"] = scope[PEER] if found is None else (str(found), port)
        await self._app(scope, receive, send)

    def _note(self, address: str) -> None:
        """Log and remember who forwards requests, without doing so for each of them."""
        now, peer = time.monotonic(), str(address_of(address) or "")
        is_new = peer not in self._until
        if not peer or now < (self._next if is_new else self._until[peer]):
            return
        if is_new:
            self._next = now + NEXT_SECONDS
            _LOG.warning("%s.", self._proxies.advise(peer))
        self._until[peer] = now + AGAIN_SECONDS
        while len(self._until) > MOST_REMEMBERED:
            del self._until[next(iter(self._until))]
        threading.Thread(target=self._proxies.remember, args=(peer,), daemon=True).start()


def _as_ipv6(network: Network) -> Network:
    if isinstance(network, ipaddress.IPv6Network):
        return network
    return ipaddress.ip_network((f"::ffff:{network.network_address}", 96 + network.prefixlen))
