#!/bin/sh
# check.sh checks gate.pml, whole and with each of its parts taken out, in a
# folder of its own. It fails where the whole model does, and where one without
# a part does not.
set -eu
model=$(cd "$(dirname "$0")" && pwd)/gate.pml
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

run() { # options...
	spin -a "$@" "$model" >spin.log || { cat spin.log; exit 2; }
	cc -O2 -DSAFETY -DCOLLAPSE -o pan pan.c
	./pan -m200000 >pan.log
	errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.log)
	states=$(sed -n 's/ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log)
	# A search cut short proves nothing.
	! grep -q 'max search depth too small' pan.log || errors=incomplete
}

failed=
for options in "" "-DLATE" "-DLIVES=3"; do
	run $options
	echo "model options='$options' states=$states errors=$errors"
	[ "$errors" = 0 ] || { failed=1; cat pan.log; }
done
for options in -DNO_BARRIER -DNO_AGAIN -DTRUST_ACK "-DSTALE -DLATE" "-DNO_ORDER -DLATE"; do
	run $options
	echo "model options='$options' errors=$errors, as it must: $(sed -n 's/^pan:1: \(assertion violated\).*/\1/p' pan.log)"
	[ "$errors" = 1 ] || failed=1
done
[ -z "$failed" ]
