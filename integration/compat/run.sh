#!/bin/sh
# run.sh FAULTS runs the matrix on a node: under each containerd of COMPAT_VERSIONS
# the mix and dead shims with a client of containerd, COMPAT_RUNS of each case, and
# those tests of the fault suite whose names match FAULTS, none if that is empty, by
# CRI, COMPAT_FAULT_RUNS of each.
tests=/opt/oomwitness/tests
export FAULT_RUNS="${COMPAT_FAULT_RUNS:-$COMPAT_RUNS}"
failed=
for version in $COMPAT_VERSIONS; do
	export CONTAINERD="$version"
	echo "== containerd $version"
	program=/opt/oomwitness/containerd/$version/containerd
	if [ -e "$program" ] && ! "$program" --version >/dev/null 2>&1; then
		echo "not run: Debian's containerd needs a C library, which this node has not"
		continue
	fi
	"$tests/compat.test" -test.v -test.timeout=0 || failed="$failed $version"
	[ -n "$1" ] || continue
	"$tests/faults.test" -test.v -test.timeout=0 -test.run "$1" || failed="$failed $version-by-CRI"
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
