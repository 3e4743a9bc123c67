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

	"github.com/oomwitness/oomwitness/agent/agenttest"
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

// allCounted returns an error until all kills in the pods are in the log with their
// names, each once, and all in the log are in the metrics.
func (s *soak) allCounted(ctx context.Context) error {
	type process struct {
		pid   uint32
		start uint64
	}
	seen := map[process]int{}
	all := 0
	for _, line := range s.agent.Lines() {
		all += len(line.Victims)
		for _, v := range line.Victims {
			if ofSoak(&v) {
				seen[process{v.PID, v.StartTicks}]++
			}
		}
	}
	for p, n := range seen {
		if n > 1 {
			return fmt.Errorf("process %d is reported %d times", p.pid, n)
		}
	}
	if want := int(s.killed.Load()); len(seen) != want {
		return fmt.Errorf("%d of %d are named", len(seen), want)
	}
	body, err := agent.Get(ctx, "/metrics")
	if err != nil {
		return err
	}
	victims, err := agent.Sum(body, "oomwitness_oom_victims_total")
	if err == nil && int(victims) != all {
		err = fmt.Errorf("%v victims counted of %d", victims, all)
	}
	return err
}

// allReported returns an error until all kills are in Events on the pods, none twice. A
// flood of kills by others on this machine fills the queue: what it had no room for
// is counted.
func (s *soak) allReported(t *testing.T, plane *controlplane.Plane) error {
	full, err := agent.Metric(t.Context(), "oomwitness_events_total", `stage="skipped"`, `reason="queue_full"`)
	if err != nil {
		return err
	}
	reported, _, err := eventCounts(t.Context(), plane)
	killed := int(s.killed.Load())
	require.LessOrEqual(t, reported, killed)
	if err == nil && reported+int(full) < killed {
		err = fmt.Errorf("%d of %d, and %v had no room", reported, killed, full)
	}
	return err
}

// ofSoak reports whether a victim has all of its names: others are killed on this
// machine as well.
func ofSoak(v *agenttest.Victim) bool {
	return v.Pod != nil && strings.HasPrefix(v.Pod.Name, "soak-") && v.Container != nil && v.Container.Name == "app"
}

// judge prints the soak's line, and says what is too much.
func (s *soak) judge(t *testing.T, lasted time.Duration, cpu, disk float64) {
	t.Helper()
	steady := lasted >= warmUp+leastSteady
	from := time.Duration(0)
	if steady {
		from = warmUp
	}
	own, ownEnd := around(s.samples, from, func(s sample) int { return s.own })
	fds, fdsEnd := around(s.samples, 0, func(s sample) int { return s.fds })
	goroutines, goroutinesEnd := around(s.samples, 0, func(s sample) int { return s.goroutines })
	cgroups, cgroupsEnd := around(s.samples, from, func(s sample) int { return s.cgroups })
	watched, watchedEnd := around(s.samples, 0, func(s sample) int { return s.watched })
	last := s.samples[len(s.samples)-1]
	t.Logf("metric=agent-soak seconds=%.0f steady=%t alive=%d pods=%d kills=%d anon_kib_first=%d anon_kib_last=%d anon_kib_peak=%d "+
		"goroutines=%d..%d fds=%d..%d cgroups=%d..%d watched=%d..%d series=%d cpu_percent=%.2f disk_kib_per_s=%.2f",
		lasted.Seconds(), steady, soakPods, s.made.Load(), s.killed.Load(), own, ownEnd, s.peak,
		goroutines, goroutinesEnd, fds, fdsEnd, cgroups, cgroupsEnd, watched, watchedEnd, last.series, cpu, disk)
	require.NotZero(t, s.killed.Load())
	require.Greater(t, int(s.made.Load()), soakPods+int(lasted.Seconds()), "pods made, one a second at least")
	require.LessOrEqual(t, s.peak, maxResident, "KiB of its own")
	require.LessOrEqual(t, fdsEnd, fds+mayOpen, "open files")
	require.LessOrEqual(t, goroutinesEnd, goroutines+mayRun, "goroutines")
	require.LessOrEqual(t, watchedEnd, watched+watched/10, "cgroups watched")
	if steady {
		require.LessOrEqual(t, ownEnd, own+mayGrow, "KiB of its own, after the first minutes")
		require.LessOrEqual(t, cgroupsEnd, cgroups+cgroups/10, "cgroups known, after the first minutes")
	}
}
