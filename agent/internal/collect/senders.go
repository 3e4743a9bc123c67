package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/utils/lru"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

// SenderLedger is the one in force: a bpf.Handle.
type SenderLedger interface {
	Senders() ([]bpf.Sender, error)
	Forget(init bpf.TaskKey) error
	Sweep() error
	Meta() (bpf.Meta, error)
}

// Cgroups names cgroups by their ID: a cgroups.Watcher.
type Cgroups interface {
	Name(id uint64, at time.Time) (cgroups.Name, error)
}

// SendersOptions are those of NewSenders. All are needed.
type SendersOptions struct {
	Ledger   SenderLedger
	Cgroups  Cgroups
	Resolver Resolver
	// Mount is where the hierarchy that memory is on is mounted.
	Mount string
	// Boot is the boot's ID.
	Boot string
	// Has reports whether the exit of a container run is known.
	Has func(*exits.Exit) bool
	// Out is given each exit once.
	Out func(exits.Exit)
	// Warn receives what goes wrong and ends nothing.
	Warn func(error)
}

const (
	// sendersEvery is how often the ledger is asked.
	sendersEvery = 2 * time.Second
	// signalSettle is how old a signal has to be: the OOM killer's mark, and the names of a
	// container that has just begun, may be yet to come.
	signalSettle = time.Second
	// nameless is how long the container of an init is looked for.
	nameless = 10 * time.Second
	// sweepEvery is how often the inits that nobody asks for are removed.
	sweepEvery = time.Minute
	// maxHandled bounds the inits that are remembered as handled: more than the ledger
	// holds.
	maxHandled = 4096

	statusSIGKILL = 128 + 9
)

// Senders finds the containers whose init a SIGKILL has ended that neither the OOM killer nor a
// runtime has sent, where no shim of ours does: it makes the exits that such a shim would have
// spooled. Run is called once.
type Senders struct {
	o       SendersOptions
	handled *lru.Cache // bpf.TaskKeys
	warned  string
}

// NewSenders returns Senders that are not running: see Run.
func NewSenders(o SendersOptions) *Senders { return &Senders{o: o, handled: lru.New(maxHandled)} }

// Run reads until ctx ends.
func (r *Senders) Run(ctx context.Context) {
	read, sweep := time.NewTicker(sendersEvery), time.NewTicker(sweepEvery)
	defer read.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-read.C:
			r.warn(r.read(ctx))
		case <-sweep.C:
			r.warn(r.o.Ledger.Sweep())
		}
	}
}

// warn warns of an error, once until there is another. That there is no ledger is known
// already.
func (r *Senders) warn(err error) {
	if err == nil || errors.Is(err, bpf.ErrAbsent) || errors.Is(err, bpf.ErrRetired) || err.Error() == r.warned {
		return
	}
	r.warned = err.Error()
	r.o.Warn(fmt.Errorf("the senders of SIGKILL are not known: %w", err))
}

// read takes the signals that the ledger has, and has the ledger forget those.
func (r *Senders) read(ctx context.Context) error {
	list, err := r.o.Ledger.Senders()
	if err != nil {
		return err
	}
	for i := range list {
		s := &list[i]
		if s.Watched { // the container's shim asks for it
			continue
		}
		if _, done := r.handled.Get(s.Init); !done && !r.take(ctx, s) {
			continue
		}
		r.handled.Add(s.Init, nil)
		err = errors.Join(err, r.o.Ledger.Forget(s.Init))
	}
	return err
}

// take reports whether nothing more is to be done for a signal.
func (r *Senders) take(ctx context.Context, s *bpf.Sender) (done bool) {
	age := time.Duration(bpf.BootNow() - s.BootNS)
	if age < signalSettle {
		return false
	}
	from, err := r.name(s.Cgroup, s)
	r.warn(err)
	if ofRuntime(s, from) {
		return true
	}
	init, err := r.name(s.InitCgroup, s)
	r.warn(err)
	at := init.Place()
	if at.Container == "" || r.outlived(init.Path, at.Path) {
		return age > nameless
	}
	sender := s.Evidence(oom.Hierarchy{}) // the path is known here, whatever this process may ask the kernel
	sender.CgroupPath = events.CleanPath(from.Path)
	e := r.exit(ctx, s, sender, at.Container)
	if !r.o.Has(&e) {
		r.o.Out(e)
	}
	return true
}

func (r *Senders) name(id uint64, s *bpf.Sender) (cgroups.Name, error) {
	return r.o.Cgroups.Name(id, (&bpf.Record{BootNS: s.BootNS}).Time())
}

// outlived reports whether the container of an init in a cgroup below the container's own
// is still there. The init is then not the container's, but the one of a container in it.
func (r *Senders) outlived(init, container string) bool {
	if init == container {
		return false
	}
	_, err := os.Lstat(filepath.Join(r.o.Mount, container))
	return err == nil
}

// runtimes are the programs by which containers are stopped, by comm. A comm has 15 bytes.
var runtimes = []string{"runc", "crun", "youki", "runsc", "conmon", "crio", "podman", "containerd-shim"}

// ofRuntime reports whether a runtime has sent the signal: somebody has asked for the stop.
// A runtime is root's, and in a cgroup that is known and no pod's. A process that no cgroup
// is known of is none, whatever it calls itself.
func ofRuntime(s *bpf.Sender, from cgroups.Name) bool {
	if s.UID != 0 || from.Path == "" || from.Place().PodUID != "" {
		return false
	}
	comm := s.Comm.String()
	for _, name := range runtimes {
		if comm == name || name == "containerd-shim" && strings.HasPrefix(comm, name) {
			return true
		}
	}
	return false
}

// exit returns the exit as a shim would have decided it, by rule 2. A process that gets a
// SIGKILL ends by it.
func (r *Senders) exit(ctx context.Context, s *bpf.Sender, sender *oom.Sender, container string) exits.Exit {
	in, err := r.o.Resolver.Resolve(ctx, &bpf.Record{
		BootNS: s.BootNS, TGID: s.Init.TGID, StartTicks: s.Init.StartTicks, Cgroup: s.InitCgroup, Domain: s.InitCgroup,
	})
	r.warn(err)
	v := in.First()
	e := exits.Exit{
		ID: container, Boot: r.o.Boot, Pid: int(s.Init.TGID), StartTicks: s.Init.StartTicks,
		At: sender.At, Status: statusSIGKILL, Reported: statusSIGKILL,
		Verdict: oom.Verdict{
			Init: oom.No, Ended: oom.EndedSignal, Rule: oom.RuleSender, Sent: oom.Yes, Sender: sender, Evidence: bpf.SourceName,
		},
	}
	if m, err := r.o.Ledger.Meta(); err == nil {
		e.Verdict.Tier = m.Tier.String()
	}
	if v.Pod != nil {
		e.Namespace = events.KubernetesNamespace // whose names are believed
		e.Pod = &exits.Pod{Name: v.Pod.Name, Namespace: v.Pod.Namespace, UID: v.Pod.UID}
	}
	if c := v.Container; c != nil {
		e.Namespace = cmp.Or(c.Namespace, e.Namespace)
		if e.Pod != nil {
			e.Pod.Container, e.Pod.Image = c.Name, c.Image
		}
	}
	return e
}
