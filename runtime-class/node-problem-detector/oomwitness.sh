#!/bin/bash
# A plugin of the node-problem-detector's custom plugin monitor: were there OOM events
# in the time just past? It asks the agent's API; bash is all that it needs.
#
#   oomwitness.sh HOST PORT SINCE SCOPE...
#
# 0: none. 1: some, and how many. 2: not known: no agent, no ledger, no answer in time.
# One line of at most 80 characters says so.
set -u
host=$1 port=$2 since=$3
shift 3

unknown() {
	printf '%.80s\n' "not known: $1"
	exit 2
}

query="since=$since&limit=1"
for cause in "$@"; do query+="&cause=$cause"; done
exec 3<>"/dev/tcp/$host/$port" || unknown "no agent at $host:$port"
printf 'GET /api/v1/events?%s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$query" >&3

# The answer ends with the connection. Its one line of JSON is the last.
IFS= read -r -t 5 status <&3 || unknown "no answer in time"
[[ $status == *' 200 '* ]] || unknown "the agent says ${status//[^[:print:]]/}"
body=
while IFS= read -r -t 5 line <&3; do body=$line; done

[[ $body =~ \"tier\":\"[ABC]\" ]] || unknown "no ledger on this node"
[[ $body =~ \"matched\":([0-9]+),\"events\": ]] || unknown "another answer than expected"
count=${BASH_REMATCH[1]}
if ((count == 0)); then
	echo "no OOM event in $since"
	exit 0
fi
printf '%.80s\n' "$count OOM events in $since by the limit of: $*"
exit 1
