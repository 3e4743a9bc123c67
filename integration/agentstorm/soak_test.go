//go:build linux

package agentstorm

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/agent"
	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/shimtest"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

const (
	soakPods = 250
	// Two workers each replace a pod in replaceEvery, and have the OOM killer in one
	// of killedOf first; another kills in pods that stay each killEvery.
	replaceWorkers = 2
	replaceEvery   = 400 * time.Millisecond
	killedOf       = 5
	killEvery      = 500 * time.Millisecond
	// readEvery is how often metrics, page and API are read, sampleEvery how often
	// the process is looked at.
	readEvery, sampleEvery = 5 * time.Second, time.Second

	// warmUp is when all that the agent keeps of pods that are gone has been replaced
	// once: ten minutes, and the minute in which it looks.
	warmUp = 11 * time.Minute
	// leastSteady is how long the rest has to be for its thirds to say something.
	leastSteady = 6 * time.Minute
	// mayGrow is what the medians of two thirds may differ by, KiB: what is bounded by
	// number fills slower than by time (8,192 victims that were seen, 4,096 pods that
	// Events went to), and a collection comes when it comes.
	mayGrow = 1 << 10
	// eventsLive is how long the API server keeps an Event, less what the end takes.
	eventsLive = 50 * time.Minute
	// Connections come and go.
	mayOpen, mayRun = 4, 16
)

// soak is a node on which pods come and go.
type soak struct {
	pods   *podSet
	agent  *agent.Process
	alive  chan testPod // oldest first, but those that a worker has
	made   atomic.Int64
	killed atomic.Int64

	samples []sample // of one goroutine
	peak    int      // memory in all of them and all between, KiB
}

// TestSoak runs the agent for AGENT_SOAK seconds on a node of 250 pods, of which
// some five a second are replaced and some three a second hit by the OOM killer,
// while somebody reads metrics and page. It stays small, and once it knows ten
// minutes of such a node, it does not grow; each kill is reported once, with its names.
func TestSoak(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to load BPF programs and make cgroups")
	}
	length := time.Duration(counts.FromEnv(t, "AGENT_SOAK", 20)) * time.Second
	program, pins := shimtest.Command(t), loaded(t)
	plane := controlplane.Start(t)
	s := &soak{pods: newPods(t, plane), alive: make(chan testPod, soakPods)}
	for range soakPods {
		require.NoError(t, s.addOne(t.Context()))
	}
	var err error
	s.agent, err = agent.Start(t.Context(), agent.Options{
		Program: program, Kubeconfig: plane.Kubeconfig, Node: nodeName, State: t.TempDir(), Flags: append(pins, "--address", "", "--kubelet-cgroup-root", cgroupRoot),
	})
	require.NoError(t, err)
	require.NoError(t, faultkit.Until(t.Context(), "the agent to know its node", func() error { return knows(t.Context(), soakPods) }))
	cpu, began := shimtest.CPUTime(t, s.agent.PID()), time.Now()
	written := s.written(t)
	s.run(t, length)
	written = s.written(t) - written
	lasted := time.Since(began)
	used := 100 * (shimtest.CPUTime(t, s.agent.PID()) - cpu).Seconds() / lasted.Seconds()
	s.judge(t, lasted, used, float64(written)/1024/lasted.Seconds())
	require.NoError(t, faultkit.Until(t.Context(), "all kills to be counted", func() error { return s.allCounted(t.Context()) }))
	if lasted < eventsLive {
		require.NoError(t, faultkit.Until(t.Context(), "all kills to be reported", func() error { return s.allReported(t, plane) }))
	}
	require.NoError(t, s.agent.End(syscall.SIGTERM))
}

// run has the workers work for so long.
func (s *soak) run(t *testing.T, length time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var work sync.WaitGroup
	for range replaceWorkers {
		work.Go(func() {
			n := 0
			every(ctx, replaceEvery, func() {
				n++
				if err := s.replaceOne(t, n%killedOf == 0); err != nil {
					t.Errorf("replace a pod: %v", err)
					cancel()
				}
			})
		})
	}
	work.Go(func() {
		every(ctx, killEvery, func() {
			p := <-s.alive
			s.killIn(t, p)
			s.alive <- p
		})
	})
	began, read := time.Now(), time.Time{}
	every(ctx, sampleEvery, func() {
		now := sample{}
		if len(s.samples) > 0 {
			now = s.samples[len(s.samples)-1]
		}
		now.at = time.Since(began)
		if time.Since(read) >= readEvery {
			read = time.Now()
			require.NoError(t, s.read(t.Context(), &now))
		}
		_, now.own = resident(t, s.agent.PID())
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.agent.PID()))
		require.NoError(t, err)
		now.fds, s.peak = len(fds), max(s.peak, now.own)
		s.samples = append(s.samples, now)
	})
	work.Wait()
}

// written is what the agent has written to the disk so far, bytes: proc(5), io.
func (s *soak) written(t *testing.T) (bytes int) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", s.agent.PID()))
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(data), "\nwrite_bytes:")
	require.True(t, ok)
	_, err = fmt.Sscan(rest, &bytes)
	require.NoError(t, err)
	return bytes
}

// every calls f in turns until ctx ends.
func every(ctx context.Context, d time.Duration, f func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f()
		case <-ctx.Done():
			return
		}
	}
}

func (s *soak) addOne(ctx context.Context) error {
	p, err := s.pods.add(ctx, fmt.Sprintf("soak-%06d", s.made.Add(1)))
	if err == nil {
		s.alive <- p
	}
	return err
}

// replaceOne removes the oldest pod, right after a kill in it if so asked.
func (s *soak) replaceOne(t *testing.T, kill bool) error {
	p := <-s.alive
	if kill {
		s.killIn(t, p)
	}
	if err := s.pods.remove(t.Context(), p); err != nil {
		return err
	}
	return s.addOne(t.Context())
}

func (s *soak) killIn(t *testing.T, p testPod) {
	if oomtest.KillSmallIn(t, p.container) != 0 {
		s.killed.Add(1)
	}
}

// read reads what people and Prometheus read.
func (s *soak) read(ctx context.Context, into *sample) error {
	for _, path := range []string{"/", "/api/v1/events"} {
		if _, err := agent.Get(ctx, path); err != nil {
			return err
		}
	}
	body, err := agent.Get(ctx, "/metrics")
	if err != nil {
		return err
	}
	for name, to := range map[string]*int{
		"go_goroutines": &into.goroutines, "oomwitness_cgroups": &into.cgroups,
		"oomwitness_cgroups_watched": &into.watched, "oomwitness_oom_kills_series": &into.series,
	} {
		n, err := agent.Sum(body, name)
		if err != nil {
			return err
		}
		*to = int(n)
	}
	return nil
}
