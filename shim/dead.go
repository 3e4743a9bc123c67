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
)

// ttrpcAddressEnv names the environment variable in which containerd gives a
// shim the address of its events endpoint.
const ttrpcAddressEnv = "TTRPC_ADDRESS"

const (
	// containerd gives the removal of a dead shim's container 5 s in all
	// (core/runtime/v2/shim.go, cleanupTimeout), runc's part included.
	deadBound = 3 * time.Second
	// lookBound is for the evidence: what can't be read by then is done without.
	lookBound = time.Second

	statusUnknown = 128 + int(unix.SIGKILL) // upstream's, where none was recorded
)

// dead is a container whose shim has died. What it must tell of the exit is
// told by the process that removes it.
type dead struct {
	ctx       context.Context
	id        string
	bundle    string
	cfg       config.Config
	sources   func() []oom.Source
	forwarder Forwarder
	counts    *tally
	begun     time.Time
	// listens says whether there is a containerd that takes events, and send has
	// a messenger take one there when this process is gone.
	listens func() bool
	send    func(*types.Envelope) error
}

// last is what a dead shim's container is said to have come to.
type last struct {
	exit    oom.Exit
	verdict oom.Verdict
	// better says that exit is more than upstream can know.
	better bool
	// code is to be shown of an OOM, unless asIs.
	code int
	asIs bool
	// due is the TaskOOM, nil where none is, and told is closed when containerd
	// has acknowledged it.
	due   *types.Envelope
	told  <-chan struct{}
	close func() error
}

// Stop removes what a dead shim has left of a container and gives its exit, as
// upstream does. Before anything is removed it looks at the record and the
// evidence; containerd has the TaskOOM before it has the exit.
//
// containerd comes here after each Delete too, and waits for it before it removes
// the bundle. A shim that lives, as a pod's does until its last container, has
// said all that there is to say.
func (m Manager) Stop(ctx context.Context, id string) (upstream.StopStatus, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return upstream.StopStatus{}, err
	}
	cfg, _ := config.Load(config.Path()) // defaults, where it does not hold
	address := os.Getenv(ttrpcAddressEnv)
	d := &dead{
		ctx: ctx, id: id, bundle: filepath.Join(filepath.Dir(cwd), id), cfg: cfg,
		sources: func() []oom.Source { return Sources(ctx) }, forwarder: NewWire(address),
		counts: newTally(), begun: time.Now(),
		listens: func() bool { return upstream.CanConnect(address) }, send: sendMessenger,
	}
	return d.stop(m.Shim.Stop)
}

// stop does what Stop says, around upstream's.
func (d *dead) stop(remove func(context.Context, string) (upstream.StopStatus, error)) (upstream.StopStatus, error) {
	if shimAnswers(d.bundle) {
		return d.removeLiving(remove)
	}
	l, err := d.last()
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // else it was never created, or not by us
		log.G(d.ctx).WithError(err).WithField("container", d.id).Warn("dead shim: nothing can be told of an OOM")
	}
	faultPoint("looked")
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
	status.ExitStatus = shownStatus(status.ExitStatus, l.code, l.verdict, l.asIs)
	return status, nil
}

// removeLiving removes what a shim that lives has told of, and says of its exit
// what the shim has said.
func (d *dead) removeLiving(remove func(context.Context, string) (upstream.StopStatus, error)) (upstream.StopStatus, error) {
	rec, rerr := readRecord(d.bundle)
	status, err := remove(d.ctx, d.id)
	if err == nil && rerr == nil && rec.ID == d.id && rec.Verdict != nil {
		status.ExitStatus = shownStatus(status.ExitStatus, rec.OOMExitCode, *rec.Verdict, rec.AsIs)
	}
	return status, err
}

