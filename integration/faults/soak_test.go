//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/cri"
	"github.com/oomwitness/oomwitness/integration/faultkit"
)

const (
	// soakers is the number of pods that work at the same time.
	soakers = 3
	// warmUp is the number of containers in each pod before the shim is measured: by then, the
	// memory is there that is allocated once.
	warmUp = 8
	// rssGrowth is the memory that the garbage collector may keep. A leak of 20 kB per
	// container exceeds it within minutes.
	rssGrowth = 8 << 10 // KiB
	// maxPidfds is the number of runc processes between two garbage collections of a shim with
	// a few MiB of heap. A leak of one pidfd per container exceeds it within a minute.
	maxPidfds = 24
)

// soak has the counts.
type soak struct {
	n *node

	mu      sync.Mutex // guards what follows
	made    map[string]int
	members []*member
}

// TestSoak makes containers, ends them and removes them at full speed, in pods that stay.
// Nothing may grow, and the counts must agree.
func TestSoak(t *testing.T) {
	if os.Getenv("SOAK_SECONDS") == "" {
		t.Skip("needs environment variable SOAK_SECONDS: make soak")
	}
	n := setUp(t)
	lasts := time.Duration(counts.FromEnv(t, "SOAK_SECONDS", 1)) * time.Second
	s := &soak{n: n, made: map[string]int{}}
	fl := &fleet{n: n} // its pods are removed as in any other test
	t.Cleanup(func() { fl.remove(t) })
	ctx, cancel := context.WithTimeout(t.Context(), lasts+4*faultkit.Patience)
	defer cancel()

	var sandboxes []*cri.Sandbox
	for range soakers {
		pod, err := n.newPod(ctx, fmt.Sprintf("pod%d", serial.Add(1)))
		require.NoError(t, err)
		fl.pods = append(fl.pods, pod.ID)
		sandboxes = append(sandboxes, pod)
	}
	require.NoError(t, s.work(ctx, sandboxes, func(done int) bool { return done < warmUp }))
	before := measure(t, fl.pods)
	t.Logf("after the warm-up:\n%s", before)
	until := time.Now().Add(lasts)
	require.NoError(t, s.work(ctx, sandboxes, func(int) bool { return time.Now().Before(until) }))
	s.agree(t, lasts)
	after := measure(t, fl.pods)
	t.Logf("at the end:\n%s", after)
	s.flat(t, before, after)
}

// work has a worker in each pod, as long as more returns true.
func (s *soak) work(ctx context.Context, pods []*cri.Sandbox, more func(done int) bool) error {
	errs := make([]error, len(pods))
	var wg sync.WaitGroup
	for i, pod := range pods {
		wg.Go(func() {
			for done := 0; errs[i] == nil && more(done); done++ {
				errs[i] = s.one(ctx, pod, faultkit.Kinds[(i+done)%len(faultkit.Kinds)])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// one makes one container, ends it and removes it.
func (s *soak) one(ctx context.Context, pod *cri.Sandbox, k faultkit.Kind) error {
	name := fmt.Sprintf("soak%d", serial.Add(1))
	m, err := s.n.newMember(ctx, pod, k, name)
	if err != nil {
		return fmt.Errorf("%s %s: %w", k.Name, name, err)
	}
	fl := &fleet{n: s.n, members: []*member{m}}
	fl.wg.Go(m.waitEnd)
	if err := faultkit.Until(ctx, m.id+" to stand", m.stands); err != nil {
		return err
	}
	look := fl.look(ctx)
	if err := fl.fire(ctx, m); err != nil {
		return err
	}
	<-look
	fl.wg.Wait()
	if wrong := m.judge(m.first); wrong != "" {
		return fmt.Errorf("%s %s: CRI says %s, want %s %d", k.Name, m.id, wrong, k.Reason, k.Code)
	}
	if err := s.n.cri.Remove(ctx, m.id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made[k.Name]++
	s.members = append(s.members, m)
	return errors.Join(os.RemoveAll(faultkit.Controls+"/"+name), closed(m.fd))
}

// agree wants one TaskExit for each container, and one TaskOOM before it for each OOM-killed
// container.
func (s *soak) agree(t *testing.T, lasts time.Duration) {
	t.Helper()
	require.NoError(t, s.n.events.sync(t.Context()))
	var ooms, exits, late, wrong int
	for _, m := range s.members {
		o, e := s.n.counted(m)
		ooms, exits = ooms+o, exits+e
		if s.n.late(m) {
			late++
		}
		if want := m.Reason == faultkit.OOMKilled; e != 1 || o > 1 || (o == 1) != want {
			wrong++
			t.Logf("%s %s: %d TaskOOMs, %d TaskExits", m.Name, m.id, o, e)
		}
	}
	faultkit.Keep(t, fmt.Sprintf("soak driver=%s shim=%s for=%s containers=%d oom_made=%d task_oom=%d task_exit=%d late_oom=%d seed=%d",
		s.n.driver, s.n.shim, lasts, len(s.members), s.made[faultkit.KindOOM.Name], ooms, exits, late, s.n.Seed))
	if s.n.shim == "stock" {
		return
	}
	assert.Zero(t, wrong, "containers with wrong events")
	assert.Zero(t, late, "TaskOOMs after the TaskExit")
	assert.Equal(t, s.made[faultkit.KindOOM.Name], ooms, "TaskOOMs")
	assert.Equal(t, len(s.members), exits, "TaskExits")
}

// flat wants that nothing has grown.
func (s *soak) flat(t *testing.T, before, after usage) {
	t.Helper()
	faultkit.Keep(t, fmt.Sprintf("soak-usage driver=%s shim=%s before: %s after: %s", s.n.driver, s.n.shim, before, after))
	if s.n.shim == "stock" {
		return
	}
	assert.Equal(t, before.pins, after.pins, "pins of the ledger")
	assert.Equal(t, before.bundles, after.bundles, "bundles")
	assert.Equal(t, before.mounts, after.mounts, "mounts")
	for i, b := range before.shims {
		a := after.shims[i]
		assert.LessOrEqual(t, len(a.fds), len(b.fds)+2, "descriptors of shim %d:\n%s\nbefore:\n%s", a.pid,
			strings.Join(a.fds, "\n"), strings.Join(b.fds, "\n"))
		assert.LessOrEqual(t, a.pidfds, maxPidfds, "pidfds of shim %d", a.pid)
		assert.LessOrEqual(t, a.goroutines, b.goroutines+2, "goroutines of shim %d", a.pid)
		assert.LessOrEqual(t, a.rss, b.rss+rssGrowth, "memory of shim %d, KiB", a.pid)
	}
}
