package bpf_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// loader is a command that loads the ledger of a test, as another program's ABI
// and version would, with capabilities given up.
func (b *bench) loader(tier bpf.Tier, abi, version uint32, caps string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", b.opts.Dir, b.opts.LockDir, tier.String(),
		strconv.FormatUint(uint64(abi), 10), strconv.FormatUint(uint64(version), 10), caps)
	cmd.Env = append(os.Environ(), helperEnv+"=load")
	return cmd
}

func (b *bench) generations(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(b.opts.Dir, "g*"))
	require.NoError(t, err)
	return names
}

// TestLoadAgain: the second load finds the ledger, and is cheap.
func TestLoadAgain(t *testing.T) {
	b := newBench(t)
	require.True(t, b.status.Loaded)
	began := time.Now()
	const times = 100
	for range times {
		st, err := bpf.Load(b.opts)
		require.NoError(t, err)
		require.False(t, st.Loaded)
		require.Equal(t, b.status.Tier, st.Tier)
	}
	t.Logf("%v a load", time.Since(began)/times)
	require.Len(t, b.generations(t), 1)
}

// TestModes: nobody but root reads the pins.
func TestModes(t *testing.T) {
	b := newBench(t)
	for _, dir := range append(b.generations(t), b.opts.Dir) {
		fi, err := os.Stat(dir)
		require.NoError(t, err)
		require.EqualValues(t, 0o700, fi.Mode().Perm())
	}
	pins, err := filepath.Glob(filepath.Join(b.opts.Dir, "current", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, pins)
	for _, pin := range pins {
		fi, err := os.Stat(pin)
		require.NoError(t, err)
		require.EqualValues(t, 0o600, fi.Mode().Perm(), pin)
	}
}

// TestLoadersAtOnce: one of them loads, the others find it.
func TestLoadersAtOnce(t *testing.T) {
	b := newBench(t)
	require.NoError(t, bpf.Unload(b.opts.Dir, b.opts.LockDir))
	var wg sync.WaitGroup
	out := make([]string, 6)
	for i := range out {
		wg.Go(func() {
			text, err := b.loader(b.opts.Tier, bpf.ABI, bpf.Version, "").CombinedOutput()
			if err != nil {
				t.Errorf("loader: %v: %s", err, text)
			}
			out[i] = strings.TrimSpace(string(text))
		})
	}
	wg.Wait()
	require.Equal(t, 1, strings.Count(strings.Join(out, " "), "true"), out)
	require.Len(t, b.generations(t), 1)
	require.NoError(t, b.open(t).Whole())
}

// TestLoaderKilled kills loaders after each of their steps, and at random
// moments: each leaves a whole ledger or none, and the next one makes it good.
func TestLoaderKilled(t *testing.T) {
	for name, from := range map[string]killedLoad{
		"nothing before": {},
		"same ABI":       {abi: bpf.ABI, version: bpf.Version},
		"another ABI":    {abi: bpf.ABI - 1, version: bpf.Version},
	} {
		t.Run(name, func(t *testing.T) {
			from.bench = newBench(t)
			from.dir = from.cgroup(t, "c", 8<<20)
			steps := map[string]int{}
			for i := 0; ; i++ {
				at, killed := from.try(t, strconv.Itoa(i))
				if !killed {
					break
				}
				steps[at]++
			}
			require.Greater(t, len(steps), 4)
			t.Logf("killed after %v", steps)
			for range number(t, "LOADER_KILLS", 5) {
				from.try(t, "")
			}
		})
	}
}

// killedLoad is a load over what another version has loaded, nothing if version
// is 0.
type killedLoad struct {
	*bench
	dir          string
	abi, version uint32
}

// try kills one loader, after that many steps or at random, and looks at what it
// leaves. It gives the step, and false where the loader came to its end.
func (k *killedLoad) try(t *testing.T, steps string) (at string, killed bool) {
	t.Helper()
	require.NoError(t, bpf.Unload(k.opts.Dir, k.opts.LockDir))
	var before *proc
	if k.version != 0 {
		_, err := bpf.Load(k.opts.As(k.abi, k.version))
		require.NoError(t, err)
		before = hog(t, k.dir)
	}
	at, killed = k.killLoader(t, steps)
	l, err := bpf.Open(k.opts.Dir)
	kills := uint64(2)
	switch {
	case err == nil:
		kills++
		record(t, l, hog(t, k.dir))
		require.NoError(t, l.Close())
	case errors.Is(err, bpf.ErrAbsent) && k.version == 0:
	case errors.Is(err, bpf.ErrABI) && k.abi != bpf.ABI:
	default:
		t.Fatalf("neither a whole ledger nor none after %q: %v", at, err)
	}
	during := hog(t, k.dir)
	st, err := bpf.Load(k.opts.As(bpf.ABI, bpf.Version+1))
	require.NoError(t, err)
	require.EqualValues(t, bpf.Version+1, st.Version)
	require.Len(t, k.generations(t), 1)
	l = k.open(t)
	if before == nil {
		record(t, l, hog(t, k.dir))
		return at, killed
	}
	record(t, l, before)
	record(t, l, during)
	c := cgroupOf(t, l, k.dir)
	require.Equal(t, kills, c.Victims, "after %q", at)
	require.Equal(t, kills, c.Events, "after %q", at)
	return at, killed
}

// killLoader starts a loader and kills it in its work.
func (b *bench) killLoader(t *testing.T, steps string) (at string, killed bool) {
	t.Helper()
	cmd := b.loader(b.opts.Tier, bpf.ABI, bpf.Version+1, "")
	if steps != "" {
		cmd.Args = append(cmd.Args, steps)
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err != nil
	}
	done := make(chan error, 1)
	began := time.Now()
	require.NoError(t, cmd.Start())
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		require.NoError(t, err)
		loadTime.Store(int64(time.Since(began)))
		return "", false
	case <-time.After(time.Duration(rand.Int64N(loadTime.Load()*5/4 + 1))):
		require.NoError(t, cmd.Process.Kill())
		<-done
		return "random", true
	}
}

