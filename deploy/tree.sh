#!/usr/bin/env bash
# usage: deploy/tree.sh DEST
# Lays the agent with all it needs from PyPI into DEST/opt/dataplane-agent: a virtual environment of
# the hashed locks. The image and the Debian package are both filled from it.
# It belongs to the Debian release, the Python and the machine type where this runs. BUILD_PYTHON is
# a Python with what requirements-build.lock names; without it the one of `make setup`.
set -euo pipefail
dest=$(realpath -m "$1")
cd "$(dirname "$0")/.."

prefix=/opt/dataplane-agent
root=$dest$prefix
python=$(realpath /usr/bin/python3) # with its minor version, which the compiled parts belong to
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

builder=${BUILD_PYTHON:-.venv/bin/python}
pip() { "$builder" -m pip -qq --disable-pip-version-check "$@"; }
BUILD_PYTHON=$builder deploy/dist.sh "$work/dist"
# Every hash is checked here. What has no wheel of its own is built by the setuptools that the lock
# names; libvirt's binding is compiled against the machine's libvirt.
pip wheel --require-hashes --no-deps --no-build-isolation --wheel-dir "$work/wheels" \
    -r requirements.lock -r requirements-mqtt.lock -r requirements-libvirt.lock

rm -rf "$root"
mkdir -p "$(dirname "$root")"
"$python" -m venv --without-pip "$root"
pip --python "$root/bin/python" install --no-compile --no-deps --no-index \
    "$work"/wheels/*.whl "$work"/dist/*.whl

# What runs: Python and one command. Neither may know where it was built.
find "$root/bin" -mindepth 1 ! -name dataplane-agent ! -name python3 -delete
ln -sf "$python" "$root/bin/python3"
sed -i "1s|.*|#!$prefix/bin/python3|" "$root/bin/dataplane-agent"
sed -i '/^command = /d' "$root/pyvenv.cfg"
packages=$(echo "$root"/lib/python3.*/site-packages)
rm -f "$packages"/*.dist-info/direct_url.json # the path of a wheel that is gone

# What only developers need: 14 MB. Licenses stay: they are in *.dist-info.
rm -rf "$root"/include "$packages"/numpy/{f2py,distutils,_pyinstaller,_core/include}
find "$packages" -depth -type d -name tests -exec rm -r {} +
find "$packages" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.[acho]' \) \
    -delete
# Symbols of debuggers. What auditwheel has patched (it has a RUNPATH) does not survive being
# stripped, nor do the libraries that it brought along.
find "$packages" -name '*.so' ! -path '*.libs/*' -print0 | while IFS= read -r -d '' library; do
    readelf -d "$library" | grep -qE 'RPATH|RUNPATH' || strip --strip-unneeded "$library"
done

# Compiled here, because the agent may not write there: without it every start takes 2 s of CPU more.
# Unchecked: no date of a source is written into it.
"$python" -m compileall -q -j 2 --invalidation-mode unchecked-hash -s "$dest" "$root/lib"
chmod -R u=rwX,go=rX "$root"
find "$root" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH:-$(date +%s)}" {} +
