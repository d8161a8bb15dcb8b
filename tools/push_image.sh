#!/usr/bin/env bash
# Publishes the image of a release, once Docker is logged in to its registry:
#   push_image.sh NAME FOLDER
# NAME is the image's name in the registry, such as ghcr.io/owner/name. FOLDER holds what `make release` made: one file
# *-image-ARCHITECTURE.tar.gz for each architecture, and image-tags, whose first line is the version. Prints the digests
# as lines ARCHITECTURE=sha256:…, and that of the index over all of them as index=sha256:…. Repeating it is harmless.
set -euo pipefail
name=${1,,} folder=$2
mapfile -t tags < "$folder/image-tags"
version=${tags[0]}
# Docker itself speaks HTTP to a registry on this machine only.
insecure=()
[[ $name != localhost:* && $name != 127.0.0.1:* ]] || insecure=(--insecure)

images=()
shopt -s nullglob
for file in "$folder"/*-image-*.tar.gz; do
  architecture=${file##*-image-} architecture=${architecture%.tar.gz}
  # The images of all architectures have one name, and loading a second one says more than its name.
  loaded=$(docker load --quiet --input "$file" | grep '^Loaded image: ')
  image=$name:$version-$architecture
  docker tag "${loaded#Loaded image: }" "$image"
  pushed=$(docker push "$image")
  digest=$(grep -oE 'digest: sha256:[0-9a-f]{64}' <<< "$pushed")
  echo "$architecture=${digest#digest: }"
  images+=("$name@${digest#digest: }")
done
[[ ${#images[@]} -gt 0 ]] || { echo "There is no *-image-*.tar.gz in $folder." >&2; exit 1; }

# The version comes first and `latest` last: a tag that moves never names what is not all there.
for tag in "${tags[@]}"; do
  docker manifest rm "$name:$tag" > /dev/null 2>&1 || true
  docker manifest create "${insecure[@]}" "$name:$tag" "${images[@]}" > /dev/null
  index=$(docker manifest push "${insecure[@]}" --purge "$name:$tag" | grep -oE 'sha256:[0-9a-f]{64}' | tail -n 1)
done
echo "index=$index"
