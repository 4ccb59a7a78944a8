#!/usr/bin/env bash
# usage: deploy/dist.sh OUT
# Writes the sdist, and the wheel that is built from it, into OUT; the same bytes for the same files
# and SOURCE_DATE_EPOCH. BUILD_PYTHON is a Python with what requirements-build.lock names; without
# it the one of `make setup`.
set -euo pipefail
out=$(realpath -m "$1")
cd "$(dirname "$0")/.."
python=$(realpath -s "${BUILD_PYTHON:-.venv/bin/python}")
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date +%s)}

# setuptools leaves build/ beside its source and packs what it finds there the next time, also what
# has long been deleted: so it is given a copy, of these and nothing else.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/source"
cp -r agent pyproject.toml MANIFEST.in README.md CHANGELOG.md LICENSE \
    requirements.lock requirements-libvirt.lock requirements-mqtt.lock "$work/source"
find "$work/source" -name __pycache__ -prune -exec rm -r {} +
chmod -R u=rwX,go=rX "$work/source"

build() {
    "$python" -m build --no-isolation "$@" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        exit 1
    }
}
build --sdist --outdir "$work" "$work/source"

# setuptools dates the wheel by SOURCE_DATE_EPOCH, but not the sdist: that one is packed again.
sdist=$(basename "$work"/*.tar.gz)
tar -xzf "$work/$sdist" -C "$work"
mkdir -p "$out"
tar --sort=name --format=posix --pax-option=delete=atime,delete=ctime \
    --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    -C "$work" -c "${sdist%.tar.gz}" | gzip -9n >"$out/$sdist"
build --wheel --outdir "$out" "$work/${sdist%.tar.gz}"
