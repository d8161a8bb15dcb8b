"""Where a member's letters may go: to an e-mail address, or to a service that the operator uses for alerts, too.

A member's address makes this machine send requests. So it can only be one of a service whose messages go to one public
host, whatever is in the address, and never one that names a host, such as those of the home network.
"""

from __future__ import annotations

import re

from aperture_dagster.alerts.rules import is_understood
from aperture_dagster.catalogue.choices import is_plain_email
from aperture_dagster.postgres.connection import Cipher, WrongKey
from aperture_dagster.settings import Settings
from aperture_dagster.settings.home import shown_address

MAIL = ("mailto", "mailtos")
PUBLIC = ("discord", "pbul", "pover", "prowl", "slack", "tgram", "wxteams")
"""Schemes of apprise that lead to Discord, Pushbullet, Pushover, Prowl, Slack, Telegram and Webex, and nowhere else."""
# What follows a question mark changes how a message is sent.
_ADDRESS = re.compile(r"(?P<scheme>[a-z]+)://[A-Za-z0-9@:/_.,#%~+-]{1,400}")
_SEALED = "sealed:"


def scheme_of(address: str) -> str:
    """Return the scheme of an address, in lower case."""
    return address.partition("://")[0].lower()


def mail_sender(settings: Settings) -> str | None:
    """Return the operator's address for mail, whose account sends; None if there is none."""
    return next((url for url in settings.alert_addresses if scheme_of(url) in MAIL), None)


def services(settings: Settings) -> list[str]:
    """Return the schemes that members may use; none without a key to encrypt what they enter with."""
    used = {scheme_of(url) for url in settings.alert_addresses}
    return [one for one in PUBLIC if one in used] if settings.secret_key is not None else []


def is_deliverable(address: str, settings: Settings) -> bool:
    """Tell whether letters can be sent to an address in clear."""
    if is_plain_email(address):
        return mail_sender(settings) is not None
    found = _ADDRESS.fullmatch(address)
    return found is not None and found["scheme"] in services(settings) and is_understood(address)


def chosen_address(given: str, stored: str | None, known: str, settings: Settings) -> tuple[bool, str | None]:
    """Return whether letters can be sent to what a member entered, and the address to store.

    None stands for the ``known`` one, which is that of the server or the operator, and may change. What is sent back as
    it was shown stays as it is ``stored``.
    """
    own = unseal(stored, settings) if stored is not None and given == shown(stored, settings) else given
    can_be_sent = is_deliverable(own or known, settings)
    return can_be_sent, _seal(own, settings) if can_be_sent and own not in ("", known) else None


def _seal(address: str, settings: Settings) -> str:
    """Return an address as it is stored: one of a service holds a secret, and is encrypted."""
    if is_plain_email(address) or settings.secret_key is None:
        return address
    return _SEALED + Cipher(settings.secret_key.get_secret_value()).encrypt(address)


def unseal(stored: str, settings: Settings) -> str:
    """Return a stored address in clear; empty if it was encrypted with another key."""
    if not stored.startswith(_SEALED):
        return stored
    try:
        key = settings.secret_key
        return Cipher(key.get_secret_value()).decrypt(stored.removeprefix(_SEALED)) if key is not None else ""
    except WrongKey:
        return ""


def shown(stored: str, settings: Settings) -> str:
    """Return a stored address as it is shown to its owner: of a service, without its secrets."""
    address = unseal(stored, settings)
    return address if is_plain_email(address) or not address else shown_address(address)
