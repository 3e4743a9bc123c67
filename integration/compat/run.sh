#!/bin/sh
# run.sh FAULTS runs the matrix on a node: under each containerd of COMPAT_VERSIONS
# the mix and dead shims with a client of containerd, COMPAT_RUNS of each case, and
# those tests of the fault suite whose names match FAULTS, by CRI.
tests=/opt/oomwitness/tests
export FAULT_RUNS="$COMPAT_RUNS"
failed=
for version in $COMPAT_VERSIONS; do
	export CONTAINERD="$version"
	echo "== containerd $version"
	"$tests/compat.test" -test.v -test.timeout=0 || failed="$failed $version"
	case $version in
	1.6) continue ;; # its CRI knows no runtime_path
	esac
	"$tests/faults.test" -test.v -test.timeout=0 -test.run "$1" || failed="$failed $version-by-CRI"
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
