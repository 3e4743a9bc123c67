#!/bin/sh
# machine.sh TOOLS OUT HOST=GUEST... -- COMMAND... runs a command on this machine
# as the guest's agent does in a guest: with containerd and runc of the folder
# TOOLS, and each file or folder HOST as /opt/oomwitness/GUEST. What the command
# writes to /var/log/oomwitness is left in OUT. It is for what a guest has not:
# cgroup v1. All that it changes is in mounts of its own, and in cgroups that it
# removes. Needs root; one runs at a time, since the names of cgroups are the same.
set -eu
[ -n "${OWN_MOUNTS:-}" ] || exec env OWN_MOUNTS=1 flock "$0" unshare --mount --propagation private "$0" "$@"
tools=$(realpath "$1") out=$(realpath "$2")
shift 2
node=$(realpath "$(dirname "$0")/../guest/common")

mount -t tmpfs room /mnt
for dir in etc opt usr/local var/lib var/log; do
	mkdir -p /mnt/$dir/upper /mnt/$dir/work
	mount -t overlay -o lowerdir=/$dir,upperdir=/mnt/$dir/upper,workdir=/mnt/$dir/work overlay /$dir
done
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock /var/lib/containerd /var/log/oomwitness /opt/oomwitness /opt/workload-rootfs/bin
mount -t tmpfs state /var/lib/containerd # overlayfs does not stack twice
mount -t bpf bpf /sys/fs/bpf
mount --make-rshared /
cp -r "$node"/* /
chmod +x /usr/local/bin/node-containerd /usr/local/lib/node/containerd
cp "$tools"/* /usr/local/bin/
cp "$(command -v busybox)" /opt/workload-rootfs/bin/
while [ "$1" != -- ]; do
	mkdir -p "/opt/oomwitness/${1#*=}"
	mount --bind "${1%%=*}" "/opt/oomwitness/${1#*=}"
	shift
done
shift
export PATH=/opt/oomwitness/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

(while :; do
	/usr/local/lib/node/containerd || sleep 0.1
done) &
respawn=$!

# A shim has these mounts, and its containers are in cgroups of their own.
clean() {
	kill $respawn
	for proc in /proc/[0-9]*; do
		if [ "$(readlink "$proc/ns/mnt")" = "$(readlink /proc/self/ns/mnt)" ]; then
			case $(readlink "$proc/exe") in *containerd*) kill -9 "${proc#/proc/}" ;; esac
		fi
	done
	for procs in $(find /sys/fs/cgroup -path '*/oomw/*' -name cgroup.procs); do
		xargs -r kill -9 <"$procs" || true
	done
	find /sys/fs/cgroup -depth -type d \( -name oomw -o -path '*/oomw/*' -o -name 'oomw-shim-*' \) -exec rmdir {} +
	cp -r /var/log/oomwitness/. /var/log/containerd.log "$out"
} 2>/dev/null
trap clean EXIT
node-containerd start
"$@"
