#!/usr/bin/env bash
# usage: deploy/container/build.sh TREE OUT
# Builds the image from TREE (deploy/tree.sh) without a registry, as
# OUT/dataplane-agent-VERSION-ARCHITECTURE.oci.tar, and prints that path. "podman load -i" takes it.
set -euo pipefail
tree=$(realpath "$1") out=$(realpath -m "$2")
cd "$(dirname "$0")"

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' ../../agent/__init__.py)
archive=$out/dataplane-agent-$version-$(dpkg --print-architecture).oci.tar
work=$(mktemp -d)
# storage of its own: the machine's is left as it is
engine=(--root "$work/storage" --runroot "$work/run" --storage-driver vfs)
trap 'rm -rf "$work"' EXIT

./root.sh "$tree" "$work/root"
mkdir -p "$work/empty" "$out"
image=$(
    buildah "${engine[@]}" bud --quiet --isolation chroot --format oci --squash \
        --timestamp "${SOURCE_DATE_EPOCH:-$(date +%s)}" \
        --label "org.opencontainers.image.version=$version" \
        --build-context "root=$work/root" --file Containerfile "$work/empty"
)
rm -f "$archive"
buildah "${engine[@]}" push --quiet "$image" "oci-archive:$archive:localhost/dataplane-agent:$version"
echo "$archive"
