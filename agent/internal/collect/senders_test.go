package collect

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

const (
	podPath      = "/kubepods/burstable/pod0d1a2b3c-4d5e-4f60-8a1b-2c3d4e5f6071"
	otherPodPath = "/kubepods/burstable/pod1d1a2b3c-4d5e-4f60-8a1b-2c3d4e5f6071"
	containerID  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// fakeLedger has the signals that a test writes.
type fakeLedger struct {
	list   []bpf.Sender
	gone   []bpf.TaskKey
	sweeps int
	err    error
	meta   bpf.Meta
}

func (l *fakeLedger) Senders() ([]bpf.Sender, error) { return l.list, l.err }
func (l *fakeLedger) Forget(init bpf.TaskKey) error  { l.gone = append(l.gone, init); return nil }
func (l *fakeLedger) Sweep() error                   { l.sweeps++; return nil }
func (l *fakeLedger) Meta() (bpf.Meta, error)        { return l.meta, nil }

// fakeResolver names every cgroup as one of the same pod.
type fakeResolver struct{ cgroup uint64 }

func (f *fakeResolver) Resolve(_ context.Context, r *bpf.Record) (events.OOMEvent, error) {
	f.cgroup = r.Cgroup
	in := events.New(r, cgroups.Name{ID: r.Cgroup, Path: podPath + "/" + containerID}, cgroups.Name{})
	in.Victims[0].Pod = &events.Pod{Namespace: "shop", Name: "web-1", UID: "u"}
	in.Victims[0].Container = &events.Container{ID: containerID, Name: "app", Namespace: "k8s.io"}
	return in, nil
}

// IDs of the cgroups on a made-up node.
const (
	podCgroup = iota + 1
	containerCgroup
	nestedCgroup
	runtimeCgroup
	otherPodCgroup
)

// fakeCgroups has the paths of those that are known.
type fakeCgroups map[uint64]string

func (f fakeCgroups) Name(id uint64, _ time.Time) (cgroups.Name, error) {
	return cgroups.Name{ID: id, Path: f[id]}, nil
}

func (*fakeResolver) Complete(*events.Victim) {}

// sendersRig are Senders of a made-up node.
type sendersRig struct {
	*Senders
	ledger   *fakeLedger
	resolver *fakeResolver
	paths    fakeCgroups
	out      []exits.Exit
	warned   []error
	known    bool // every exit is
}

func newRig(t *testing.T) *sendersRig {
	t.Helper()
	r := &sendersRig{ledger: &fakeLedger{meta: bpf.Meta{Tier: bpf.TierA}}, resolver: &fakeResolver{}, paths: fakeCgroups{
		podCgroup: podPath, containerCgroup: podPath + "/" + containerID, nestedCgroup: podPath + "/" + containerID + "/init.scope",
		runtimeCgroup: "/system.slice/containerd.service", otherPodCgroup: otherPodPath + "/" + containerID,
	}}
	r.Senders = NewSenders(SendersOptions{
		Ledger: r.ledger, Cgroups: r.paths, Resolver: r.resolver, Mount: t.TempDir(), Boot: "boot",
		Has: func(*exits.Exit) bool { return r.known }, Out: func(e exits.Exit) { r.out = append(r.out, e) },
		Warn: func(err error) { r.warned = append(r.warned, err) },
	})
	return r
}

// sent is a signal to the container's init of some time ago, by a root process of the node.
func sent(comm string, ago time.Duration) bpf.Sender {
	s := bpf.Sender{
		Init: bpf.TaskKey{TGID: 4711, StartTicks: 5}, InitCgroup: containerCgroup,
		BootNS: bpf.BootNow() - uint64(ago), TGID: 812, Cgroup: runtimeCgroup,
	}
	copy(s.Comm[:], comm)
	return s
}

// TestKilled: the container of an init that somebody has killed is the one of the init's
// cgroup, and the ledger is to forget the signal.
func TestKilled(t *testing.T) {
	r := newRig(t)
	r.ledger.list = []bpf.Sender{sent("earlyoom", 0)}
	require.NoError(t, r.read(t.Context()))
	require.Empty(t, r.out, "the OOM killer's mark may be yet to come")

	r.ledger.list = []bpf.Sender{sent("earlyoom", 2*signalSettle)}
	require.NoError(t, r.read(t.Context()))
	require.NoError(t, r.read(t.Context()))
	require.Len(t, r.out, 1)
	e, init := r.out[0], r.ledger.list[0].Init
	e.Version = exits.Version
	require.NoError(t, e.Check())
	require.Equal(t, containerID, e.ID)
	require.Equal(t, &exits.Pod{Namespace: "shop", Name: "web-1", UID: "u", Container: "app"}, e.Pod)
	require.Equal(t, oom.EndedSignal, e.Verdict.Ended)
	require.Equal(t, "earlyoom", e.Verdict.Sender.Comm)
	require.Equal(t, "/system.slice/containerd.service", e.Verdict.Sender.CgroupPath)
	require.Equal(t, 137, e.Status)
	require.EqualValues(t, containerCgroup, r.resolver.cgroup)
	require.Equal(t, []bpf.TaskKey{init, init}, r.ledger.gone)
}

// TestLongPath: a user's cgroup has any name, and the exit fits into a line all the same.
func TestLongPath(t *testing.T) {
	for _, name := range []string{"<", "\x01", "\xff", "\u2028", "a"} {
		r := newRig(t)
		r.paths[runtimeCgroup] = "/user.slice/user-1000.slice" + strings.Repeat("/"+strings.Repeat(name, 200), 20)
		r.ledger.list = []bpf.Sender{sent("kill", 2*signalSettle)}
		require.NoError(t, r.read(t.Context()))
		require.Len(t, r.out, 1)
		_, err := r.out[0].WriteTo(io.Discard)
		require.NoError(t, err)
		require.Contains(t, r.out[0].Verdict.Sender.CgroupPath, "/user.slice/user-1000.slice/")
		require.NotContains(t, r.out[0].Verdict.Sender.CgroupPath, "\x01")
	}
}

// TestReported: whose signal is reported, and whose a shim or a runtime answers for.
func TestReported(t *testing.T) {
	const unknownCgroup = 99
	named := func(comm string) func(*sendersRig, *bpf.Sender) {
		return func(_ *sendersRig, s *bpf.Sender) { s.Comm = bpf.Comm{}; copy(s.Comm[:], comm) }
	}
	runcIn := func(cgroup uint64) func(*sendersRig, *bpf.Sender) {
		return func(r *sendersRig, s *bpf.Sender) { named("runc")(r, s); s.Cgroup = cgroup }
	}
	for name, tc := range map[string]struct {
		change        func(r *sendersRig, s *bpf.Sender)
		reported, end bool // end: nothing more is to be done
	}{
		"earlyoom":               {func(*sendersRig, *bpf.Sender) {}, true, true},
		"watched by a shim":      {func(_ *sendersRig, s *bpf.Sender) { s.Watched = true }, false, false},
		"runc":                   {named("runc"), false, true},
		"a shim":                 {named("containerd-shim"), false, true},
		"runc of a user":         {func(r *sendersRig, s *bpf.Sender) { named("runc")(r, s); s.UID = 1000 }, true, true},
		"runc in a pod":          {runcIn(otherPodCgroup), true, true},
		"runc of no known place": {runcIn(unknownCgroup), true, true},
		"a pod's cgroup":         {func(_ *sendersRig, s *bpf.Sender) { s.InitCgroup = podCgroup }, false, false},
		"unknown":                {func(_ *sendersRig, s *bpf.Sender) { s.InitCgroup = unknownCgroup }, false, false},
		"unknown for long":       {func(_ *sendersRig, s *bpf.Sender) { s.InitCgroup = unknownCgroup; s.BootNS -= uint64(nameless) }, false, true},
		"of a ledger before":     {func(_ *sendersRig, s *bpf.Sender) { s.InitCgroup = 0; s.BootNS -= uint64(nameless) }, false, true},
		"known":                  {func(r *sendersRig, _ *bpf.Sender) { r.known = true }, false, true},
		"an init that has moved": {func(_ *sendersRig, s *bpf.Sender) { s.InitCgroup = nestedCgroup }, true, true},
		"a container in the container": {func(r *sendersRig, s *bpf.Sender) {
			s.InitCgroup = nestedCgroup
			require.NoError(t, os.MkdirAll(filepath.Join(r.o.Mount, podPath, containerID), 0o755))
		}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			s := sent("earlyoom", 2*signalSettle)
			tc.change(r, &s)
			r.ledger.list = []bpf.Sender{s}
			require.NoError(t, r.read(t.Context()))
			require.Equal(t, tc.reported, len(r.out) == 1)
			require.Equal(t, tc.end, len(r.ledger.gone) == 1)
			require.Empty(t, r.warned)
		})
	}
}

// TestTrouble is said once; that there is no ledger is said elsewhere.
func TestTrouble(t *testing.T) {
	r := newRig(t)
	for _, err := range []error{bpf.ErrAbsent, bpf.ErrRetired, errors.New("a"), errors.New("a"), errors.New("b")} {
		r.ledger.err = err
		r.warn(r.read(t.Context()))
	}
	require.Len(t, r.warned, 2)
}
