//go:build linux

package shim

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/pkg/stdio"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

// run is one run of a container, from Create to Delete. A container ID that is
// used again gets a new one.
type run struct {
	id          string
	bundle      string
	policy      policy
	holdTimeout time.Duration
	stdio       stdio.Stdio // as Create asked for

	// armed is closed when the probes are in place, or could not be had.
	armed chan struct{}
	// released is closed when the exit gate has passed: the exit may be seen.
	released chan struct{}
	// settled is closed when the exit gate has done all, what comes after that too.
	settled chan struct{}
	// exitAcked is closed when containerd has acked the TaskExit.
	exitAcked chan struct{}

	mu              sync.Mutex // guards what follows
	pid             int        // 0 until init exists
	probes          []oom.Probe
	checkpointers   map[string]oom.Checkpointer // those of the probes that can be, by source
	evidence        []oom.Evidence              // of the newest reading, best first
	stops           []*stop
	stopsUnanswered sync.WaitGroup // stops that the runtime has not answered yet
	exit            *oom.Exit      // nil while init runs
	verdict         oom.Verdict    // set before released is closed, unless the hold timeout has passed
	trueStatus      bool           // the true status is reported whatever the verdict: one came too late
	following       bool           // a goroutine follows up OOM notifications
	notified        bool           // there is one that it has not followed up
	oom             *item          // the newest TaskOOM
	reportedKills   uint64         // kills that TaskOOMs stand for, or allKills
	stats           typeurl.Any    // the newest reading of the cgroup's metrics, at statsAt
	statsAt         time.Time
	step            string // what the exit gate waits for
	releasedAt      time.Time
	subscription    subscription
	delivered       bool      // oom was acked by an instance that was subscribed
	deletion        *deletion // nil where none is under way, or done
	// startTicks is when init began, as in /proc/PID/stat; 0 where it can't be read.
	startTicks uint64

	checkpointing sync.Mutex // held while the record is written, before mu; guards what follows
	checkpoints   map[string]json.RawMessage
	deleted       bool // nothing is to be recorded any more
}

// stop is a signal on its way to init, or one that has been sent.
type stop struct {
	oom.Stop
	sent bool
}

func newRun(id, bundle string, p policy, timeout time.Duration) *run {
	return &run{
		id: id, bundle: bundle, policy: p, holdTimeout: timeout,
		armed:       make(chan struct{}),
		released:    make(chan struct{}),
		settled:     make(chan struct{}),
		exitAcked:   make(chan struct{}),
		checkpoints: make(map[string]json.RawMessage),
	}
}

// arm takes the baselines of all sources. Sources that fail are left out, and
// their errors returned.
//
// Preconditions: init exists and has not been reaped.
func (r *run) arm(pid int, sources []oom.Source) error {
	var errs []error
	var probes []oom.Probe
	checkpointers := make(map[string]oom.Checkpointer, len(sources))
	for _, s := range sources {
		p, err := s.Arm(oom.Target{ID: r.id, Pid: pid, Pod: r.policy.pod})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		probes = append(probes, p)
		if k, ok := p.(oom.Checkpointer); ok {
			checkpointers[s.Name()] = k
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.probes, r.checkpointers = probes, checkpointers
	if !opened(r.armed) {
		close(r.armed)
	}
	return errors.Join(errs...)
}

// hasProbes reports whether any source could be armed.
func (r *run) hasProbes() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.probes) > 0
}

// release lets the exit be seen.
func (r *run) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !opened(r.released) {
		r.releasedAt = time.Now()
		close(r.released)
	}
}

// reach notes what the exit gate waits for next, and reached returns it.
func (r *run) reach(step string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.step = step
}

func (r *run) reached() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.step
}

// collect reads all sources, ranks the evidence and stores the result. The best source is
// read last, as oom.Rank wants it.
func (r *run) collect() (collected, error) {
	r.mu.Lock()
	probes := r.probes
	r.mu.Unlock()
	readings := make([]oom.Reading, len(probes))
	var errs []error
	for i, p := range slices.Backward(probes) {
		ev, err := p.Read()
		readings[i] = oom.Reading{Evidence: ev, Err: err}
		errs = append(errs, err)
	}
	all, dispute := oom.Rank(readings)
	r.mu.Lock()
	r.evidence = all
	r.mu.Unlock()
	return collected{all, dispute}, errors.Join(errs...)
}

// collected is the result of collect.
type collected struct {
	evidence []oom.Evidence // best first
	dispute  string         // what the sources disagree about
}

// kills is what the best source counts.
func (l collected) kills() uint64 { return kills(l.evidence) }

func kills(evidence []oom.Evidence) uint64 {
	if len(evidence) == 0 {
		return 0
	}
	return evidence[0].Kills
}

// lastEvidence returns the evidence of the newest reading.
func (r *run) lastEvidence() []oom.Evidence {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.evidence)
}

// askStop notes a signal that is about to be sent to init, and returns the
// function that must be called with the runtime's answer: a signal that could
// not be sent stopped nothing. It returns nil for one that changes nothing.
func (r *run) askStop(signal unix.Signal) func(sent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// OOM notifications update r.evidence. Reading the sources here might hang, and delay
	// the signal.
	s := &stop{Stop: oom.Stop{Signal: signal, Kills: kills(r.evidence)}}
	again := func(o *stop) bool { return o.sent && o.Signal == signal }
	if r.exit != nil || slices.ContainsFunc(r.stops, again) {
		return nil
	}
	r.stops = append(r.stops, s)
	r.stopsUnanswered.Add(1)
	return func(sent bool) {
		defer r.stopsUnanswered.Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		if sent && !slices.ContainsFunc(r.stops, again) {
			s.sent = true
			return
		}
		r.stops = slices.DeleteFunc(r.stops, func(o *stop) bool { return o == s })
	}
}

// remove notes that the container was deleted.
func (r *run) remove() {
	r.checkpointing.Lock()
	defer r.checkpointing.Unlock()
	r.deleted = true
}

// asked returns the signals that containerd asked for, in their order.
func (r *run) asked() []oom.Stop {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]oom.Stop, len(r.stops))
	for i, s := range r.stops {
		out[i] = s.Stop
	}
	return out
}

// setExit records init's end, and returns false if that was done before.
func (r *run) setExit(e oom.Exit) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.exit != nil {
		return false
	}
	r.exit = &e
	return true
}

// exited reports whether init's end is known.
func (r *run) exited() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.exit != nil
}

// mayBeInit reports whether pid is this run's init, or may be because the run has
// none yet: upstream publishes the exit of a short-lived init from inside
// Create.
func (r *run) mayBeInit(pid int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pid == 0 || r.pid == pid
}

// initPid returns init's pid, or 0 while there is none.
func (r *run) initPid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pid
}

// close releases the probes. An exit gate that still waits for them to be armed
// goes on without.
func (r *run) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !opened(r.armed) {
		close(r.armed)
	}
	var errs []error
	for _, p := range r.probes {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
