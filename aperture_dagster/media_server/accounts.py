"""Sign in to the media server with the account of a user."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import (
    AccessDenied,
    BadAnswer,
    NotFound,
    Redirected,
    RequestRejected,
    ServiceError,
)
from aperture_dagster.http.home_network import Route
from aperture_dagster.http.messages import Answer, Request, as_object, expect, objects
from aperture_dagster.media_server.detection import PUBLIC_INFO, ServerType
from aperture_dagster.media_server.items import policy_of
from aperture_dagster.media_server.values import parse_id

# Facts about the API that shaped this module: a sign-in needs no key but a client that names itself, and replaces the
# earlier one of the same device, so each has a device of its own; it stays in the server's list of devices until it is
# ended. A wrong password and an unknown name have the same answer, 401; Jellyfin answers 403 to somebody who may not
# sign in at all, for one from this network.


CLIENT = "Aperture"


VERSION = "1"


SECONDS = 10.0


class WrongAccount(Exception):
    """The server does not accept this name and password, or code."""


class UnlikeJellyfin(Exception):
    """The server is Emby: whose a token is, it says in another way, and the clients that would ask do not use it."""


class NoAdministrator(Exception):
    """The account is right, and may not make keys."""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody whom the server knows: ``server_id`` is that of the server itself."""

    user_id: str
    name: str
    is_administrator: bool
    server_id: str


@dataclass(frozen=True, slots=True)
class QuickConnect:
    """A code that a user enters in a client in which they are signed in; ``secret`` shows that it is ours."""

    code: str
    secret: str


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """Whose a token is: of a user, or of a program that an administrator gave an API key; ``user_id`` is None then."""

    user_id: str | None
    name: str
    is_administrator: bool
    server_id: str


