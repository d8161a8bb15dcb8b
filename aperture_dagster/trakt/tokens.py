"""Users' tokens of Trakt: encrypted in the database, renewed by one process at a time, stored before they are used."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from aperture_dagster.http.errors import ServiceBusy, ServiceError, ServicePaused, ServiceUnavailable
from aperture_dagster.model import Clock
from aperture_dagster.postgres.connection import Cipher, WrongKey
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.settings import Settings
from aperture_dagster.trakt.account_state import LOOK, AccountState, Event, next_state
from aperture_dagster.trakt.errors import (
    ActionNeeded,
    AppRefused,
    EdgeBlocked,
    InvalidGrant,
    NotConnected,
    ReconnectNeeded,
    UserProblem,
)
from aperture_dagster.trakt.records import TokenPair
from aperture_dagster.trakt.sign_in import TraktSignIn
from aperture_dagster.trakt.stored import (
    TraktAccount,
    installation_id,
    read_account,
    read_connected_at,
    record_event,
    write_tokens,
)

log = logging.getLogger(__name__)
LEASE_PATIENCE_SECONDS = 300.0
# A first sync pushes for minutes, and a user who has just confirmed a code should not have to do so again.
SYNC_PATIENCE_SECONDS = 1800.0
WRITE_WAITS_SECONDS = (0.5, 2.0, 5.0, 10.0)
COPIED = Event("void", "another installation connected it, of which this one is a copy or a restored backup")
OTHER_KEY = Event("void", "its tokens were stored with another APERTURE_SECRET_KEY (restoring the old key also works)")


class TokenStore:
    """The tokens of all accounts."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._settings, self.database, self.clock = settings, database, clock

    def read(self, user_id: str) -> tuple[TraktAccount, TokenPair]:
        """Read the account of a user, and its tokens in clear.

        Raises:
            NotConnected: the user has not.
            ReconnectNeeded: the user must connect again first.
            ActionNeeded: the account waits.
        """
        with self.database.transaction() as connection:
            account, installation = read_account(connection, user_id), installation_id(connection)
        if account is None:
            raise NotConnected("This user has not connected Trakt: run `aperture trakt connect USER`.")
        state = self.present_state(account, installation)
        if state.name == "reconnect":
            raise ReconnectNeeded(account.name, state.reason or "its tokens are void")
        if state.name == "waiting":
            raise ActionNeeded(account.name, state.reason or "Trakt refuses the account")
        return account, self.decrypt(account)

    def present_state(self, account: TraktAccount, installation: str | None) -> AccountState:
        """Return the state of an account now: its wait may be over, and its tokens may not be ours, or not readable.

        Nothing of that is recorded, since it may be otherwise with the former database or key.
        """
        now = self.clock.now()
        state = next_state(account.state, LOOK, now)
        if account.installation_id != installation:
            return next_state(state, COPIED, now)
        try:
            self.decrypt(account)
        except WrongKey:
            return next_state(state, OTHER_KEY, now)
        return state

    def write(self, user_id: str, tokens: TokenPair) -> None:
        """Store new tokens of a user; they are committed at the end.

        A failure of the database is waited for: Trakt has voided the earlier tokens, and these exist nowhere else.
        """
        encrypted = self.encrypt(tokens)
        for wait in (*WRITE_WAITS_SECONDS, None):
            try:
                with self.database.transaction() as connection:
                    write_tokens(connection, user_id, encrypted)
                return
            except (DatabaseError, SQLAlchemyError) as error:
                if wait is None:
                    raise
                log.warning("new tokens of Trakt could not be stored (%s); trying again", type(error).__name__)
                time.sleep(wait)

    def lease(self, user_id: str) -> AbstractContextManager[None]:
        """Use the tokens of a user alone among all processes, so that none is spent twice.

        Raises:
            ServiceBusy: another process uses them for minutes.
        """
        message = (
            "Another process has been renewing the tokens of this user for minutes. Try again later; if it says so "
            "for an hour, look for a run or command that hangs, and end it."
        )
        return leased(self.database, f"trakt:{user_id}", LEASE_PATIENCE_SECONDS, message)

    @contextmanager
    def exclusive(self, user_id: str, patience_seconds: float) -> Iterator[None]:
        """Change whose account a user has, while nobody syncs their ratings or uses the tokens.

        A sync takes both locks in the same order.

        Raises:
            ServiceBusy: a sync, or another use of the tokens, does not end.
        """
        message = (
            "A run has been syncing the ratings of this user for too long; nothing was changed. Wait until it has "
            "ended, or cancel it, and repeat this."
        )
        with leased(self.database, sync_lease(user_id), patience_seconds, message), self.lease(user_id):
            yield

    def encrypt(self, tokens: TokenPair) -> dict[str, Any]:
        """Return tokens as columns of the table."""
        return {
            "access_token": self._cipher.encrypt(tokens.access_token),
            "refresh_token": self._cipher.encrypt(tokens.refresh_token),
            "issued_at": tokens.issued_at,
            "expires_at": tokens.expires_at,
        }

    def decrypt(self, account: TraktAccount) -> TokenPair:
        """Return the tokens of an account. Raises WrongKey."""
        access_token, refresh_token = map(self._cipher.decrypt, (account.access_token, account.refresh_token))
        return TokenPair(access_token, refresh_token, account.issued_at, account.expires_at)

    @cached_property
    def _cipher(self) -> Cipher:
        key = self._settings.secret_key
        if key is None:
            raise WrongKey
        return Cipher(key.get_secret_value())


