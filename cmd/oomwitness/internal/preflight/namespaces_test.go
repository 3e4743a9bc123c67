package preflight_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/preflight"
)

func TestNamespaces(t *testing.T) {
	const ok, warn = preflight.OK, preflight.Warn
	const first, own = "pid:[4026531836]", "pid:[4026532500]"
	const firstCgroup, ownCgroup = "cgroup:[4026531835]", "cgroup:[4026532600]"
	for name, test := range map[string]struct {
		pid, cgroup string
		ledger      uint32
		unread      error
		status      preflight.Status
		want, do    string
	}{
		"a machine":                {first, firstCgroup, 4026531836, nil, ok, "the kernel's own", ""},
		"own cgroups":              {first, ownCgroup, 4026531836, nil, ok, "cgroup namespace 4026532600", ""},
		"kind":                     {own, ownCgroup, 4026532500, nil, ok, "has the PIDs of its PID namespace 4026532500", ""},
		"kind, nothing loaded":     {own, ownCgroup, 0, bpf.ErrAbsent, ok, "the shim loads a ledger", ""},
		"kind, the machine's":      {own, ownCgroup, 4026531836, nil, warn, "another, 4026531836: verdicts come from the counters", "oomwitness unload"},
		"kind, another node's":     {own, ownCgroup, 4026532501, nil, warn, "another, 4026532501", "no other node shares"},
		"no answer":                {"", firstCgroup, 4026531836, nil, warn, "cannot read", "as root"},
		"no file":                  {"", firstCgroup, 4026531836, nil, warn, "process 1: readlink ", "CAP_SYS_PTRACE"},
		"no cgroup namespaces":     {first, "", 4026531836, nil, warn, "/proc/1/ns/cgroup: no such file", "as root"},
		"other words":              {"pid:(1)", firstCgroup, 4026531836, nil, warn, `/proc/1/ns/pid leads to "pid:(1)"`, "as root"},
		"an answer of other words": {"pid:(1)", firstCgroup, 4026531836, nil, warn, "cannot read", "as root"},
	} {
		n := newNode(t)
		n.namespaces(test.pid, test.cgroup)
		n.ledger.PIDNS, n.unread = test.ledger, test.unread
		finding := findingOf(t, n, "namespaces")
		require.Equal(t, test.status, finding.Status, name)
		require.Contains(t, finding.Found, test.want, name)
		require.Contains(t, finding.Do, test.do, name)
	}
}
