#!/bin/sh
# run.sh REGEXP NAME... runs the tests of the payload's binaries that match, in
# the guest: all of them even if one fails. "." matches all.
match=$1
shift
failed=
for name; do
	echo "== $name"
	"/opt/oomwitness/tests/$name.test" -test.v -test.timeout=80m -test.run "$match" || failed="$failed $name"
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
