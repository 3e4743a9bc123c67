package preflight_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/preflight"
)

func findingOf(t *testing.T, n *node, name string) preflight.Finding {
	t.Helper()
	for _, finding := range n.report().Findings {
		if finding.Name == name {
			require.Equal(t, finding.Status == preflight.OK, finding.Do == "", "%+v", finding)
			return finding
		}
	}
	t.Fatalf("no finding %s", name)
	return preflight.Finding{}
}

func TestLedger(t *testing.T) {
	const ok, warn = preflight.OK, preflight.Warn
	for name, test := range map[string]struct {
		change func(*node)
		status preflight.Status
		want   string
		do     string
	}{
		"whole":          {func(*node) {}, ok, "tier A, ABI 1, version 1, cgroup v2; seen 12, lost none", ""},
		"nobody reads":   {func(n *node) { n.ledger.LostRing = 7 }, ok, "lost none; 7 found the ring full", ""},
		"in words":       {func(n *node) { n.ledger.LostRing = 7 }, ok, "victims of the OOM killer since the load: 12, all on record\nthe ring is for trace and the agent alone: 7 victims came", ""},
		"lost in words":  {func(n *node) { n.ledger.LostTask = 3 }, warn, "the verdicts of these victims come from the counters", "report this"},
		"lost":           {func(n *node) { n.ledger.LostTask, n.ledger.LostCgroup = 3, 4 }, warn, "lost 3 by process and 4 by cgroup", "report this"},
		"not loaded":     {func(n *node) { n.unread = bpf.ErrAbsent }, warn, "not loaded", "oomwitness load"},
		"another ABI":    {func(n *node) { n.unread = fmt.Errorf("%w: 2 is loaded, this is 1", bpf.ErrABI) }, warn, "2 is loaded", "oomwitness unload"},
		"damaged":        {func(n *node) { n.unread = bpf.ErrRetired }, warn, "damaged", "oomwitness load"},
		"no permission":  {func(n *node) { n.unread = fmt.Errorf("%w: needs CAP_BPF", bpf.ErrPermission) }, warn, "needs CAP_BPF", "as root"},
		"something else": {func(n *node) { n.unread = errors.New("input/output error") }, warn, "input/output error", "oomwitness load"},
	} {
		n := newNode(t)
		test.change(n)
		finding := findingOf(t, n, "ledger")
		require.Equal(t, test.status, finding.Status, name)
		require.Contains(t, finding.Found, test.want, name)
		require.Contains(t, finding.Do, test.do, name)
	}
}

const (
	bare     = "0 t __bpf_trace_mark_victim [x]\n"
	killers  = "0 T oom_kill_process\n0 t __oom_kill_process\n" + bare
	kprobes  = killers + "0 T register_kprobe\n"
	fentries = killers + "0 T register_ftrace_direct\n"
)

// TestHooksWithoutALedger: without a ledger the finding is a guess from the kernel's names.
func TestHooksWithoutALedger(t *testing.T) {
	for symbols, want := range map[string]string{
		bare: "tier C", killers: "tier C", kprobes: "(tier B)", fentries: "(tier A, or C", kprobes + fentries: "(tier A, or B",
	} {
		n := newNode(t)
		n.unread = bpf.ErrAbsent
		n.put("/proc/kallsyms", symbols)
		finding := findingOf(t, n, "hooks")
		require.Equal(t, preflight.OK, finding.Status)
		require.Contains(t, finding.Found, want)
	}
	n := newNode(t)
	n.unread = bpf.ErrAbsent
	n.put("/proc/kallsyms", "0 T x\n")
	finding := findingOf(t, n, "hooks")
	require.Equal(t, preflight.Warn, finding.Status)
	require.Contains(t, finding.Found, "tier D")
	n.remove("/proc/kallsyms")
	require.Contains(t, findingOf(t, n, "hooks").Found, "cannot read /proc/kallsyms")
}

// TestHooksInForce: with a ledger the finding is the ledger's own state.
func TestHooksInForce(t *testing.T) {
	for name, test := range map[string]struct {
		tier    bpf.Tier
		symbols string
		want    string
	}{
		"A":             {bpf.TierA, "", "tier A in force: attached by fentry and raw tracepoints"},
		"B":             {bpf.TierB, kprobes, "\nnot tier A: this kernel has no fentry (register_ftrace_direct)"},
		"B where A may": {bpf.TierB, fentries, "\nnot tier A: refused or not asked for, oomwitness load --tier A says which"},
		"C":             {bpf.TierC, killers, "\nnot tier B: this kernel has no kprobes (register_kprobe)"},
		"C where B may": {bpf.TierC, kprobes, "\nnot tier B: refused or not asked for"},
		"C, functions":  {bpf.TierC, bare, "\nnot tier A: this kernel does not show the OOM killer's functions"},
		"C, unknown":    {bpf.TierC, "", "tier C in force"},
	} {
		n := newNode(t)
		n.ledger.Tier = test.tier
		n.put("/proc/kallsyms", test.symbols)
		if test.symbols == "" {
			n.remove("/proc/kallsyms")
		}
		finding := findingOf(t, n, "hooks")
		require.Equal(t, preflight.OK, finding.Status, name)
		require.Contains(t, finding.Found, test.want, name)
	}
}
