"""Hashes under which secrets and names are stored."""

import hashlib


def digest_of(key: str) -> str:
    """Return the hash of a key. It is not slow, as that of a password is: nobody guesses 256 random bits."""
    return hashlib.sha256(key.encode()).hexdigest()
