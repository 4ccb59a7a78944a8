#!/usr/bin/env bash
# Brings a Debian 12 machine to where `make test` and `make demo` run: packages, .venv, /dev/net/tun.
# Says nothing and takes no time when nothing is missing. Starts no service and needs no systemd.
set -euo pipefail
cd "$(dirname "$0")/.."

python=/usr/bin/python3
# what has to be there: the package that brings it
needs=(
    "command -v ovs-vswitchd:openvswitch-switch"
    "command -v ovsdb-tool:openvswitch-common"
    "command -v ip:iproute2"
    "command -v prometheus:prometheus"
    "command -v promtool:prometheus"
    "command -v prometheus-alertmanager:prometheus-alertmanager"
    "command -v prometheus-node-exporter:prometheus-node-exporter"
    "command -v nsenter:util-linux"
    "command -v systemd-analyze:systemd"
    "test -e /etc/libvirt/qemu.conf:libvirt-daemon-system"
    "command -v libvirtd:libvirt-daemon"
    "command -v virsh:libvirt-clients"
    "command -v qemu-system-x86_64:qemu-system-x86"
    "command -v prometheus-libvirt-exporter:prometheus-libvirt-exporter"
    "command -v ovn-northd:ovn-central"
    "command -v ovn-controller:ovn-host"
    "command -v mosquitto:mosquitto"
    "command -v mosquitto_sub:mosquitto-clients"
    # the Helm chart's pod: a runtime of containers, and its default filter of system calls
    "command -v runc:runc"
    "test -e /usr/share/containers/seccomp.json:golang-github-containers-common"
    "command -v git:git"
    "test -e /etc/ssl/certs/ca-certificates.crt:ca-certificates"
    "$python -c 'import ensurepip, venv':python3-venv"
    # packages and the image are built, read and installed
    "command -v buildah:buildah"
    "command -v dh:debhelper"
    "command -v lintian:lintian"
    "command -v mmdebstrap:mmdebstrap"
    "command -v pipx:pipx"
    "command -v podman:podman"
    "command -v strip:binutils"
    # libvirt's binding is compiled
    "command -v gcc:gcc"
    "command -v pkg-config:pkg-config"
    "pkg-config --exists libvirt:libvirt-dev"
    "has_python_headers:python3-dev"
)
# the virtual machine of the kernel tests, beside QEMU
machine_needs=(
    "command -v busybox:busybox-static"
    "command -v modprobe:kmod"
    "has_kernel:linux-image-amd64"
)
[ "$(uname -m)" = x86_64 ] && needs+=("${machine_needs[@]}")

# one that can be booted and has the modules; which one runs here does not matter
has_kernel() {
    local kernel modules
    for kernel in /boot/vmlinuz-*; do
        modules=/lib/modules/${kernel#/boot/vmlinuz-}/kernel/net
        [ -e "$modules/openvswitch/openvswitch.ko" ] && [ -e "$modules/9p/9pnet_virtio.ko" ] && return
    done
    return 1
}

has_python_headers() {
    test -e "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h"
}

missing_packages() {
    local need
    for need in "${needs[@]}"; do
        eval "${need%:*}" >/dev/null 2>&1 || echo "${need##*:}"
    done | sort -u
}

# Debian starts a service when its package is installed, unless this file forbids it.
forbid_services() {
    local policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] && return
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

install_packages() {
    local log
    if [ "$(id -u)" != 0 ]; then
        echo "Missing Debian packages, please install them: $*" >&2
        exit 1
    fi
    echo "Installing Debian packages: $*"
    forbid_services
    # a new kernel gets an initramfs, which takes 20 s, only where the others have one
    compgen -G "/boot/initrd.img-*" >/dev/null || export INITRD=No
    log=$(mktemp)
    if ! {
        apt-get update -qq &&
            DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"
    } >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        exit 1
    fi
    rm -f "$log"
}

make_tun() {
    if [ ! -e /dev/net/tun ] && [ "$(id -u)" = 0 ]; then
        mkdir -p /dev/net
        mknod /dev/net/tun c 10 200
        chmod 666 /dev/net/tun
    fi
}

make_venv() {
    local stamp=.venv/setup-stamp wanted
    wanted=$(
        cat requirements.lock requirements-dev.lock requirements-libvirt.lock \
            requirements-mqtt.lock pyproject.toml | sha256sum
    )
    [ -x .venv/bin/dataplane-agent ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "$python is older than Python 3.11" >&2
        exit 1
    fi
    echo "Installing Python packages into .venv"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    pip() { .venv/bin/python -m pip -qq --disable-pip-version-check "$@"; }
    # every hash is checked; the package itself is built by the setuptools that the lock names
    pip install --require-hashes -r requirements.lock -r requirements-dev.lock \
        -r requirements-mqtt.lock
    # compiled against the machine's libvirt, with what the line before has installed
    pip install --require-hashes --no-deps --no-build-isolation -r requirements-libvirt.lock
    pip install --no-deps --no-build-isolation -e .
    echo "$wanted" >"$stamp"
}

mapfile -t packages < <(missing_packages)
if [ "${#packages[@]}" -gt 0 ]; then
    install_packages "${packages[@]}"
fi
make_tun
make_venv
