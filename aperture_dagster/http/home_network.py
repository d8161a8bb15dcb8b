"""How to reach a server at home: its certificate, the reverse proxy in front of it, and no proxy on the way to it."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

from aperture_dagster.http.errors import ServiceNotConfigured
from aperture_dagster.settings import Settings
from aperture_dagster.settings.types import parse_headers

CERTIFICATE_ADVICE = (
    "Set APERTURE_MEDIA_SERVER_CA_FILE to the file of the certificate that signed it, "
    "or APERTURE_MEDIA_SERVER_VERIFY_TLS to false in a network that you trust."
)
PASSWORD_ADVICE = (
    "Something in front of the server asks for a password: set APERTURE_MEDIA_SERVER_HEADERS, "
    'such as {"Authorization": "Basic …"}.'
)
CERTIFICATE_SECONDS = 5
HOME_DOMAINS = (".local", ".lan", ".internal", ".home", ".home.arpa", ".localhost")
# Shared by carriers and overlay networks, and neither private nor public to Python.
SHARED_ADDRESSES = ipaddress.ip_network("100.64.0.0/10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How requests reach a service.

    ``headers`` are secrets that are sent with every request. ``verify`` is a TLS context, or whether certificates are
    verified with the usual ones; ``direct`` ignores the environment's proxies. The advice is for the operator, about a
    certificate that is not trusted and about something in front of the service that asks for a password.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    verify: ssl.SSLContext | bool = True
    direct: bool = True
    certificate_advice: str = ""
    password_advice: str = ""


def route_to_media_server(settings: Settings) -> Route:
    """Read the route from the settings. Raises ServiceNotConfigured if the CA file cannot be read."""
    headers = settings.media_server_headers
    return Route(
        headers=(parse_headers(headers.get_secret_value()) or {}) if headers is not None else {},
        verify=_verification(settings),
        direct=is_private(urlsplit(settings.media_server_url or "").hostname or ""),
        certificate_advice=CERTIFICATE_ADVICE,
        password_advice=PASSWORD_ADVICE,
    )


def describe_route(settings: Settings) -> list[str]:
    """Describe what is unusual about the route to the media server, for the operator."""
    route = route_to_media_server(settings)
    described = []
    if not settings.media_server_verify_tls:
        described.append("its certificate is not verified (APERTURE_MEDIA_SERVER_VERIFY_TLS)")
    elif settings.media_server_ca_file is not None:
        described.append(f"its certificate is verified with {settings.media_server_ca_file}")
    if route.headers:
        described.append(f"sent with each request: {', '.join(route.headers)} (APERTURE_MEDIA_SERVER_HEADERS)")
    if not route.direct and (proxies := urllib.request.getproxies()) and {"http", "https", "all"} & proxies.keys():
        described.append("reached through the environment's proxy")
    return described


def certificate_dates(address: str) -> tuple[datetime, datetime]:
    """Return from when and until when the certificate of a host, or host and port, is valid, trusted or not.

    Raises:
        OSError, ValueError: there is none to be read.
    """
    from cryptography.x509 import load_pem_x509_certificate

    parts = urlsplit(f"https://{address}")
    found = ssl.get_server_certificate((parts.hostname or "", parts.port or 443), timeout=CERTIFICATE_SECONDS)
    certificate = load_pem_x509_certificate(found.encode())
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def is_private(host: str, *, resolve: bool = True) -> bool:
    """Return whether a host is in the home: all its addresses are private, or no public resolver knows its name.

    Without ``resolve``, a name that a public resolver may know counts as public.
    """
    try:
        return _is_private_address(host)
    except ValueError:
        pass
    if "." not in host or host.endswith(HOME_DOMAINS):
        return True
    if not resolve:
        return False
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        # Only the proxy may know it.
        return False
    return all(_is_private_address(address) for address in found)


def _is_private_address(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    # A socket for both versions gives IPv4 addresses this form, all of which some versions of Python call private.
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_private or found.is_link_local or found in SHARED_ADDRESSES


def _verification(settings: Settings) -> ssl.SSLContext | bool:
    if not settings.media_server_verify_tls:
        return False
    if settings.media_server_ca_file is None:
        return True
    path = settings.media_server_ca_file.expanduser()
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it holds no certificate"
        raise ServiceNotConfigured(
            f"APERTURE_MEDIA_SERVER_CA_FILE: {path} cannot be used ({reason}): "
            "set it to a file with the certificate in PEM format."
        ) from None
    return context
