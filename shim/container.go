//go:build linux

package shim

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	"github.com/containerd/containerd/v2/pkg/stdio"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
	"github.com/oomwitness/oomwitness/shim/internal/delivery"
	"github.com/oomwitness/oomwitness/shim/internal/exit"
	"github.com/oomwitness/oomwitness/shim/internal/policy"
)

// container is one run of a container, from Create until its bundle is removed. The
// order of its events, and what a caller may see of its exit, is the loop's business;
// what they say is here.
type container struct {
	s      *Service
	id     string
	bundle string
	policy policy.Policy
	pod    *exits.Pod  // nil outside CRI
	stdio  stdio.Stdio // as Create asked for
	loop   *exit.Loop

	// armed is closed when the probes are in place, or could not be had.
	armed func()
	ready <-chan struct{}
	// settled is closed when the verdict and the last metrics are there.
	settled chan struct{}

	mu            *sync.Mutex // the Service's; guards what follows
	pid           int         // 0 until init exists
	startTicks    uint64      // when init began, as in /proc/PID/stat; 0 where it can't be read
	probes        []oom.Probe
	checkpointers map[string]oom.Checkpointer // those of the probes that can be, by source
	evidence      []oom.Evidence              // of the newest reading, best first
	stops         []*stop
	exit          *oom.Exit   // nil while init runs
	verdict       oom.Verdict // without a rule until it is known
	endGroup      func()      // ends the oom.group enforcement; nil where there is none
	following     bool        // a goroutine follows up OOM notifications
	notified      bool        // there is one that it has not followed up
	stats         typeurl.Any // the newest reading of the cgroup's metrics, at statsAt
	statsAt       time.Time
	answer        *taskAPI.DeleteResponse // upstream's, nil before the removal

	stopsUnanswered sync.WaitGroup // stops that the runtime has not answered yet

	// The checkpoint writer's own.
	recorder    *bundle.Recorder
	checkpoints map[string]json.RawMessage

	// The loop's own.
	deletion *deletion      // the newest
	sending  *delivery.Item // the newest

	deleted  atomic.Bool  // nothing is to be recorded any more
	waitsFor atomic.Value // what the verdict waits for, a string
}

// stop is a signal on its way to init, or one that has been sent.
type stop struct {
	oom.Stop
	sent bool
}

// newContainer returns a container that the current containerd instance creates.
func (s *Service) newContainer(id, dir string, p policy.Policy) *container {
	ready := make(chan struct{})
	c := &container{
		s: s, mu: &s.mu, id: id, bundle: dir, policy: p,
		ready: ready, armed: sync.OnceFunc(func() { close(ready) }),
		settled:     make(chan struct{}),
		recorder:    bundle.NewRecorder(dir),
		checkpoints: make(map[string]json.RawMessage),
	}
	c.loop = exit.NewLoop(exit.New(s.instance(), p.Waited), s.cfg.HoldTimeout, effects{c})
	return c
}

