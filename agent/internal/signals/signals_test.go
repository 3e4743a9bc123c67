package signals

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
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
	podPath     = "/kubepods/burstable/pod0d1a2b3c-4d5e-4f60-8a1b-2c3d4e5f6071"
	containerID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
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

// rig is a Reader of a made-up node.
type rig struct {
	*Reader
	ledger   *fakeLedger
	resolver *fakeResolver
	out      []exits.Exit
	warned   []error
	known    bool // every exit is
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{ledger: &fakeLedger{meta: bpf.Meta{Tier: bpf.TierA}}, resolver: &fakeResolver{}}
	mount := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(mount, podPath, containerID), 0o755))
	r.Reader = New(Options{
		Ledger: r.ledger, Inits: NewInits(mount, t.TempDir(), nil), Resolver: r.resolver,
		Hierarchy: oom.Hierarchy{Version: 2, Mount: mount}, Boot: "boot",
		Has: func(*exits.Exit) bool { return r.known }, Out: func(e exits.Exit) { r.out = append(r.out, e) },
		Warn: func(err error) { r.warned = append(r.warned, err) },
	})
	return r
}

// self is this process's key.
func self(t *testing.T) bpf.TaskKey {
	t.Helper()
	ticks, err := bpf.StartTicks(os.Getpid())
	require.NoError(t, err)
	return bpf.TaskKey{TGID: uint32(os.Getpid()), StartTicks: ticks}
}

// bundle has the shim of the container write the PID of its init.
func (r *rig) bundle(t *testing.T, pid uint32) {
	t.Helper()
	dir := filepath.Join(r.o.Inits.State, bundlesDir, "k8s.io", containerID)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, pidFile), []byte(strconv.Itoa(int(pid))), 0o600))
}

// appeared has the container's cgroup appear, and be looked at.
func (r *rig) appeared() {
	r.o.Inits.Appeared(podPath)
	r.o.Inits.Appeared(podPath + "/" + containerID)
	r.o.Inits.look()
}

// sent is a signal to an init of some time ago.
func sent(init bpf.TaskKey, comm string, ago time.Duration) bpf.Sender {
	s := bpf.Sender{Init: init, BootNS: bpf.BootNow() - uint64(ago), TGID: 812, UID: 0}
	copy(s.Comm[:], comm)
	return s
}

// TestKilled: the container of an init that somebody has killed is known by the file that
// its shim has left, and the ledger is to forget the signal.
func TestKilled(t *testing.T) {
	r := newRig(t)
	r.appeared()
	require.Len(t, r.o.Inits.pending, 1, "the pod's cgroup is no container's")
	init := self(t)
	r.bundle(t, init.TGID)
	// The file is as old as its process.
	began := time.Now().Add(time.Duration(init.StartTicks)*10*time.Millisecond - time.Duration(bpf.BootNow()))
	require.NoError(t, os.Chtimes(filepath.Join(r.o.Inits.State, bundlesDir, "k8s.io", containerID, pidFile), began, began))
	r.o.Inits.look()
	require.Empty(t, r.o.Inits.pending)

	r.ledger.list = []bpf.Sender{sent(init, "earlyoom", 0)}
	require.NoError(t, r.read(t.Context()))
	require.Empty(t, r.out, "the OOM killer's mark may be yet to come")

	r.ledger.list = []bpf.Sender{sent(init, "earlyoom", 2*settle)}
	require.NoError(t, r.read(t.Context()))
	require.NoError(t, r.read(t.Context()))
	require.Len(t, r.out, 1)
	e := r.out[0]
	e.Version = exits.Version
	require.NoError(t, e.Check())
	require.Equal(t, containerID, e.ID)
	require.Equal(t, &exits.Pod{Namespace: "shop", Name: "web-1", UID: "u", Container: "app"}, e.Pod)
	require.Equal(t, oom.EndedSignal, e.Verdict.Ended)
	require.Equal(t, "earlyoom", e.Verdict.Sender.Comm)
	require.Equal(t, 137, e.Status)
	id, err := bpf.CgroupID(filepath.Join(r.o.Inits.Mount, podPath, containerID))
	require.NoError(t, err)
	require.Equal(t, id, r.resolver.cgroup)
	require.Equal(t, []bpf.TaskKey{init, init}, r.ledger.gone)
}

// TestNotReported: signals that are a shim's to report, a runtime's, of another process of
// the same PID, of nobody's container, or known.
func TestNotReported(t *testing.T) {
	later := func(init bpf.TaskKey) bpf.TaskKey { init.StartTicks += 1e6; return init }
	for name, tc := range map[string]struct {
		change func(r *rig, s *bpf.Sender)
		stays  bool
	}{
		"watched":         {func(_ *rig, s *bpf.Sender) { s.Watched = true }, true},
		"runc":            {func(_ *rig, s *bpf.Sender) { copy(s.Comm[:], "runc\x00") }, false},
		"a shim":          {func(_ *rig, s *bpf.Sender) { copy(s.Comm[:], "containerd-shim") }, false},
		"another process": {func(_ *rig, s *bpf.Sender) { s.Init = later(s.Init) }, true},
		"no container":    {func(_ *rig, s *bpf.Sender) { s.Init.TGID++; s.BootNS -= uint64(nameless) }, false},
		"known":           {func(r *rig, _ *bpf.Sender) { r.known = true }, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			init := self(t)
			r.o.Inits.known.Add(init.TGID, origin{container: containerID, ticks: init.StartTicks})
			s := sent(init, "earlyoom", 2*settle)
			tc.change(r, &s)
			r.ledger.list = []bpf.Sender{s}
			require.NoError(t, r.read(t.Context()))
			require.Empty(t, r.out)
			require.Equal(t, tc.stays, len(r.ledger.gone) == 0)
		})
	}
	t.Run("a user's process named runc", func(t *testing.T) {
		r := newRig(t)
		init := self(t)
		r.o.Inits.known.Add(init.TGID, origin{container: containerID, ticks: init.StartTicks})
		s := sent(init, "runc", 2*settle)
		s.UID = 1000
		r.ledger.list = []bpf.Sender{s}
		require.NoError(t, r.read(t.Context()))
		require.Len(t, r.out, 1)
	})
}

// TestByProcs: without containerd the init is the process 1 of a PID namespace in the
// cgroup.
func TestByProcs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a PID namespace")
	}
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	r := newRig(t)
	procs := strconv.Itoa(os.Getpid()) + "\n" + strconv.Itoa(cmd.Process.Pid) + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(r.o.Inits.Mount, podPath, containerID, "cgroup.procs"), []byte(procs), 0o600))
	r.appeared()
	ticks, err := bpf.StartTicks(cmd.Process.Pid)
	require.NoError(t, err)
	o, ok := r.o.Inits.of(bpf.TaskKey{TGID: uint32(cmd.Process.Pid), StartTicks: ticks})
	require.True(t, ok)
	require.Equal(t, containerID, o.container)
	_, ok = r.o.Inits.of(bpf.TaskKey{TGID: uint32(cmd.Process.Pid), StartTicks: ticks + 1})
	require.False(t, ok)
}

// TestPending: a container that ends unseen, or never has an init, is not looked for any
// more.
func TestPending(t *testing.T) {
	r := newRig(t)
	r.appeared()
	require.Len(t, r.o.Inits.pending, 1)
	r.o.Inits.pending[0].until = time.Now()
	r.o.Inits.look()
	require.Empty(t, r.o.Inits.pending)
	require.NoError(t, os.RemoveAll(filepath.Join(r.o.Inits.Mount, podPath)))
	r.appeared()
	require.Empty(t, r.o.Inits.pending)
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
