"""A stand-in for Trakt. `api` and `auth` play its two hosts; the other modules hold what they share."""
