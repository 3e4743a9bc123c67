//go:build linux

package shim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/runc"
	"github.com/containerd/containerd/v2/core/runtime"
	upstream "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
	"github.com/oomwitness/oomwitness/shim/internal/delivery"
	"github.com/oomwitness/oomwitness/shim/internal/exit"
	"github.com/oomwitness/oomwitness/shim/internal/policy"
	"github.com/oomwitness/oomwitness/shim/internal/process"
)

// ttrpcAddressEnv names the environment variable in which containerd gives a
// shim the address of its events endpoint.
const ttrpcAddressEnv = "TTRPC_ADDRESS"

const (
	// containerd returns the removal of a dead shim's container 5 s in all
	// (core/runtime/v2/shim.go, cleanupTimeout), runc's part included.
	deadTimeout = 3 * time.Second
	// evidenceTimeout is for the evidence: what can't be read by then is done without.
	evidenceTimeout = time.Second

	statusUnknown = 128 + int(unix.SIGKILL) // upstream's, where none was recorded
)

// dead is a container whose shim has died. The process that
// removes the container reports the exit.
type dead struct {
	ctx     context.Context
	id      string
	bundle  string
	cfg     config.Config
	sources func() []oom.Source
	client  delivery.Client
	counts  *counters
	begun   time.Time
	// reachable reports whether a containerd accepts events. deferPublish starts a
	// deferred publisher, which publishes an event after this process has ended.
	reachable    func() bool
	deferPublish func(*types.Envelope) error
}

// last is the exit of a dead shim's container, as it is reported.
type last struct {
	exit    oom.Exit
	verdict oom.Verdict
	// better is true if exit is more than upstream can know.
	better bool
	// code is the reported status of an OOM, unless trueStatus is set.
	code       int
	trueStatus bool
	// due is the TaskOOM, nil where none is, and acked gets nil when containerd has
	// acked it.
	due   *types.Envelope
	acked <-chan error
	close func() error
}

// Stop removes what a dead shim has left of a container and returns its exit, as
// upstream does. Before anything is removed, Stop reads the record and collects
// the evidence; containerd has the TaskOOM before it has the exit.
//
// containerd comes here after each Delete too, and waits for it before it removes
// the bundle. A shim that still runs, as a pod's shim does until its last container is
// deleted, has reported everything already.
func (m Manager) Stop(ctx context.Context, id string) (upstream.StopStatus, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return upstream.StopStatus{}, err
	}
	cfg, _ := config.Load(config.Path()) // defaults, where it does not hold
	address := os.Getenv(ttrpcAddressEnv)
	d := &dead{
		ctx: ctx, id: id, bundle: filepath.Join(filepath.Dir(cwd), id), cfg: cfg,
		sources: func() []oom.Source { return Sources(ctx) }, client: delivery.NewClient(address),
		counts: new(counters), begun: time.Now(),
		reachable: func() bool { return upstream.CanConnect(address) }, deferPublish: startDeferredPublisher,
	}
	return d.stop(m.Shim.Stop)
}

// stop does the work of Stop, around upstream's Stop.
func (d *dead) stop(remove func(context.Context, string) (upstream.StopStatus, error)) (upstream.StopStatus, error) {
	if shimAnswers(d.bundle) {
		return d.removeLiving(remove)
	}
	l, err := d.last()
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // else it was never created, or not by us
		log.G(d.ctx).WithError(err).WithField("container", d.id).Warn("dead shim: the record cannot be read, no OOM can be reported")
	}
	faultPoint("collected")
	status, rerr := remove(d.ctx, d.id)
	faultPoint("removed")
	d.wait(l)
	removeSocket(d.bundle)
	if rerr != nil || l == nil {
		return status, rerr
	}
	if l.better {
		status = upstream.StopStatus{Pid: l.exit.Pid, ExitStatus: l.exit.Status, ExitedAt: l.exit.At}
	}
	status.ExitStatus = policy.ReportedStatus(status.ExitStatus, l.code, l.verdict.OOMKilled && !l.trueStatus)
	return status, nil
}

// removeLiving removes a container whose shim still runs, and returns the
// reported status that the shim has recorded.
func (d *dead) removeLiving(remove func(context.Context, string) (upstream.StopStatus, error)) (upstream.StopStatus, error) {
	rec, rerr := bundle.ReadRecord(d.bundle)
	status, err := remove(d.ctx, d.id)
	if err == nil && rerr == nil && rec.ID == d.id && rec.Verdict != nil {
		status.ExitStatus = policy.ReportedStatus(status.ExitStatus, rec.OOMExitCode, rec.Verdict.OOMKilled && !rec.TrueStatus)
	}
	return status, err
}

