"""The container image, the services of Compose and the units of systemd, tested without Docker."""