// TestUnpinned takes pins away under a reader's hands.
func TestUnpinned(t *testing.T) {
	for _, what := range []string{"current", "current/link_signal_generate", "."} {
		t.Run(what, func(t *testing.T) {
			c := newContainer(t)
			p, err := c.source.Arm(c.Target())
			require.NoError(t, err)
			l := c.open(t)
			require.NoError(t, l.Whole())
			path := filepath.Join(c.opts.Dir, what)
			if what == "." {
				require.NoError(t, os.RemoveAll(c.opts.Dir))
			} else {
				require.NoError(t, os.Remove(path))
			}
			c.Kill(t, 1)
			require.ErrorIs(t, l.Whole(), bpf.ErrRetired)
			_, _, err = l.Task(1, 1)
			require.ErrorIs(t, err, bpf.ErrRetired)
			_, err = p.Read()
			require.ErrorIs(t, err, bpf.ErrRetired)
			st, err := bpf.Load(c.opts)
			require.NoError(t, err)
			require.True(t, st.Loaded)
			_, err = p.Read()
			require.ErrorIs(t, err, bpf.ErrGap)
			require.Len(t, c.generations(t), 1)
		})
	}
}

// TestCapabilities drops what loading needs; the error names it.
func TestCapabilities(t *testing.T) {
	const sysAdmin, perfmon, bpfCap = "21", "38", "39"
	b := newBench(t)
	require.NoError(t, bpf.Unload(b.opts.Dir, b.opts.LockDir))
	for _, test := range []struct{ drop, want, not string }{
		{sysAdmin + "," + bpfCap, "CAP_BPF", "CAP_PERFMON and"},
		{sysAdmin + "," + perfmon, "CAP_PERFMON", "CAP_BPF and"},
		{sysAdmin + "," + bpfCap + "," + perfmon, "CAP_BPF and CAP_PERFMON", "CAP_NET"},
	} {
		out, err := b.loader(bpf.TierC, bpf.ABI, bpf.Version, test.drop).CombinedOutput()
		require.Error(t, err, "%s", out)
		require.Contains(t, string(out), test.want)
		require.NotContains(t, string(out), test.not)
		require.Empty(t, b.generations(t))
	}
	out, err := b.loader(bpf.TierC, bpf.ABI, bpf.Version, sysAdmin).CombinedOutput()
	require.NoError(t, err, "CAP_BPF and CAP_PERFMON are enough: %s", out)
}

// TestReader: records that were there before, new ones, and a way out. Others
// are killed all the time, as on any node.
func TestReader(t *testing.T) {
	b := newBench(t)
	dir := b.cgroup(t, "c", 8<<20)
	_, stop := b.keepKilling(t, b.cgroup(t, "others", 8<<20))
	defer stop()
	first := hog(t, dir)
	r, err := bpf.NewReader(b.opts.Dir, b.opts.LockDir)
	require.NoError(t, err)
	_, err = bpf.NewReader(b.opts.Dir, b.opts.LockDir)
	require.ErrorIs(t, err, bpf.ErrBusy)
	readUntil(t, r, first)
	_, err = bpf.Load(b.opts.As(bpf.ABI, bpf.Version+1))
	require.NoError(t, err)
	second := hog(t, dir)
	readUntil(t, r, second)
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	require.ErrorIs(t, readOn(ctx, r), context.Canceled)
	errs := make(chan error, 1)
	go func() { errs <- readOn(t.Context(), r) }()
	require.NoError(t, r.Close())
	require.ErrorIs(t, <-errs, os.ErrClosed)
	require.NoError(t, r.Close())
	r, err = bpf.NewReader(b.opts.Dir, b.opts.LockDir)
	require.NoError(t, err)
	require.NoError(t, bpf.Unload(b.opts.Dir, b.opts.LockDir))
	require.ErrorIs(t, readOn(t.Context(), r), bpf.ErrRetired)
	require.NoError(t, r.Close())
}

// readUntil reads to a process's record. The ledger is the whole node's, and
// others may be testing too.
func readUntil(t *testing.T, r *bpf.Reader, p *proc) {
	t.Helper()
	for {
		rec, err := r.Read(t.Context())
		require.NoError(t, err)
		if rec.Key() == (bpf.TaskKey{TGID: uint32(p.pid()), StartTicks: p.ticks}) {
			return
		}
	}
}

// readOn reads to the first error.
func readOn(ctx context.Context, r *bpf.Reader) error {
	for {
		if _, err := r.Read(ctx); err != nil {
			return err
		}
	}
}

var _ io.Closer = (*bpf.Reader)(nil)
var _ oom.Source = (*bpf.Source)(nil)
