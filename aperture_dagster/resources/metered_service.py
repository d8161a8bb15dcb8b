"""An outside service that only one process uses at a time, so that its rate limit and its quota are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aperture_dagster.resources.errors import ServiceBusy, ServiceNotConfigured
from aperture_dagster.resources.rate_limit import Pacer

if TYPE_CHECKING:
    from pydantic import SecretStr

    from aperture_dagster.resources.client import ServiceClient
    from aperture_dagster.resources.database import Database
    from aperture_dagster.resources.quota import QuotaLedger

Client = TypeVar("Client", bound="ServiceClient")


@dataclass(frozen=True, kw_only=True)
class MeteredService(Generic[Client]):
    """A service with a key, a rate limit and perhaps a daily quota.

    Args:
        name: of its lease and its quota in the database.
        label: its name in messages.
        key: its key, if it is set.
        key_setting: the setting of the key.
        database: where its lease is kept.
        connect: make a client from the key and the transport's options.
        concurrency: requests that may be under way at once.
        rate: how many requests it allows within how many seconds.
        quota: its requests of the day, if they are limited.
        options: further options of the transport, such as the number of attempts.
    """

    name: str
    label: str
    key: SecretStr | None
    key_setting: str
    database: Database
    connect: Callable[..., Client]
    concurrency: int = 1
    rate: tuple[int, float] | None = None
    quota: QuotaLedger | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def configured(self) -> bool:
        """Whether there is a key."""
        return self.key is not None and bool(self.key.get_secret_value())

    @contextmanager
    def open(
        self, *, waiting: Callable[[float], None] = lambda seconds: None, patience_seconds: float | None = None
    ) -> Iterator[Client]:
        """Connect to the service, alone among all processes.

        Args:
            waiting: called about once a second while another process uses it, with the seconds so far.
            patience_seconds: how long to wait for the other process; None waits as long as it takes.

        Raises:
            ServiceNotConfigured: there is no key.
            ServiceBusy: another process still uses it after that time.
        """
        self._require_key()
        with ExitStack() as stack:
            try:
                stack.enter_context(self.database.lease(self.name, waiting=waiting, patience_seconds=patience_seconds))
            except TimeoutError:
                raise ServiceBusy(f"{self.label} is in use by another run now") from None
            # Created only now: the pacer delays the first request, because the previous user may have just sent one.
            pacer = Pacer(*self.rate) if self.rate is not None else None
            yield stack.enter_context(closing(self._connect(pacer=pacer, quota=self.quota)))

    @contextmanager
    def open_without_database(self) -> Iterator[Client]:
        """Connect to the service without lease, rate limit and quota, to check it while the database is down.

        Raises:
            ServiceNotConfigured: there is no key.
        """
        with closing(self._connect()) as client:
            yield client

    def _connect(self, **limits: Any) -> Client:
        return self.connect(self._require_key(), connections=self.concurrency, **self.options, **limits)

    def _require_key(self) -> str:
        if self.key is None or not self.key.get_secret_value():
            raise ServiceNotConfigured(f"{self.key_setting} is not set")
        return self.key.get_secret_value()
