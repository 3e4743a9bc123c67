//go:build linux

// Package deadshim removes the container of a shim that has died, and reports how the
// container has ended: what the shim could not report any more.
package deadshim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/runc"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	upstream "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
	"github.com/oomwitness/oomwitness/shim/internal/delivery"
	"github.com/oomwitness/oomwitness/shim/internal/exit"
	"github.com/oomwitness/oomwitness/shim/internal/faultpoint"
	"github.com/oomwitness/oomwitness/shim/internal/policy"
)

const (
	// timeout is for all of Run. containerd gives the removal of a dead shim's container
	// 5 s (core/runtime/v2/shim.go, cleanupTimeout), runc's part included.
	timeout = 3 * time.Second
	// evidenceTimeout is for the evidence: what can't be read by then is done without.
	evidenceTimeout = time.Second

	statusUnknown = 128 + int(unix.SIGKILL) // upstream's, where none was recorded
)

// Removal is the removal of a container whose shim may have died.
type Removal struct {
	ID      string
	Bundle  string // its path
	Config  config.Config
	Sources func() []oom.Source
	Client  delivery.Client
	Count   func(what string) (total uint64)
	// Reachable reports whether a containerd accepts events.
	Reachable func() bool
	// Spool is the folder of the node's finished exits, "" for none.
	Spool string
	// Defer has a TaskOOM published when this process has ended: [StartPublisher].
	Defer deferFunc
}

// last is the exit of a dead shim's container.
type last struct {
	exit oom.Exit
	rec  bundle.Record // with the verdict
	// better is true if exit is more than upstream can know.
	better bool
	due    *publication // nil where no ack of a TaskOOM is to be awaited
}

// remove is upstream's part.
type remove func(ctx context.Context, id string) (upstream.StopStatus, error)

// Run removes what is left of the container and returns its exit, as upstream does.
// Before anything is removed, Run reads the record and collects the evidence; containerd
// has the TaskOOM before it has the exit.
//
// A shim that still runs, as a pod's shim does until its last container is deleted, has
// reported everything already.
func (r *Removal) Run(ctx context.Context, remove remove) (upstream.StopStatus, error) {
	begun := time.Now()
	if shimAnswers(r.Bundle) {
		return r.removeLiving(ctx, remove)
	}
	l, err := r.find(ctx)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // else it was never created, or not by us
		r.log(ctx).WithError(err).Warn("dead shim: the record cannot be read, no OOM can be reported")
	}
	faultpoint.Reach("collected")
	status, rerr := remove(ctx, r.ID)
	faultpoint.Reach("removed")
	if l != nil && l.due != nil {
		r.await(l.due, begun)
	}
	removeSocket(r.Bundle)
	if rerr != nil || l == nil {
		return status, rerr
	}
	if l.better {
		status = upstream.StopStatus{Pid: l.exit.Pid, ExitStatus: l.exit.Status, ExitedAt: l.exit.At}
	}
	status.ExitStatus = reported(status.ExitStatus, l.rec)
	return status, nil
}

// removeLiving removes a container whose shim still runs, and returns the
// reported status that the shim has recorded.
func (r *Removal) removeLiving(ctx context.Context, remove remove) (upstream.StopStatus, error) {
	rec, rerr := bundle.ReadRecord(r.Bundle)
	status, err := remove(ctx, r.ID)
	if err == nil && rerr == nil && rec.ID == r.ID && rec.Verdict != nil {
		status.ExitStatus = reported(status.ExitStatus, rec)
	}
	return status, err
}

// reported returns the status to report by a record with a verdict.
func reported(status int, rec bundle.Record) int {
	return policy.ReportedStatus(status, rec.OOMExitCode, rec.Verdict.OOMKilled && !rec.TrueStatus)
}

func (r *Removal) log(ctx context.Context) *log.Entry { return log.G(ctx).WithField("container", r.ID) }

// find finds out what became of the container, and begins to publish a TaskOOM that is
// due.
func (r *Removal) find(ctx context.Context) (*last, error) {
	rec, err := bundle.ReadRecord(r.Bundle)
	if err != nil {
		return nil, err
	}
	if rec.ID != r.ID {
		return nil, fmt.Errorf("the record in %s is of %q", r.Bundle, rec.ID)
	}
	l := &last{rec: rec}
	recorded := l.recordedExit(r.Bundle)
	decides := rec.Verdict == nil
	if decides {
		r.decide(ctx, l, recorded)
		// containerd asks again where this process is killed: by then the cgroup
		// may be gone.
		if err := bundle.WriteRecord(r.Bundle, l.rec); err != nil {
			r.log(ctx).WithError(err).Warn("dead shim: record not written")
		}
	}
	if err := endInit(rec); err != nil {
		r.log(ctx).WithError(err).Warn("dead shim: init could not be killed before it is removed")
	}
	due := exit.Record{Decided: true, OOM: l.rec.Verdict.OOMKilled, Acked: rec.Delivered}.Due()
	if due || decides {
		fields := l.rec.Verdict.LogFields(r.ID, l.exit, reported(l.exit.Status, l.rec), rec.Delivered)
		log.G(ctx).WithFields(fields).Info("verdict")
	}
	r.spool(ctx, l)
	if due {
		l.due, err = r.publish(ctx)
	}
	return l, err
}