// arm takes the baselines of all sources. Sources that fail are left out, and their
// errors returned.
//
// Preconditions: init exists and has not been reaped.
func (c *container) arm(pid int, sources []oom.Source) error {
	var errs []error
	var probes []oom.Probe
	checkpointers := make(map[string]oom.Checkpointer, len(sources))
	for _, s := range sources {
		p, err := s.Arm(oom.Target{ID: c.id, Pid: pid, Pod: c.policy.Pod})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		probes = append(probes, p)
		if k, ok := p.(oom.Checkpointer); ok {
			checkpointers[s.Name()] = k
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probes, c.checkpointers = probes, checkpointers
	c.armed()
	return errors.Join(errs...)
}

// armedProbes returns the probes of the sources that could be armed.
func (c *container) armedProbes() []oom.Probe {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.probes
}

// execed passes an exec'd process on to the probes: see oom.ExecWatcher.
func (c *container) execed(pid uint32, bootNS uint64, ended bool) {
	for _, p := range c.armedProbes() {
		if w, ok := p.(oom.ExecWatcher); ok {
			w.Execed(int(pid), bootNS, ended)
		}
	}
}

// collect reads all sources and ranks their evidence.
func (c *container) collect() (all []oom.Evidence, dispute string, err error) {
	all, dispute, err = oom.Collect(c.armedProbes())
	c.mu.Lock()
	c.evidence = all
	c.mu.Unlock()
	return all, dispute, err
}

// kills returns what the best source counts.
func kills(evidence []oom.Evidence) uint64 {
	if len(evidence) == 0 {
		return 0
	}
	return evidence[0].Kills
}

// lastEvidence returns the evidence of the newest reading.
func (c *container) lastEvidence() []oom.Evidence {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.evidence)
}

// askStop notes a signal that is about to be sent to init, and returns the function
// that must be called with the runtime's answer: a signal that could not be sent stopped
// nothing. It returns nil for one that changes nothing.
func (c *container) askStop(signal unix.Signal) func(sent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// OOM notifications keep the evidence fresh. A reading of its own might hang, and the
	// signal with it.
	s := &stop{Stop: oom.Stop{
		Signal: signal, Kills: kills(c.evidence), At: time.Now(), Declared: c.policy.Stops(signal),
	}}
	repeated := func(o *stop) bool { return o.sent && o.Signal == signal }
	if c.exit != nil || slices.ContainsFunc(c.stops, repeated) {
		return nil
	}
	c.stops = append(c.stops, s)
	c.stopsUnanswered.Add(1)
	return func(sent bool) {
		defer c.stopsUnanswered.Done()
		c.mu.Lock()
		defer c.mu.Unlock()
		if sent && !slices.ContainsFunc(c.stops, repeated) {
			s.sent = true
			return
		}
		c.stops = slices.DeleteFunc(c.stops, func(o *stop) bool { return o == s })
	}
}

// stopsLocked returns the signals that containerd asked for, in their order.
func (c *container) stopsLocked() (all []oom.Stop) {
	for _, s := range c.stops {
		all = append(all, s.Stop)
	}
	return all
}

// is reports whether a condition of the State holds.
func (c *container) is(holds func(*exit.State) bool) (is bool) {
	c.loop.Do(func(st *exit.State) { is = holds(st) })
	return is
}

// exitKnown returns init's end, nil while it is not known.
func (c *container) exitKnown() *oom.Exit {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exit
}

// mayBeInit reports whether pid is this container's init, or may be because it has none
// yet: upstream publishes the exit of a short-lived init from inside Create.
func (c *container) mayBeInit(pid int) bool {
	init := c.initPid()
	return init == 0 || init == pid
}

// initPid returns init's pid, or 0 while there is none.
func (c *container) initPid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid
}

// status returns the exit status to report in the place of the true one.
func (c *container) status(status uint32, oomStatus bool) uint32 {
	return uint32(policy.ReportedStatus(int(status), c.policy.ExitCode, oomStatus))
}

// ended returns the status and the time to report of an exit that is known: after the
// removal those of upstream's answer, which has none for a container that was never
// started.
func (c *container) ended(oomStatus bool) (status uint32, at *timestamppb.Timestamp) {
	c.mu.Lock()
	e, answer := c.exit, c.answer
	c.mu.Unlock()
	if answer != nil && answer.ExitedAt.AsTime().IsZero() {
		return answer.ExitStatus, answer.ExitedAt
	}
	return c.status(uint32(e.Status), oomStatus), protobuf.ToTimestamp(e.At)
}

// close releases the probes, and ends the oom.group enforcement. A verdict that still
// waits for the probes to be armed goes on without them.
func (c *container) close() error {
	c.mu.Lock()
	c.armed()
	probes, endGroup := c.probes, c.endGroup
	c.mu.Unlock()
	if endGroup != nil {
		endGroup()
	}
	c.recorder.Close()
	var errs []error
	for _, p := range probes {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