class ServerAccounts(ServiceClient):
    """The sign-in of a media server. It uses no key.

    Args:
        server_type: which server it is.
        url: its address.
        route: how to reach it.
    """

    def __init__(self, server_type: ServerType, url: str, *, route: Route | None = None) -> None:
        super().__init__(
            "The media server", url, route=route, attempts=1, timeout_seconds=SECONDS,
            address_setting="APERTURE_MEDIA_SERVER_URL",
        )  # fmt: skip
        self._is_emby = server_type == "emby"
        self._header_is_taken = any(name.lower() == "authorization" for name in (route.headers if route else ()))
        self._device = f"aperture-{secrets.token_hex(8)}"

    def sign_in(self, name: str, password: str) -> Account:
        """Check a name and password.

        Raises:
            WrongAccount: the server does not accept them.
            ServiceRefused, Redirected: the address leads to something else.
            ServiceError: it does not answer, or not as expected.
        """
        self.transport.hide(password)
        return self._account(lambda: self._post("/Users/AuthenticateByName", {"Username": name, "Pw": password}))

    def make_key(self, name: str, password: str) -> str:
        """Sign in as an administrator, and return the server's API key of our name, which is made if there is none.

        Raises:
            NoAdministrator: the account is not one of an administrator.
            WrongAccount, ServiceError: as :meth:`sign_in`.
        """
        self.transport.hide(password)
        with self._signed_in(lambda: self._post("/Users/AuthenticateByName", {"Username": name, "Pw": password})) as (
            account,
            token,
        ):
            if not account.is_administrator:
                raise NoAdministrator
            if (key := self._own_key(token)) is None:
                self._send("POST", "/Auth/Keys", token, {"App": CLIENT})
                key = self._own_key(token)
        if key is None:
            raise BadAnswer("the media server lists no key of ours after making one")
        self.transport.hide(key)
        return key

    def _own_key(self, token: str) -> str | None:
        """Return the newest API key of our name. Both servers list the keys themselves."""
        listed = objects(as_object(self._send("GET", "/Auth/Keys", token).json()).get("Items"))
        ours = [one for one in listed if one.get("AppName") == CLIENT and isinstance(one.get("AccessToken"), str)]
        newest = max(ours, key=lambda one: str(one.get("DateCreated") or ""), default=None)
        return None if newest is None else newest["AccessToken"]

    def _send(self, method: str, path: str, token: str, params: dict[str, str] | None = None) -> Answer:
        return self.transport.send(Request(method, path, params=params, headers=self._headers(token)))

    def begin_quick_connect(self) -> QuickConnect:
        """Return a new code. Raises ServiceError; :class:`ServiceRefused` if the server does not offer it."""
        found = as_object(self._post("/QuickConnect/Initiate", None))
        code, secret = found.get("Code"), found.get("Secret")
        if not isinstance(code, str) or not isinstance(secret, str):
            raise BadAnswer("the media server's Quick Connect has no code")
        return QuickConnect(code, secret)

    def finish_quick_connect(self, secret: str) -> Account | None:
        """Return who has entered the code; None while nobody has.

        Raises:
            WrongAccount: the code has expired.
            ServiceError: the server does not answer, or not as expected.
        """
        self.transport.hide(secret)
        request = Request("GET", "/QuickConnect/Connect", params={"secret": secret}, headers=self._headers())
        try:
            state = as_object(self.transport.send(request).json())
        except Redirected:
            raise
        except (NotFound, RequestRejected):
            raise WrongAccount from None
        if not state.get("Authenticated"):
            return None
        return self._account(lambda: self._post("/Users/AuthenticateWithQuickConnect", {"Secret": secret}))

    def whose(self, token: str) -> TokenOwner:
        """Return whose a token of the server is, which a client of it has.

        Raises:
            WrongAccount: the server does not accept it, or its user is disabled.
            UnlikeJellyfin: the server is Emby.
            ServiceError: it does not answer, or not as expected.
        """
        if self._is_emby:
            raise UnlikeJellyfin
        self.transport.hide(token)
        try:
            # For an API key, which is nobody's, the answer is 400; for what is neither key nor token, 401.
            answer = self.transport.send(self._with_token("/Users/Me", token, accept=(400,)))
            if answer.status == 400:
                return self._program(token)
        except AccessDenied:
            raise WrongAccount from None
        user = expect(answer.json(), dict, "the answer to a token")
        policy, server_id, name = policy_of(user), user.get("ServerId"), user.get("Name")
        if policy.get("IsDisabled") is True:
            raise WrongAccount
        if not isinstance(server_id, str) or not server_id:
            raise BadAnswer("the answer to a token names no server")
        return TokenOwner(parse_id(user.get("Id")), str(name or ""), policy.get("IsAdministrator") is True, server_id)

    def people(self, token: str, user_id: str, name: str, kind: str, limit: int) -> list[tuple[str, str]]:
        """Return ids and names of people of a kind, such as ``Actor``, as a client of a user finds them by name.

        Raises:
            ServiceError: the server does not answer, or not as expected.
        """
        self.transport.hide(token)
        params = {"searchTerm": name, "personTypes": kind, "limit": str(limit), "userId": user_id}
        answer = self.transport.send(self._with_token("/Persons", token, params=params))
        people = objects(expect(answer.json(), dict, "the answer to a search for people").get("Items"))
        return [(parse_id(person.get("Id")), str(person.get("Name") or "")) for person in people]

    def _program(self, token: str) -> TokenOwner:
        """Return the owner of an API key, after a request that only one, or an administrator, may make."""
        self.transport.send(self._with_token("/System/ActivityLog/Entries", token, params={"limit": "1"}))
        info = expect(self.transport.get_json(PUBLIC_INFO), dict, PUBLIC_INFO)
        return TokenOwner(None, "", True, expect(info.get("Id"), str, "the server's id"))

    def _with_token(self, path: str, token: str, *, params: dict[str, str] | None = None, accept: Any = ()) -> Request:
        # The token alone: a name and version would replace those of the client that it belongs to.
        if self._header_is_taken:
            return Request("GET", path, params={**(params or {}), "ApiKey": token}, accept=accept)
        headers = {"Authorization": f'MediaBrowser Token="{token}"'}
        return Request("GET", path, params=params, headers=headers, accept=accept)

    def _account(self, ask: Callable[[], Any]) -> Account:
        with self._signed_in(ask) as (account, _):
            return account

    @contextlib.contextmanager
    def _signed_in(self, ask: Callable[[], Any]) -> Iterator[tuple[Account, str]]:
        """Yield who has signed in, and the token of that, which ends afterwards."""
        try:
            found = expect(ask(), dict, "the answer to a sign-in")
        except Redirected:
            raise
        except (AccessDenied, RequestRejected):
            raise WrongAccount from None
        token = found.get("AccessToken")
        if not isinstance(token, str):
            raise BadAnswer("the answer to a sign-in has no token")
        self.transport.hide(token)
        try:
            yield self._account_in(found), token
        finally:
            self._end(token)

    def _account_in(self, found: dict[str, Any]) -> Account:
        user = as_object(found.get("User"))
        name, policy = user.get("Name"), policy_of(user)
        if not isinstance(name, str):
            raise BadAnswer("the answer to a sign-in names no user")
        if policy.get("IsDisabled") is True:
            # Not every way to sign in looks at it.
            raise WrongAccount
        server_id = found.get("ServerId")
        if not isinstance(server_id, str) or not server_id:
            raise BadAnswer("the answer to a sign-in names no server")
        return Account(parse_id(user.get("Id")), name, policy.get("IsAdministrator") is True, server_id)

    def _post(self, path: str, body: Any, token: str | None = None) -> Any:
        request = Request("POST", path, json=body, headers=self._headers(token))
        try:
            return self.transport.send(request).json()
        except NotFound:
            if not self._is_emby or self.transport.base_url.endswith("/emby"):
                raise
        # As for the reader: a reverse proxy may forward only what has the prefix.
        self.transport.base_url += "/emby"
        return self.transport.send(request).json()

    def _end(self, token: str) -> None:
        """End the sign-in on the server: from here on, our own session counts."""
        # It ends nothing that anybody uses, so a failure costs a line in the server's list of devices.
        with contextlib.suppress(ServiceError):
            self._post("/Sessions/Logout", None, token)

    def _headers(self, token: str | None = None) -> dict[str, str]:
        names = f'Client="{CLIENT}", Device="{CLIENT}", DeviceId="{self._device}", Version="{VERSION}"'
        value = f"MediaBrowser {names}" + (f', Token="{token}"' if token else "")
        return {"X-Emby-Authorization" if self._is_emby else "Authorization": value}
