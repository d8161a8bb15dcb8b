#!/bin/sh
# Waits until its standard input is closed, which any end of the tests does, even a kill -9; then removes all containers,
# networks and volumes whose names begin with $1.
cat > /dev/null
tries=0 clean=0
# Twice in a row nothing: a client of Docker that was just at work may have made another one.
while [ $clean -lt 2 ] && [ $((tries += 1)) -le 30 ]; do
  containers=$(docker ps --all --format '{{.Names}}' | grep "^$1")
  networks=$(docker network ls --format '{{.Name}}' | grep "^$1")
  volumes=$(docker volume ls --quiet | grep "^$1")
  clean=$((clean + 1))
  [ -z "$containers$networks$volumes" ] || clean=0
  # Their names have no spaces.
  [ -z "$containers" ] || docker rm --force --volumes $containers
  [ -z "$networks" ] || docker network rm $networks
  [ -z "$volumes" ] || docker volume rm $volumes
  [ $clean -eq 2 ] || sleep 0.5
done > /dev/null 2>&1
