"""Trakt for the users who connected it, and what a failure means: for a request, for a user, for everybody."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.http.errors import ServiceError, ServiceNotConfigured
from aperture_dagster.model import Clock, is_future
from aperture_dagster.postgres.connection import WrongKey
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.trakt import stored
from aperture_dagster.trakt.account_state import CONNECT, OFF, SERVE, next_state
from aperture_dagster.trakt.client import Access, Trakt
from aperture_dagster.trakt.errors import (
    AccountShared,
    AppRefused,
    EdgeBlocked,
    NotConnected,
    ReconnectNeeded,
)
from aperture_dagster.trakt.records import TokenPair
from aperture_dagster.trakt.sign_in import TraktSignIn
from aperture_dagster.trakt.stored import TraktAccount
from aperture_dagster.trakt.tokens import SYNC_PATIENCE_SECONDS, TokenStore, UserAccess

# A refused app is tried again after some hours: meanwhile the operator may have put it right.
APP_PAUSE = timedelta(hours=6)
BY_HAND = "To revoke access on Trakt as well, open trakt.tv/settings/apps."
MAKE_A_KEY = (
    'make a key with `python -c "import secrets; print(secrets.token_urlsafe(32))"`, set APERTURE_SECRET_KEY to it '
    "in the environment or in .env, and keep it"
)


class TraktAccounts:
    """The accounts that users connected to Trakt."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._settings, self._database, self._clock = settings, database, clock
        self._store = TokenStore(settings, database, clock)

    def why_off(self) -> str | None:
        """Say in a sentence which setting Trakt lacks; None if it has all."""
        return why_off(self._settings)

    def accounts(self) -> list[TraktAccount]:
        """Read the accounts of all users, by their names."""
        with self._database.transaction() as connection:
            rows, installation = stored.read_accounts(connection), stored.installation_id(connection)
        return [replace(row, state=self._store.present_state(row, installation)) for row in rows]

    def account(self, user_id: str) -> TraktAccount | None:
        """Read the account of a user; None if there is none."""
        with self._database.transaction() as connection:
            return self.account_in(connection, user_id)

    def account_in(self, connection: Connection, user_id: str) -> TraktAccount | None:
        """Read the account of a user over a connection, which may be read-only; None if there is none."""
        row = stored.read_account(connection, user_id)
        if row is None:
            return None
        return replace(row, state=self._store.present_state(row, stored.known_installation(connection)))

    def why_left_out(self, user_id: str, name: str) -> str | None:
        """Say in a sentence why a user's ratings are not compared with Trakt; None if they are."""
        off, account = self.why_off(), self.account(user_id)
        if off is not None:
            return off
        command = f"`aperture trakt connect {shlex.quote(name)}`"
        if account is None:
            return f"Not connected to Trakt: run {command}."
        if account.state.name == "reconnect":
            return f"Must connect to Trakt again ({command}): {account.state.reason}."
        if account.state.name == "waiting":
            return f"Trakt is tried once a day, since it refuses something: {account.state.reason}."
        return None

    def connected_users(self) -> list[str]:
        """Return the ids of the users whose ratings can be kept in step now; none while Trakt is off or paused."""
        if self.why_off() is not None or self.pause() is not None:
            return []
        return [account.user_id for account in self.accounts() if account.works]

    def pause(self) -> AppRefused | EdgeBlocked | None:
        """Return why nothing is sent to Trakt for anybody now; None if nothing is in the way."""
        with self._database.transaction() as connection:
            pause = stored.read_pause(connection)
        # Another app was not refused.
        if pause is None or pause["app"] not in (None, self._app):
            return None
        until, now = datetime.fromisoformat(pause["until"]), self._clock.now()
        noted_at = datetime.fromisoformat(pause["noted_at"]) if "noted_at" in pause else now
        if until <= now or is_future(noted_at, now):
            return None
        return EdgeBlocked(pause["reason"], until) if pause["app"] is None else AppRefused(pause["reason"])

    @contextmanager
    def open(self, user_id: str) -> Iterator[Trakt]:
        """Connect to Trakt for a user; the client keeps its token valid, and failures are recorded with the account.

        Raises:
            ServiceNotConfigured: Trakt is off.
            NotConnected: the user has not connected, or connects again or disconnects while the client is used.
            ReconnectNeeded: the user must connect again first.
            ActionNeeded: the user must act on Trakt's site first.
            AppRefused, EdgeBlocked: Trakt refused the app, or blocked this network, a while ago.
            ServiceError: see :class:`Trakt`.
        """
        self._require_usable()
        access = UserAccess(self._store, user_id, self.sign_in, self._note_pause)
        with closing(self._client(access)) as client:
            yield client
            if client.requests and not access.has_trouble:
                with self._database.transaction() as connection:
                    stored.record_event(connection, user_id, SERVE, now=self._clock.now())
                    stored.lift_pause(connection, self._app)

    def check_app(self) -> None:
        """Verify that Trakt accepts the app, even if it was refused a while ago.

        Raises:
            ServiceNotConfigured: Trakt is off.
            AppRefused: it does not.
            ServiceUnavailable: nothing is known, because Trakt does not answer or this network is blocked.
        """
        self._require_usable(ask_again=True)
        with self._noting_pauses(), closing(self._client(None)) as client:
            client.check_app()
        self._clear_pause()

    @contextmanager
    def sign_in(self) -> Iterator[TraktSignIn]:
        """Connect to Trakt's sign-in. Raises ServiceNotConfigured if Trakt is off, EdgeBlocked during a block."""
        self._require_usable(ask_again=True)
        settings = self._settings
        client_id, secret = settings.trakt_client_id or "", settings.trakt_client_secret
        client = TraktSignIn(
            settings.trakt_sign_in_url, client_id, secret.get_secret_value() if secret else "", **self._options()
        )
        with self._noting_pauses(), closing(client):
            yield client

    def connect(
        self,
        user_id: str,
        tokens: TokenPair,
        *,
        patience_seconds: float = SYNC_PATIENCE_SECONDS,
    ) -> str:
        """Ask Trakt whose account these tokens are of, and store them for a user who let this installation in.

        The synced state of an earlier connection is kept if that was to the same account on Trakt. A sync of the user
        that is under way is waited for. If this fails, an earlier connection stays as it was.

        Returns:
            The account's name on Trakt.

        Raises:
            AccountShared: another user is connected to that account; the tokens were revoked.
            ServiceError: Trakt did not say whose the tokens are.
            ServiceBusy: a sync does not end.
        """
        try:
            with self._store.exclusive(user_id, patience_seconds):
                with self._noting_pauses(), closing(self._client(_NewToken(tokens))) as client:
                    owner = client.account()
                self._write_account(user_id, tokens, owner)
        except AccountShared:
            with suppress(ServiceError), self.sign_in() as client:
                client.revoke(tokens.access_token)
            raise
        self._clear_pause()
        return owner

    def _write_account(self, user_id: str, tokens: TokenPair, owner: str) -> None:
        now = self._clock.now()
        with self._database.transaction() as connection:
            # It also lets one process at a time look who has which account.
            installation = stored.installation_id(connection)
            before = stored.read_account(connection, user_id)
            is_same = before is not None and _is_same(before.trakt_user, owner)
            others = [
                account.name
                for account in stored.read_accounts(connection)
                if account.user_id != user_id and not account.gone and _is_same(account.trakt_user, owner)
            ]
            if others and not is_same:
                raise AccountShared(owner, others)
            if not is_same:
                # What was in step with another account says nothing about this one. Without an account, there may be
                # rests of one that was deleted.
                stored.forget_synced_state(connection, user_id)
            stored.write_account(
                connection,
                user_id=user_id,
                **self._store.encrypt(tokens),
                installation_id=installation,
                trakt_user=owner,
                **stored.columns_of(next_state(before.state if before is not None else OFF, CONNECT, now)),
                connected_at=now,
                updated_at=now,
            )

    def disconnect(self, user_id: str, *, patience_seconds: float = SYNC_PATIENCE_SECONDS) -> str | None:
        """Revoke a user's tokens, and delete them and what was in step; ratings are kept. A sync is waited for.

        Returns:
            None, or why the tokens could not be revoked and what to do, in a sentence; they are deleted all the same.

        Raises:
            NotConnected: the user has not connected.
            ServiceBusy: a sync does not end.
        """
        with self._store.exclusive(user_id, patience_seconds):
            with self._database.transaction() as connection:
                account = stored.read_account(connection, user_id)
                installation = stored.installation_id(connection)
            if account is None:
                raise NotConnected("This user has not connected Trakt.")
            left = self._revoke(account, installation)
            with self._database.transaction() as connection:
                stored.delete_account(connection, user_id)
        return left

    def _revoke(self, account: TraktAccount, installation: str) -> str | None:
        if account.installation_id != installation:
            return f"The tokens were not revoked, since another installation may use them. {BY_HAND}"
        try:
            tokens = self._store.decrypt(account)
        except WrongKey:
            return f"The tokens were not revoked, since another APERTURE_SECRET_KEY is needed to read them. {BY_HAND}"
        try:
            with self.sign_in() as client:
                client.revoke(tokens.access_token)
        except ServiceError as error:
            return f"The tokens could not be revoked. {error} {BY_HAND}"
        return None

    def _require_usable(self, *, ask_again: bool = False) -> None:
        """Raise what is in the way of a request; with ``ask_again``, an app that was refused is not."""
        reason = self.why_off()
        if reason is not None:
            raise ServiceNotConfigured(reason)
        pause = self.pause()
        if pause is not None and not (ask_again and isinstance(pause, AppRefused)):
            raise pause

    def _note_pause(self, error: AppRefused | EdgeBlocked) -> None:
        is_edge = isinstance(error, EdgeBlocked)
        now = self._clock.now()
        until = error.resumes_at if is_edge else now + APP_PAUSE
        pause = {"reason": str(error), "until": until.isoformat(), "app": None if is_edge else self._app}
        pause["noted_at"] = now.isoformat()
        with self._database.transaction() as connection:
            stored.write_pause(connection, pause)

    @contextmanager
    def _noting_pauses(self) -> Iterator[None]:
        try:
            yield
        except (AppRefused, EdgeBlocked) as error:
            self._note_pause(error)
            raise

    def _clear_pause(self) -> None:
        with self._database.transaction() as connection:
            stored.lift_pause(connection, self._app)

    @property
    def _app(self) -> str:
        """What tells the operator's app from another, without being its id."""
        return sha256((self._settings.trakt_client_id or "").encode()).hexdigest()[:16]

    def _client(self, access: Access | None) -> Trakt:
        settings = self._settings
        return Trakt(settings.trakt_url, settings.trakt_client_id or "", access=access, **self._options())

    def _options(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "now": self._clock.now,
            "attempts": settings.http_attempts,
            "first_wait_seconds": settings.http_retry_wait_seconds,
        }


