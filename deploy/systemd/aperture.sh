#!/bin/sh
# The command `aperture` for administrators, for /usr/local/bin/aperture: as the account of the service, on its files.
exec runuser -u aperture -- env -C / APERTURE_HOME=/var/lib/aperture /opt/aperture/bin/aperture "$@"
