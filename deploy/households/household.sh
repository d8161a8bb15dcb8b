#!/bin/sh
# The command `aperture` for one household, for /usr/local/bin/aperture-household: aperture-household smiths status
set -eu
[ $# -ge 1 ] && [ -d "/etc/aperture/households/$1" ] || { echo "usage: aperture-household NAME COMMAND …" >&2; exit 2; }
name=$1
shift
exec runuser -u aperture -- env -C / APERTURE_HOUSEHOLD="$name" APERTURE_HOME="/var/lib/aperture-households/$name" \
  APERTURE_CONFIG="/etc/aperture/households/$name/aperture.toml" /opt/aperture/bin/aperture "$@"