def _is_same(account: str | None, other: str) -> bool:
    return (account or "").casefold() == other.casefold()


class _NewToken:
    """A token that Trakt has just issued."""

    name = "the user"

    def __init__(self, tokens: TokenPair) -> None:
        self._tokens = tokens

    def token(self) -> str:
        """Return the token."""
        return self._tokens.access_token

    def renew(self, refused: str) -> str:
        """Raise ReconnectNeeded, since it is new."""
        raise ReconnectNeeded(self.name, "Trakt refused a token that it had just issued")

    def report(self, error: ServiceError) -> None:
        """Leave it to the caller."""


def why_off(settings: Settings) -> str | None:
    """Say in a sentence which setting Trakt lacks; None if it has all."""
    if settings.trakt_client_id is None:
        return "TRAKT_CLIENT_ID is not set: Trakt is off. It needs your own app (trakt.tv/oauth/applications)."
    if settings.trakt_client_secret is None:
        return "TRAKT_CLIENT_SECRET is not set: copy it from your app on trakt.tv/oauth/applications."
    if settings.secret_key is None:
        return f"APERTURE_SECRET_KEY is not set, and tokens are only stored encrypted: {MAKE_A_KEY}."
    return None


def why_no_sync(settings: Settings) -> str | None:
    """Say why there is nothing to keep in step by the settings: Trakt is off, and so is the media server's part."""
    return None if settings.ratings_to_server else why_off(settings)


def why_nobody(settings: Settings) -> str | None:
    """Say that nobody has a working connection, unless the media server gets ratings, too."""
    if settings.ratings_to_server:
        return None
    connected = any(account.works for account in _accounts(settings).accounts())
    return None if connected else "Nobody is connected to Trakt: run `aperture trakt connect USER`."


def _accounts(settings: Settings) -> TraktAccounts:
    return TraktAccounts(settings, Database(settings), Clock())