// last finds out what became of the container, and begins to publish a TaskOOM that is due.
func (d *dead) last() (*last, error) {
	rec, err := bundle.ReadRecord(d.bundle)
	if err != nil {
		return nil, err
	}
	if rec.ID != d.id {
		return nil, fmt.Errorf("the record in %s is of %q", d.bundle, rec.ID)
	}
	l := &last{code: rec.OOMExitCode, trueStatus: rec.TrueStatus}
	recorded := d.exit(rec, l)
	decided := rec.Verdict == nil
	if decided {
		d.decide(rec, l, recorded)
		// containerd asks again where this process is killed: by then the cgroup
		// may be gone.
		rec = rec.Ended(l.exit)
		rec.Verdict = &l.verdict
		if err := bundle.WriteRecord(d.bundle, rec); err != nil {
			log.G(d.ctx).WithError(err).Warn("dead shim: record not written")
		}
	} else {
		l.verdict = *rec.Verdict
	}
	if err := endInit(rec); err != nil {
		log.G(d.ctx).WithError(err).WithField("container", d.id).Warn("dead shim: init could not be killed before it is removed")
	}
	due := exit.Record{Decided: true, OOM: l.verdict.OOMKilled, Acked: rec.Delivered}.Due()
	if due || decided {
		reported := policy.ReportedStatus(l.exit.Status, l.code, l.verdict.OOMKilled && !l.trueStatus)
		logVerdict(d.ctx, d.id, l.exit, l.verdict, rec.Delivered, reported)
	}
	if !due {
		return l, nil
	}
	env, err := envelope(d.ctx, runtime.TaskOOMEventTopic, &eventsapi.TaskOOM{ContainerID: d.id})
	if err != nil {
		return l, fmt.Errorf("encode TaskOOM: %w", err)
	}
	q := delivery.NewQueue(d.ctx, d.client, d.counts.add)
	it := &delivery.Item{Envelope: env, Done: make(chan error, 1)}
	q.Push(d.id, it)
	l.due, l.acked, l.close = env, it.Done, q.Close
	return l, nil
}

// decide is for a shim that died before its verdict. Of the exit it knows, best
// first: what was recorded; that init still runs, and is about to be killed;
// that it is gone, and how is anybody's guess but the evidence's.
func (d *dead) decide(rec bundle.Record, l *last, recorded bool) {
	boot := rec.Boot == bundle.BootID()
	alive := boot && process.Running(rec.Pid, rec.StartTicks)
	c := oom.Case{Stops: rec.Stops, Grace: d.cfg.Grace}
	if boot { // else pids and cgroups are others' by now
		c.Evidence = d.collect(rec)
	}
	if c.Exit = l.exit; !recorded {
		c.Exit = oom.Exit{Pid: rec.Pid, Status: statusUnknown, At: time.Now()}
		victim := len(c.Evidence) > 0 && c.Evidence[0].Init == oom.Yes
		switch {
		case victim: // it died when it was killed
			c.Exit.At, l.better = c.Evidence[0].Last, true
		case alive: // removing it is a stop like any other
			c.Stops = append(slices.Clone(c.Stops), oom.Stop{Signal: unix.SIGKILL})
		}
	}
	l.exit, l.verdict = c.Exit, oom.Decide(c)
}

// exit finds the recorded exit. Our record goes before upstream's: its time is
// what all other API paths have reported.
func (d *dead) exit(rec bundle.Record, l *last) (recorded bool) {
	if l.exit, l.better = rec.Exit(); l.better {
		return true
	}
	e, err := runc.ReadExitStatus(d.bundle)
	if err != nil || e.Pid != rec.Pid {
		return false
	}
	l.exit = exitOf(e)
	return true
}

// collect reads the evidence from where the dead shim's baselines are.
func (d *dead) collect(rec bundle.Record) []oom.Evidence {
	var probes []oom.Probe
	for _, s := range d.sources() {
		checkpointed, ok := rec.Probes[s.Name()]
		if !ok {
			continue
		}
		resumer, ok := s.(oom.Resumer)
		if !ok {
			continue
		}
		p, err := resumer.Resume(checkpointed)
		if err != nil {
			log.G(d.ctx).WithError(err).WithField("container", d.id).Warn("dead shim: a source of evidence can't be had")
			continue
		}
		probes = append(probes, p)
	}
	found := make(chan []oom.Evidence, 1)
	go func() {
		all, err := collect(probes)
		if err != nil && len(all.evidence) > 0 && all.evidence[0].Gone {
			log.G(d.ctx).WithError(err).WithField("container", d.id).Info("dead shim: evidence is missing")
		}
		found <- all.evidence
	}()
	select {
	case all := <-found:
		return all
	case <-time.After(evidenceTimeout):
		log.G(d.ctx).WithField("container", d.id).Warn("dead shim: the evidence could not be read within the hold timeout")
		return nil
	}
}

// wait waits until containerd has the TaskOOM, within what is left of the time
// that containerd gives. A containerd that is starting accepts no event before this process has
// ended.
func (d *dead) wait(l *last) {
	if l == nil || l.due == nil {
		return
	}
	left := time.Duration(0)
	if d.reachable() {
		left = min(d.cfg.HoldTimeout, deadTimeout) - time.Since(d.begun)
	}
	var err error
	select {
	case err = <-l.acked:
	case <-time.After(left):
		err = context.DeadlineExceeded
	}
	_ = l.close()
	select {
	case err = <-l.acked: // at the last moment
	default:
	}
	if err == nil {
		return
	}
	entry := log.G(d.ctx).WithField("container", d.id)
	if err := d.deferPublish(l.due); err != nil {
		entry.WithError(err).Error("dead shim: containerd did not ack the TaskOOM, and no deferred publisher could be started")
		return
	}
	entry.Warn("dead shim: containerd did not ack the TaskOOM yet: a deferred publisher waits for it")
}
