package bpf_test

import (
	"context"
	"io"
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
	t.Logf("metric=ledger-ns-per-load tier=%v loads=%d ns=%d", b.status.Tier, times, time.Since(began).Nanoseconds()/times)
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

// settled opens the ledger, once the last change of its folder is long enough ago.
func (b *bench) settled(t *testing.T) (l *bpf.Ledger) {
	t.Helper()
	require.Eventually(t, func() bool {
		l = b.open(t)
		return l.Settled()
	}, time.Minute, time.Millisecond)
	return l
}

// TestUnpinned takes pins away under a reader's hands: one that has just opened the ledger
// and looks at each pin, and one that looks at the folder alone.
func TestUnpinned(t *testing.T) {
	for _, what := range []string{"current", "current/link_signal_generate", "."} {
		t.Run(what, func(t *testing.T) {
			c := newContainer(t)
			p, err := c.source.Arm(c.Target())
			require.NoError(t, err)
			l := c.settled(t)
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
