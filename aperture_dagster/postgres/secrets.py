"""Encryption of tokens in the database, with a key that is derived from APERTURE_SECRET_KEY."""

from __future__ import annotations

from base64 import urlsafe_b64encode

# Part of the derivation, so that the same secret can serve other purposes, too.
_PURPOSE = b"aperture-dagster tokens"


class WrongKey(Exception):
    """A text was encrypted with another key, or is damaged."""


class Cipher:
    """Encrypts and authenticates short texts (Fernet, keyed by HKDF-SHA256)."""

    def __init__(self, secret_key: str) -> None:
        from cryptography.fernet import Fernet
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret_key.encode())
        self._fernet = Fernet(urlsafe_b64encode(derived))

    def encrypt(self, text: str) -> str:
        """Encrypt a text; the same text looks different each time."""
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, encrypted: str) -> str:
        """Decrypt a text. Raises WrongKey, which holds no part of it."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(encrypted.encode()).decode()
        except (InvalidToken, UnicodeError):
            raise WrongKey from None
