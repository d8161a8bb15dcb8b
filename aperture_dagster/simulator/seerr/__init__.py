"""A stand-in for Seerr (and Jellyseerr and Overseerr). `app` plays its API; the other modules hold what it stores."""