def sync_lease(user_id: str) -> str:
    """Return the name of the lease under which a user's ratings are synced."""
    return f"trakt ratings of {user_id}"


@contextmanager
def leased(database: Database, name: str, patience: float, message: str) -> Iterator[None]:
    """Hold a lease in a block; raises ServiceBusy with a message if another process does not give it up."""
    with ExitStack() as stack:
        try:
            stack.enter_context(database.lease(name, waiting=lambda seconds: None, patience_seconds=patience))
        except TimeoutError:
            raise ServiceBusy(message) from None
        yield


class UserAccess:
    """A user's access to Trakt: the token of the moment. Raises as :meth:`TokenStore.read`.

    Args:
        sign_in: connects to Trakt's sign-in.
        note_pause: called with failures that concern everybody.
    """

    def __init__(
        self,
        store: TokenStore,
        user_id: str,
        sign_in: Callable[[], AbstractContextManager[TraktSignIn]],
        note_pause: Callable[[AppRefused | EdgeBlocked], None],
    ) -> None:
        self._store, self._user_id = store, user_id
        self._sign_in, self._note_pause = sign_in, note_pause
        account, self._tokens = store.read(user_id)
        self.name = account.name
        self._connected_at = account.connected_at
        self.has_trouble = False
        self._is_postponed = False

    def token(self) -> str:
        """Return an access token with more than a tenth of its life left, if Trakt renews it, or else a valid one.

        Raises NotConnected if the user has connected again since, maybe to another account, or has disconnected.
        """
        with self._store.database.transaction() as connection:
            self._require_same(read_connected_at(connection, self._user_id))
        now = self._store.clock.now()
        if self._tokens.is_due(now) and not (self._is_postponed and now < self._tokens.expires_at):
            try:
                self._renew(None)
            except ServicePaused:
                raise
            except (ServiceUnavailable, ServiceBusy) as error:
                if now >= self._tokens.expires_at:
                    raise
                self._is_postponed = True
                log.info("%s; the token of %s is still valid and will be renewed later", error, self.name)
        return self._tokens.access_token

    def renew(self, refused: str) -> str:
        """Return another token than the one that Trakt refused."""
        self._renew(refused)
        return self._tokens.access_token

    def report(self, error: ServiceError) -> None:
        """Record what a failure means for the account, or for everybody."""
        self.has_trouble = True
        if isinstance(error, UserProblem):
            event = Event("void" if isinstance(error, ReconnectNeeded) else "refuse", error.reason)
            now, issued_at = self._store.clock.now(), self._tokens.issued_at
            with self._store.database.transaction() as connection:
                record_event(connection, self._user_id, event, now=now, issued_at=issued_at)
        elif isinstance(error, (AppRefused, EdgeBlocked)):
            self._note_pause(error)

    def _renew(self, refused: str | None) -> None:
        """Renew the tokens, unless another process has done so since they were read."""
        try:
            with self._store.lease(self._user_id):
                account, tokens = self._store.read(self._user_id)
                self._require_same(account.connected_at)
                self._tokens = tokens
                if self._tokens.access_token == refused or self._tokens.is_due(self._store.clock.now()):
                    self._tokens = self._exchange(self._tokens)
        except ServiceError:
            self.has_trouble = True
            raise

    def _require_same(self, connected_at: datetime | None) -> None:
        """Raise NotConnected unless the user's account is still the one that was opened."""
        if connected_at != self._connected_at:
            self.has_trouble = True
            raise NotConnected(f"Trakt: {self.name} has connected again or disconnected meanwhile; run this again.")

    def _exchange(self, tokens: TokenPair) -> TokenPair:
        try:
            with self._sign_in() as client:
                renewed = client.refresh(tokens.refresh_token)
        except InvalidGrant:
            # A process that lost its lock with its connection may have been faster.
            _, newer = self._store.read(self._user_id)
            if newer.refresh_token != tokens.refresh_token:
                return newer
            reason = (
                "Trakt no longer knows its tokens (access was revoked there, or Trakt's answer with new ones was lost)"
            )
            problem = ReconnectNeeded(self.name, reason)
            self.report(problem)
            raise problem from None
        # Committed before the first use: a token that was used and then lost could not be renewed.
        self._store.write(self._user_id, renewed)
        return renewed
