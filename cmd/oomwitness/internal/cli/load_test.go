package cli

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

// fakeKernel is a kernel that supports a tier, with or without the ledger of an older program.
type fakeKernel struct {
	before  error // the error of reading the ledger there
	status  bpf.Status
	err     error
	trials  map[bpf.Tier]error
	options bpf.Options
	removed int
	others  []string // in the ledger's folder
}

func (f *fakeKernel) kernel() kernel {
	return kernel{
		load: func(o bpf.Options) (bpf.Status, error) {
			f.options = o
			return f.status, f.err
		},
		unload: func(string, string) error { f.removed++; return f.err },
		trial:  func(t bpf.Tier) error { return f.trials[t] },
		meta: func(string) (bpf.Meta, error) {
			if f.removed > 0 {
				return bpf.Meta{}, bpf.ErrAbsent
			}
			return bpf.Meta{}, f.before
		},
		others: func(string) []string { return f.others },
	}
}

func runCommand(t *testing.T, cmd *cobra.Command, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func statusOf(tier bpf.Tier, loaded bool, refused ...bpf.Refusal) bpf.Status {
	return bpf.Status{Tier: tier, ABI: 1, Version: 2, Hierarchy: 2, Loaded: loaded, Refused: refused}
}

func TestLoadOutput(t *testing.T) {
	noA := bpf.Refusal{Tier: bpf.TierA, Err: errors.New("attach: not supported (MEMLOCK may be too low, consider rlimit.RemoveMemlock)")}
	noB := bpf.Refusal{Tier: bpf.TierB, Err: errors.New("no kprobes")}
	const pinned = "pinned in /sys/fs/bpf/oomwitness\n"
	for name, test := range map[string]struct {
		fake fakeKernel
		want string
	}{
		"first": {fakeKernel{before: bpf.ErrAbsent, status: statusOf(bpf.TierA, true)},
			"loaded the ledger: tier A, ABI 1, version 2, cgroup v2\n" + pinned},
		"again": {fakeKernel{status: statusOf(bpf.TierA, false)},
			"the ledger is loaded already: tier A, ABI 1, version 2, cgroup v2\n" + pinned},
		"upgrade": {fakeKernel{before: bpf.ErrABI, status: statusOf(bpf.TierB, true, noA)},
			"replaced the ledger: tier B, ABI 1, version 2, cgroup v2\n" + pinned + "not tier A: attach: not supported\n"},
		"worst": {fakeKernel{before: bpf.ErrAbsent, status: statusOf(bpf.TierC, true, noA, noB)},
			"loaded the ledger: tier C, ABI 1, version 2, cgroup v2\n" + pinned +
				"not tier A: attach: not supported\nnot tier B: no kprobes\n" +
				"tier C sees every victim, but not whose limit fired: causes come from the counters, or are unknown\n"},
		"was forced": {fakeKernel{status: statusOf(bpf.TierB, false)},
			"the ledger is loaded already: tier B, ABI 1, version 2, cgroup v2\n" + pinned + "tier A can be had: oomwitness load --tier A\n"},
		"refused before": {fakeKernel{status: statusOf(bpf.TierB, false), trials: map[bpf.Tier]error{bpf.TierA: errors.New("tier A: no")}},
			"the ledger is loaded already: tier B, ABI 1, version 2, cgroup v2\n" + pinned + "not tier A: no\n"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := runCommand(t, newLoad(test.fake.kernel()))
			require.NoError(t, err)
			require.Equal(t, test.want, out)
		})
	}
	fake := fakeKernel{before: bpf.ErrAbsent, status: statusOf(bpf.TierB, true, noA)}
	out, err := runCommand(t, newLoad(fake.kernel()), "-o", "json", "--tier", "b", "--dir", "/x", "--lock-dir", "/y")
	require.NoError(t, err)
	require.JSONEq(t, `{"schema":1,"action":"loaded","tier":"B","abi":1,"version":2,"cgroup":2,"dir":"/x",
		"better":[{"tier":"A","available":false,"why":"attach: not supported"}]}`, out)
	require.Equal(t, bpf.Options{Dir: "/x", LockDir: "/y", Tier: bpf.TierB}, fake.options)
}