// last finds out what became of the container, and begins to tell containerd.
func (d *dead) last() (*last, error) {
	rec, err := readRecord(d.bundle)
	if err != nil {
		return nil, err
	}
	if rec.ID != d.id {
		return nil, fmt.Errorf("the record in %s is of %q", d.bundle, rec.ID)
	}
	l := &last{code: rec.OOMExitCode, asIs: rec.AsIs}
	recorded := d.exit(rec, l)
	decided := rec.Verdict == nil
	if decided {
		d.decide(rec, l, recorded)
		// containerd asks again where this process is killed: by then the cgroup
		// may be gone.
		rec = rec.ended(l.exit)
		rec.Verdict = &l.verdict
		if err := writeRecord(d.bundle, rec); err != nil {
			log.G(d.ctx).WithError(err).Warn("dead shim: record not written")
		}
	} else {
		l.verdict = *rec.Verdict
	}
	if err := endInit(rec); err != nil {
		log.G(d.ctx).WithError(err).WithField("container", d.id).Warn("dead shim: init could not be killed before it is removed")
	}
	due := l.verdict.OOMKilled && !rec.Acknowledged
	if due || decided {
		shown := shownStatus(l.exit.Status, l.code, l.verdict, l.asIs)
		logVerdict(d.ctx, d.id, l.exit, l.verdict, rec.Acknowledged, shown, time.Since(l.exit.At))
	}
	if !due {
		return l, nil
	}
	env, err := envelope(d.ctx, runtime.TaskOOMEventTopic, &eventsapi.TaskOOM{ContainerID: d.id})
	if err != nil {
		return l, fmt.Errorf("encode TaskOOM: %w", err)
	}
	q := newQueue(d.ctx, d.forwarder, d.counts)
	it := &item{env: env, taken: make(chan struct{})}
	q.push(d.id, it)
	l.due, l.told, l.close = env, it.taken, q.close
	return l, nil
}

// decide is for a shim that died before its verdict. Of the exit it knows, best
// first: what was recorded; that init still runs, and is about to be killed;
// that it is gone, and how is anybody's guess but the evidence's.
func (d *dead) decide(rec record, l *last, recorded bool) {
	boot := rec.Boot == bootID()
	alive := boot && runs(rec.Pid, rec.StartTicks)
	c := oom.Case{Stops: rec.Stops, Grace: d.cfg.Grace}
	if boot { // else pids and cgroups are others' by now
		c.Evidence = d.look(rec)
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
// what all other roads have shown.
func (d *dead) exit(rec record, l *last) (recorded bool) {
	if l.exit, l.better = rec.exit(); l.better {
		return true
	}
	e, err := runc.ReadExitStatus(d.bundle)
	if err != nil || e.Pid != rec.Pid {
		return false
	}
	l.exit = exitOf(e)
	return true
}

// look reads the evidence from where the dead shim's baselines are.
func (d *dead) look(rec record) []oom.Evidence {
	r := newRun(d.id, d.bundle, policy{}, 0)
	for _, s := range d.sources() {
		kept, ok := rec.Probes[s.Name()]
		if !ok {
			continue
		}
		resumer, ok := s.(oom.Resumer)
		if !ok {
			continue
		}
		p, err := resumer.Resume(kept)
		if err != nil {
			log.G(d.ctx).WithError(err).WithField("container", d.id).Warn("dead shim: a source of evidence can't be had")
			continue
		}
		r.probes = append(r.probes, p)
	}
	found := make(chan []oom.Evidence, 1)
	go func() {
		all, err := r.look()
		if err != nil && len(all.evidence) > 0 && all.evidence[0].Gone {
			log.G(d.ctx).WithError(err).WithField("container", d.id).Info("dead shim: evidence is missing")
		}
		found <- all.evidence
	}()
	select {
	case all := <-found:
		return all
	case <-time.After(lookBound):
		log.G(d.ctx).WithField("container", d.id).Warn("dead shim: the evidence could not be read within the bound")
		return nil
	}
}

// wait waits until containerd has the TaskOOM, within what is left of the time
// that containerd gives. One that is starting takes none before this process has
// ended.
func (d *dead) wait(l *last) {
	if l == nil || l.due == nil {
		return
	}
	left := time.Duration(0)
	if d.listens() {
		left = min(d.cfg.Bound, deadBound) - time.Since(d.begun)
	}
	select {
	case <-l.told:
	case <-time.After(left):
	}
	_ = l.close()
	if opened(l.told) {
		return
	}
	entry := log.G(d.ctx).WithField("container", d.id)
	if err := d.send(l.due); err != nil {
		entry.WithError(err).Error("dead shim: containerd did not take the TaskOOM, and nobody is left to tell it")
		return
	}
	entry.Warn("dead shim: containerd did not take the TaskOOM yet: a messenger waits for it")
}
