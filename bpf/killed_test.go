package bpf_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
)

// TestLoaderKilled kills loaders after each of their steps, where a step is done
// several times after the first two, and at random moments: each leaves a whole
// ledger or none, and the next one makes it good.
func TestLoaderKilled(t *testing.T) {
	for _, from := range []killedLoad{
		{before: "nothing"},
		{before: "same ABI", abi: bpf.ABI},
		{before: "another ABI", abi: bpf.ABI - 1},
	} {
		t.Run(from.before, func(t *testing.T) {
			from.bench = newBench(t)
			from.opts = withTier(from.opts, from.status.Tier).Quick()
			from.version = bpf.Version
			from.dir = from.cgroup(t, "c", 8<<20)
			require.NoError(t, bpf.Unload(from.opts.Dir, from.opts.LockDir))
			all := from.try(t, listSteps)
			require.Greater(t, len(all), 4)
			times := map[string]int{}
			for _, name := range all {
				if times[name]++; times[name] > 2 {
					continue
				}
				require.Equal(t, slices.Repeat([]string{name}, times[name]), from.try(t, fmt.Sprintf("%d %s", times[name], name)))
			}
			for range number(t, "LOADER_KILLS", 3) {
				from.try(t, "")
			}
			t.Logf("killed after each of %v", slices.Compact(all))
		})
	}
}

// killedLoad is a load over what is there before.
type killedLoad struct {
	*bench
	before  string
	dir     string
	abi     uint32 // of what is there, where there is anything
	version uint32 // of what was loaded last
	loaded  bool
	kills   uint64 // that the ledger has to know
}

// begin puts there what is to be there.
func (k *killedLoad) begin(t *testing.T) {
	t.Helper()
	if k.loaded && k.abi == bpf.ABI {
		return // the one before is that
	}
	k.kills = 0
	require.NoError(t, bpf.Unload(k.opts.Dir, k.opts.LockDir))
	if k.before != "nothing" {
		_, err := bpf.Load(k.opts.As(k.abi, k.version))
		require.NoError(t, err)
		k.loaded = true
	}
}

// hog makes a kill that the ledger has to know.
func (k *killedLoad) hog(t *testing.T) *proc {
	t.Helper()
	k.kills++
	return hog(t, k.dir)
}

// try kills one loader, after a step ("2 map pinned" is the second of that name)
// or at random, and looks at what it leaves. It returns the steps that the loader
// printed.
func (k *killedLoad) try(t *testing.T, steps string) []string {
	t.Helper()
	k.begin(t)
	var known []*proc
	if k.loaded {
		known = append(known, k.hog(t))
	}
	at := k.killLoader(t, steps)
	l, err := bpf.Open(k.opts.Dir)
	switch {
	case err == nil:
		record(t, l, k.hog(t))
		require.NoError(t, l.Close())
	case errors.Is(err, bpf.ErrAbsent) && !k.loaded:
		hog(t, k.dir) // not known
	case errors.Is(err, bpf.ErrABI) && k.loaded && k.abi != bpf.ABI:
		known = append(known, k.hog(t))
	default:
		require.ErrorIs(t, err, bpf.ErrRetired, "neither a whole ledger nor none after %q", at)
		require.True(t, k.loaded && k.abi != bpf.ABI, "after %q: %v", at, err)
		known = append(known, k.hog(t))
	}
	k.version++
	st, err := bpf.Load(k.opts.As(bpf.ABI, k.version))
	require.NoError(t, err, "after %q", at)
	require.Equal(t, k.version, st.Version)
	require.Len(t, k.generations(t), 1)
	l = k.open(t)
	for _, p := range append(known, k.hog(t)) {
		record(t, l, p)
	}
	c := cgroupOf(t, l, k.dir)
	require.Equal(t, k.kills, c.Victims, "after %q", at)
	require.Equal(t, k.kills, c.Events, "after %q", at)
	return at
}

// killLoader starts a loader and kills it in its work.
func (k *killedLoad) killLoader(t *testing.T, steps string) (at []string) {
	t.Helper()
	cmd := k.loader(k.opts.Tier, bpf.ABI, k.version+1, "")
	if steps != "" {
		cmd.Args = append(cmd.Args, steps)
		out, err := cmd.Output()
		require.Equal(t, steps == listSteps, err == nil, "%s", out)
		return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
	}
	done := make(chan error, 1)
	began := time.Now()
	require.NoError(t, cmd.Start())
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		require.NoError(t, err)
		loadTime.Store(int64(time.Since(began)))
	case <-time.After(time.Duration(rand.Int64N(loadTime.Load()*5/4 + 1))):
		require.NoError(t, cmd.Process.Kill())
		<-done
	}
	return nil
}
