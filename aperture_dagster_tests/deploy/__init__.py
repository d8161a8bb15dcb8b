"""The container image, the services of Compose and the units of systemd, as far as they can be tested without Docker."""
