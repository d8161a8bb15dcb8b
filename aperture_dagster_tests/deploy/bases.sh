#!/bin/sh
# Makes what the tests of containers begin with where no image can be pulled, from Debian's packages:
#   bases.sh python NAME            Debian 13 with its Python 3.13 and pip, under the name of the official image
#   bases.sh postgres NAME PYTHON   PostgreSQL on that, with the variables, folders and scripts of the official image
#   bases.sh compose FILE PYTHON    the program of Docker Compose
set -eu
what=$1 name=$2

case $what in
python)
  root=$(mktemp -d /var/tmp/aperture-base-XXXXXX)
  trap 'rm -rf --one-file-system "$root"' EXIT
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates,tzdata trixie "$root" >&2
  # How this machine reaches other hosts, and whom it trusts.
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  certificates=/etc/ssl/certs/ca-certificates.crt
  [ ! -e $certificates ] || cp $certificates "$root$certificates"
  rm -f "$root"/usr/lib/python3.13/EXTERNALLY-MANAGED
  ln -sf /usr/bin/python3.13 "$root/usr/local/bin/python"
  # Debian's pip cannot be uninstalled by itself.
  PIP_CERT=$certificates chroot "$root" python3 -m pip install --quiet --no-cache-dir --ignore-installed pip >&2
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc "$root"/usr/share/man
  mkdir -p "$root"/var/lib/apt/lists/partial "$root"/var/cache/apt/archives/partial
  umount "$root/proc" "$root/sys" 2>/dev/null || true
  tar -C "$root" --one-file-system -c . | docker import -c "ENV PIP_CERT=$certificates" -c 'CMD ["python3"]' - "$name"
  ;;
postgres)
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  cat > "$folder/start" <<'START'
#!/bin/sh
set -eu
bin=$(echo /usr/lib/postgresql/*/bin) data=/var/lib/postgresql/data
export POSTGRES_USER="${POSTGRES_USER:-postgres}"
as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
chown postgres: /var/lib/postgresql
if [ ! -s $data/PG_VERSION ]; then
  printf %s "$POSTGRES_PASSWORD" > /tmp/password && chown postgres: /tmp/password
  as_postgres $bin/initdb -E UTF8 --locale C.UTF-8 -U "$POSTGRES_USER" --auth-local trust --auth-host scram-sha-256 \
    --pwfile /tmp/password -D $data
  echo "host all all all scram-sha-256" >> $data/pg_hba.conf
  as_postgres $bin/pg_ctl -D $data -o "-c listen_addresses=''" -w start
  for script in /docker-entrypoint-initdb.d/*.sh; do sh "$script"; done
  as_postgres $bin/pg_ctl -D $data -m fast -w stop
fi
exec setpriv --reuid postgres --regid postgres --clear-groups $bin/postgres -D $data -c 'listen_addresses=*'
START
  chmod 755 "$folder/start"
  cat > "$folder/Dockerfile" <<DOCKERFILE
FROM $3
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-17 \\
 && rm -rf /var/lib/apt/lists/* && ln -s /usr/lib/postgresql/*/bin/pg_isready /usr/local/bin/
COPY start /usr/local/bin/start
STOPSIGNAL SIGINT
ENTRYPOINT ["start"]
DOCKERFILE
  docker build --quiet --tag "$name" "$folder"
  ;;
compose)
  docker run --rm "$3" sh -ceu 'cd /tmp && apt-get update >&2 && apt-get download docker-compose >&2 &&
    dpkg --fsys-tarfile docker-compose_*.deb | tar -xO ./usr/libexec/docker/cli-plugins/docker-compose' > "$name.new"
  chmod 755 "$name.new"
  mv "$name.new" "$name"
  ;;
esac
