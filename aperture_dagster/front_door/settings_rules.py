"""What may be changed on the page of settings, and by whom: pure rules.

Whoever can open the page administers the media server. They need not be the operator of this machine, and a cookie may
have been stolen. So nothing can be changed here that would run other code or read other files than now, no key goes to
an address that it was not entered for, and what opens the house asks for the password again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

from aperture_dagster.settings import Settings, secret_names
from aperture_dagster.settings.home import UiSettings
from aperture_dagster.texts import marked

LOCKED: Mapping[str, str] = {
    "home": marked(
        "Only in the environment or in the file: the home decides which settings, secrets and data this program uses."
    ),
    "database_url": marked(
        "Only in the environment or in the file: whoever controls the database decides what this program runs."
    ),
    "trakt_url": marked(
        "Only in the environment or in the file: members' tokens of Trakt are sent to this address."
    ),
}  # fmt: skip
"""Settings that the page shows and does not change, each with the reason."""

KEYS_OF: Mapping[str, tuple[str, ...]] = {
    "media_server_url": ("media_server_api_key", "media_server_headers"),
    "tmdb_url": ("tmdb_api_key",),
    "omdb_url": ("omdb_api_key",),
    "mdblist_url": ("mdblist_api_key",),
    "embedder_url": ("embedder_api_key",),
    "seerr_url": ("seerr_api_key",),
}
"""Addresses, each with the secrets that are sent there."""

OPENING = frozenset(
    {
        *UiSettings.model_fields, "media_server_verify_tls", "media_server_type", "path_map", "user_emails",
        "backup_keep", "forget_after_days",
    }
)  # fmt: skip
"""Settings that need a recent sign-in, beside secrets, addresses and paths: they open the house, lead what belongs to
members elsewhere, or delete what nobody brings back."""

KEY_AGAIN = marked("Enter it again, or remove it: it is not sent to another address than the one it was entered for.")
KEY_OUTSIDE = marked("The key is set outside, and is not sent to another address: change both there.")
LOCAL_ADDRESS = marked("An address here names a program or a file of this machine. Set it in the file instead.")
# Apprise shows messages with programs of this machine, and reads keys from files that parameters name.
_LOCAL_SCHEME = re.compile(r"(?:macosx|windows|dbus|qt|kde|glib|gnome|syslog|blink1(?:-\w+)?|file)://", re.IGNORECASE)
_NAMES_FILE = re.compile(r"[?&][^=&]*(?:file|path|pgpkey|config|attach|template|pem)[^=&]*=", re.IGNORECASE)


def needs_recent_sign_in(name: str) -> bool:
    """Return whether a setting is changed only by somebody who has just entered their password."""
    annotation = Settings.model_fields[name].annotation
    is_path = annotation is Path or Path in get_args(annotation)
    return name in OPENING or name in secret_names() or name.endswith("_url") or is_path


def why_keys_stay(changes: Mapping[str, str | None], keys: Collection[str], outside: Collection[str]) -> dict[str, str]:
    """Return what is wrong with changes of addresses whose keys are not entered with them, by the key's setting.

    Args:
        changes: texts by setting; None removes one.
        keys: the secrets that have a value now.
        outside: those that cannot be changed here.
    """
    return {
        key: KEY_OUTSIDE if key in outside else KEY_AGAIN
        for url, of in KEYS_OF.items()
        if url in changes
        for key in of
        if key in keys and key not in changes
    }


def why_address_is_local(addresses: str) -> str | None:
    """Return what is wrong with addresses for messages that use this machine's programs or files."""
    if any(_LOCAL_SCHEME.match(one) or _NAMES_FILE.search(unquote(one)) for one in addresses.split()):
        return LOCAL_ADDRESS
    return None
