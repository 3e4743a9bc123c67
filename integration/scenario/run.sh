#!/bin/sh
# run.sh RUN SKIP NAME... runs the tests of the payload's binaries whose names
# match RUN and not SKIP, in the guest: all of them even if one fails. "." matches
# all, and an empty SKIP none. Of NAME-short only the part runs that is short.
match=$1 skip=$2
shift 2
failed=
for name; do
	echo "== $name"
	short=false
	[ "$name" = "${name%-short}" ] || short=true
	"/opt/oomwitness/tests/${name%-short}.test" -test.v -test.short=$short -test.timeout=80m -test.run "$match" -test.skip "$skip" || failed="$failed $name"
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
