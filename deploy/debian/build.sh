#!/usr/bin/env bash
# usage: deploy/debian/build.sh TREE OUT
# Packs TREE (deploy/tree.sh) and deploy/systemd into OUT/dataplane-agent_VERSION_ARCHITECTURE.deb and
# prints that path. The version carries the Debian release, so that the package of the next release
# of Debian, with its Python, is an upgrade.
set -euo pipefail
tree=$(realpath "$1") out=$(realpath -m "$2")
cd "$(dirname "$0")"

. /etc/os-release
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' ../../agent/__init__.py)+deb$VERSION_ID
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
source=$work/dataplane-agent
mkdir -p "$source/debian/source" "$out"
cp control rules copyright dataplane-agent.* "$source/debian"
cp ../systemd/dataplane-agent.{service,sysusers,default} "$source/debian"
cp ../systemd/{config.yml,least.conf,full.conf,openvswitch-group.conf} "$source"
cp dataplane-agent.8 ../../{README.md,CHANGELOG.md} "$source"
cp -a "$tree/opt" "$source"
echo "3.0 (native)" >"$source/debian/source/format"
maintainer=$(sed -n 's/^Maintainer: //p' control)
cat >"$source/debian/changelog" <<CHANGELOG
dataplane-agent ($version) $VERSION_CODENAME; urgency=medium

  * CHANGELOG.md says what is new for those who use it.

 -- $maintainer  $(date -R -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}")
CHANGELOG

# Building Debian packages is done as nobody in particular; files belong to root all the same.
(cd "$source" && dpkg-buildpackage --build=binary --no-sign --no-check-builddeps) >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    exit 1
}
cp "$work"/*.deb "$out"
echo "$out/dataplane-agent_${version}_$(dpkg --print-architecture).deb"