// spool adds the exit to the node's spool, unless the shim has done so after its last
// record: the record is removed with the bundle.
func (r *Removal) spool(ctx context.Context, l *last) {
	if r.Spool == "" {
		return
	}
	sp, err := bundle.ReadSpec(r.Bundle)
	if err != nil {
		r.log(ctx).WithError(err).Warn("dead shim: the spec cannot be read, the exit is spooled without the names of pod and container")
	}
	namespace, _ := namespaces.Namespace(ctx)
	e := exits.Exit{
		ID: r.ID, Namespace: namespace, Boot: l.rec.Boot, Pid: l.rec.Pid, StartTicks: l.rec.StartTicks, Pod: exits.PodOf(sp.Annotations),
		At: l.exit.At, Status: l.exit.Status, Reported: reported(l.exit.Status, l.rec), Acked: l.rec.Delivered, Verdict: *l.rec.Verdict,
		Stops: exits.Signals(l.rec.Stops), StatusUnknown: l.exit.StatusUnknown,
	}
	if !e.Worth() {
		return
	}
	if err := exits.AppendMissing(r.Spool, e); err != nil {
		r.log(ctx).WithError(err).Warn("dead shim: exit not spooled")
	}
}

// recordedExit finds the recorded exit. Our record goes before upstream's: its time is
// what all other API paths have reported.
func (l *last) recordedExit(dir string) (recorded bool) {
	if l.exit, l.better = l.rec.Exit(); l.better {
		return true
	}
	e, err := runc.ReadExitStatus(dir)
	if err != nil || e.Pid != l.rec.Pid {
		return false
	}
	l.exit = oom.Exit{Pid: e.Pid, Status: e.Status, At: e.Timestamp}
	return true
}

// decide is for a shim that died before its verdict. Of the exit it knows, best
// first: what was recorded; that init still runs, and is about to be killed;
// that it is gone, and how is anybody's guess but the evidence's.
func (r *Removal) decide(ctx context.Context, l *last, recorded bool) {
	rec := l.rec
	boot := rec.OfThisBoot()
	alive := boot && bpf.Running(rec.Pid, rec.StartTicks)
	c := oom.Case{Exit: l.exit, Stops: rec.Stops, Grace: rec.Grace}
	if boot { // else pids and cgroups are others' by now
		c.Evidence = r.collect(ctx, rec)
	}
	if !recorded {
		c.Exit = oom.Exit{Pid: rec.Pid, Status: statusUnknown, At: time.Now()}
		victim := len(c.Evidence) > 0 && c.Evidence[0].Init == oom.Yes
		switch {
		case victim: // it died when it was killed
			c.Exit.At, l.better = c.Evidence[0].InitKilled(), true
		case alive: // removing it is a stop like any other
			c.Stops = append(slices.Clone(c.Stops), oom.Stop{Signal: unix.SIGKILL})
		default:
			c.Exit.StatusUnknown = true
		}
	}
	v := oom.Decide(c)
	l.exit, l.rec = c.Exit, rec.Ended(c.Exit)
	l.rec.Verdict = &v
}

// collect reads the evidence from where the dead shim's baselines are.
func (r *Removal) collect(ctx context.Context, rec bundle.Record) []oom.Evidence {
	var probes []oom.Probe
	for _, s := range r.Sources() {
		checkpointed, known := rec.Probes[s.Name()]
		resumer, ok := s.(oom.Resumer)
		if !known || !ok {
			continue
		}
		p, err := resumer.Resume(checkpointed)
		if err != nil {
			r.log(ctx).WithError(err).Warn("dead shim: a source of evidence can't be had")
			continue
		}
		probes = append(probes, p)
	}
	found := make(chan []oom.Evidence, 1)
	go func() {
		all, _, err := oom.Collect(probes)
		if err != nil && len(all) > 0 && all[0].Gone {
			r.log(ctx).WithError(err).Info("dead shim: evidence is missing")
		}
		found <- all
	}()
	select {
	case all := <-found:
		return all
	case <-time.After(evidenceTimeout):
		r.log(ctx).Warn("dead shim: the evidence could not be read within the hold timeout")
		return nil
	}
}