func TestLoadErrors(t *testing.T) {
	lacks := fmt.Errorf("%w: needs CAP_BPF (or CAP_SYS_ADMIN)", bpf.ErrPermission)
	refusals := []bpf.Refusal{{Tier: bpf.TierA, Err: errors.New("a")}, {Tier: bpf.TierB, Err: errors.New("b")}, {Tier: bpf.TierC, Err: errors.New("c")}}
	for name, test := range map[string]struct {
		fake fakeKernel
		args []string
		want string
	}{
		"tier":       {fakeKernel{}, []string{"--tier", "D"}, `--tier "D": allowed are auto, A, B and C`},
		"dir":        {fakeKernel{}, []string{"--dir", "x"}, `--dir "x": has to be an absolute path`},
		"capability": {fakeKernel{err: lacks}, nil, "needs CAP_BPF"},
		"later ABI":  {fakeKernel{err: bpf.ErrABI}, nil, "use the oomwitness that loaded it"},
		"all tiers":  {fakeKernel{err: errors.New("tier C: c"), status: bpf.Status{Refused: refusals}}, nil, "tier C: c; tier B: b; tier A: a"},
		"one reason": {fakeKernel{err: errors.New("tier C: x"), status: bpf.Status{Refused: []bpf.Refusal{{Err: lacks}, {Err: lacks}}}}, nil, "tier C: x"},
	} {
		_, err := runCommand(t, newLoad(test.fake.kernel()), test.args...)
		require.ErrorContains(t, err, test.want, name)
	}
}

func TestUnload(t *testing.T) {
	fake := fakeKernel{}
	out, err := runCommand(t, newUnload(fake.kernel()))
	require.NoError(t, err)
	require.Equal(t, "removed the ledger from /sys/fs/bpf/oomwitness\n", out)
	fake.before = bpf.ErrAbsent
	out, err = runCommand(t, newUnload(fake.kernel()))
	require.NoError(t, err)
	require.Equal(t, "no ledger was loaded in /sys/fs/bpf/oomwitness\n", out)
	fake.err = bpf.ErrBusy
	_, err = runCommand(t, newUnload(fake.kernel()))
	require.ErrorIs(t, err, bpf.ErrBusy)

	fake = fakeKernel{others: []string{"globals"}}
	out, err = runCommand(t, newUnload(fake.kernel()))
	require.NoError(t, err)
	require.Equal(t, "removed the ledger from /sys/fs/bpf/oomwitness\nthe folder /sys/fs/bpf/oomwitness stays: others have globals there\n", out)
	fake = fakeKernel{before: bpf.ErrAbsent, others: []string{"a", "b\x1b", "c", "d", "e"}}
	out, err = runCommand(t, newUnload(fake.kernel()), "--dir", "/sys/fs/bpf")
	require.NoError(t, err)
	require.Equal(t, "no ledger was loaded in /sys/fs/bpf\nthe folder /sys/fs/bpf stays: others have a, b\\u001b, c and 2 more there\n", out)
}

func TestAfterUninstall(t *testing.T) {
	fake := fakeKernel{before: bpf.ErrAbsent}
	var result install.Result
	require.NoError(t, fake.kernel().afterUninstall(&result, true, false))
	require.Equal(t, install.Result{}, result, "nothing was loaded")

	fake.before = nil
	require.NoError(t, fake.kernel().afterUninstall(&result, false, false))
	require.Contains(t, result.Notes[0], "stays loaded until oomwitness unload")
	require.NoError(t, fake.kernel().afterUninstall(&result, true, true))
	require.Zero(t, fake.removed, "a dry run removes nothing")
	require.NoError(t, fake.kernel().afterUninstall(&result, true, false))
	require.Equal(t, 1, fake.removed)
	unload := install.Action{Verb: "unload", Path: bpf.DefaultDir}
	require.Equal(t, []install.Action{unload, unload}, result.Actions)

	fake = fakeKernel{others: []string{"globals"}}
	result = install.Result{}
	require.NoError(t, fake.kernel().afterUninstall(&result, true, false))
	require.Equal(t, []string{"the folder " + bpf.DefaultDir + " stays: others have globals there"}, result.Notes)

	_, err := runCommand(t, newUninstall(fake.kernel()), "--root", t.TempDir(), "--unload")
	require.ErrorContains(t, err, "--unload cannot be used with --root")
}
