#!/usr/bin/env bash
# usage: deploy/container/root.sh TREE ROOT
# Makes the image's root file system in ROOT: the libraries and the Python of this Debian release,
# and the agent of TREE (deploy/tree.sh). No shell, no package manager, no configuration.
set -euo pipefail
tree=$(realpath "$1") root=$(realpath -m "$2")

# Unpacked, not configured: nothing of them has to run first. base-files: os-release and the texts
# of common licenses.
packages=base-files,python3.11-minimal,libpython3.11-stdlib,libvirt0
. /etc/os-release

# Scanners of vulnerabilities read here which packages are in an image without dpkg's database.
record='
mkdir -p "$1/var/lib/dpkg/status.d"
for archive in "$1"/var/cache/apt/archives/*.deb; do
    dpkg-deb --field "$archive" >"$1/var/lib/dpkg/status.d/$(dpkg-deb --field "$archive" Package)"
done'
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# mmdebstrap can leave files out while it unpacks, but then takes four times as long.
mmdebstrap --variant=extract --include="$packages" --extract-hook="$record" \
    "$VERSION_CODENAME" "$root" >"$log" 2>&1 || {
    cat "$log" >&2
    exit 1
}

# Not for running: manuals, translations, encodings other than UTF-8, tools of packages, and what
# mmdebstrap takes over from the machine.
rm -rf "$root"/usr/share/{man,info,locale,lintian,bug,doc-base,base-files,libvirt,dict,gdb,dpkg} \
    "$root"/usr/lib/*/gconv "$root"/var/lib/{apt,dpkg/[!s]*,dpkg/status} "$root"/var/{cache,log,backups} \
    "$root"/etc/{apt,cron.daily,logrotate.d,alternatives,dpkg,skel,update-motd.d,profile.d,rmt} \
    "$root"/dev/* "$root"/etc/{fstab,hostname,resolv.conf,issue,issue.net}
find "$root"/{bin,sbin,usr/bin,usr/sbin} ! -type d ! -name python3.11 -delete
find "$root/usr/share/doc" -mindepth 2 ! -name copyright ! -type d -delete
find "$root/usr/share/doc" -depth -type d -empty -delete

cp -a "$tree/opt" "$root/"
cat >"$root/etc/passwd" <<'FILE'
root:x:0:0:root:/root:/nonexistent
dataplane-agent:x:65532:65532:dataplane-agent:/nonexistent:/nonexistent
nobody:x:65534:65534:nobody:/nonexistent:/nonexistent
FILE
cat >"$root/etc/group" <<'FILE'
root:x:0:
dataplane-agent:x:65532:
nogroup:x:65534:
FILE
echo "hosts: files dns" >"$root/etc/nsswitch.conf"
mkdir -p "$root"/{proc,sys,dev,run,tmp,etc/dataplane-agent}
ln -sfn /run "$root/var/run"

# As in deploy/tree.sh: the root is read-only, and half of what starts is Python's own.
/usr/bin/python3.11 -m compileall -q -j 2 --invalidation-mode unchecked-hash -s "$root" -p / \
    "$root/usr/lib/python3.11"
find "$root" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH:-$(date +%s)}" {} +
