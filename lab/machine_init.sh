#!/bin/busybox sh
# The first process of a lab's virtual machine: mounts the files of the machine that started it,
# with a file system in memory on top of them that takes what is written, and runs the command.
/bin/busybox mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
/bin/busybox --install -s /bin
export PATH=/bin

for module in /modules/*; do
    insmod "$module"
done

ninep=trans=virtio,version=9p2000.L,msize=512000
# nobody else's changes have to be seen while it runs: caching makes Python start twice as fast
mount -t 9p -o "ro,$ninep,cache=loose" root /lower
mount -t tmpfs upper /upper
mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work root /root

cd /root
mount -t proc proc proc
mount -t sysfs sys sys
mount -t tmpfs run run
mount -t devtmpfs dev dev
mkdir -p dev/pts dev/shm run/exchange run/lock
mount -t devpts devpts dev/pts
mount -t tmpfs shm dev/shm
for link in fd: stdin:/0 stdout:/1 stderr:/2; do
    ln -snf "/proc/self/fd${link#*:}" "dev/${link%:*}"
done
# not cached: the other side reads while this one writes
mount -t 9p -o "rw,$ninep" exchange run/exchange
# where programs are, nothing is written: without the layer they start twice as fast again
while read -r directory; do
    mount -o bind "/lower$directory" "/root$directory"
done <run/exchange/read-only
ip link set lo up
exec switch_root /root /bin/sh /run/exchange/start
