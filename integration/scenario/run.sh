#!/bin/sh
# run.sh RUN SKIP NAME... runs the tests of the payload's binaries whose names
# match RUN and not SKIP, in the guest: all of them even if one fails. "." matches
# all, and an empty SKIP none. Of NAME-short only the part runs that is short.
# TEST_TIMEOUT bounds one binary.
# What failed stands once more at the end, where the tail of a log shows it.
match=$1 skip=$2
shift 2
work=$(mktemp -d)
for name; do
	echo "== $name"
	short=false
	[ "$name" = "${name%-short}" ] || short=true
	{
		"/opt/oomwitness/tests/${name%-short}.test" -test.v -test.short=$short -test.timeout="${TEST_TIMEOUT:-80m}" -test.run "$match" -test.skip "$skip" ||
			echo "$name" >>"$work/failed"
	} 2>&1 | tee "$work/log"
	grep -B 4 -e '--- FAIL' -e '^panic:' "$work/log" >>"$work/why"
done
[ -e "$work/failed" ] || exit 0
tail -n 14 "$work/why"
echo "failed:" $(cat "$work/failed")
exit 1
