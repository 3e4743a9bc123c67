package signals

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/lru"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/resolve"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

// Ledger is the one in force: a bpf.Handle.
type Ledger interface {
	Senders() ([]bpf.Sender, error)
	Forget(init bpf.TaskKey) error
	Sweep() error
	Meta() (bpf.Meta, error)
}

// Resolver resolves the cgroup of a record: a resolve.Resolver.
type Resolver interface {
	Resolve(context.Context, *bpf.Record) (events.OOMEvent, error)
}

// Options of a Reader. All are needed.
type Options struct {
	Ledger   Ledger
	Inits    *Inits
	Resolver Resolver
	// Hierarchy is the one that memory is on, for the paths of the senders' cgroups.
	Hierarchy oom.Hierarchy
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
	// every is how often the ledger is asked, lookEvery how often the inits of containers
	// are looked for that have just appeared.
	every     = 2 * time.Second
	lookEvery = 500 * time.Millisecond
	// settle is how old a signal has to be: the OOM killer's mark, and the names of a
	// container that has just begun, may be yet to come.
	settle = time.Second
	// nameless is how long the container of an init is looked for.
	nameless = 10 * time.Second
	// sweepEvery is how often the inits that nobody asks for are removed.
	sweepEvery = time.Minute
	// maxHandled bounds the inits that are remembered as handled: more than the ledger
	// holds.
	maxHandled = 4096

	statusSIGKILL = 128 + 9
)

// Reader reads the senders of SIGKILL from the ledger. Run is called once.
type Reader struct {
	o       Options
	handled *lru.Cache // bpf.TaskKeys
	warned  string

	saidMissed bool

	mu    sync.Mutex // guards what follows
	blind string     // see Blind
}

// New returns a Reader that is not running: see Run.
func New(o Options) *Reader { return &Reader{o: o, handled: lru.New(maxHandled)} }

// Run reads until ctx ends.
func (r *Reader) Run(ctx context.Context) {
	read, sweep, look := time.NewTicker(every), time.NewTicker(sweepEvery), time.NewTimer(0)
	defer read.Stop()
	defer sweep.Stop()
	defer look.Stop()
	r.see()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.o.Inits.wake:
			look.Reset(0)
		case <-look.C:
			if r.o.Inits.look() {
				look.Reset(lookEvery)
			}
			r.sayMissed()
		case <-read.C:
			r.warn(r.read(ctx))
		case <-sweep.C:
			r.warn(r.o.Ledger.Sweep())
			r.see()
		}
	}
}

// warn warns of an error, once until there is another. That there is no ledger is known
// already.
func (r *Reader) warn(err error) {
	if err == nil || errors.Is(err, bpf.ErrAbsent) || errors.Is(err, bpf.ErrRetired) || err.Error() == r.warned {
		return
	}
	r.warned = err.Error()
	r.o.Warn(fmt.Errorf("the senders of SIGKILL are not known: %w", err))
}

// read takes the signals that the ledger has, and has the ledger forget those.
func (r *Reader) read(ctx context.Context) error {
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
func (r *Reader) take(ctx context.Context, s *bpf.Sender) (done bool) {
	age := time.Duration(bpf.BootNow() - s.BootNS)
	if age < settle {
		return false
	}
	sender := s.Evidence(r.o.Hierarchy)
	if r.ofRuntime(sender) {
		return true
	}
	at, ok := r.o.Inits.of(s.Init)
	if !ok {
		return age > nameless // no container, or one that was not seen
	}
	e := r.exit(ctx, s, sender, at)
	if !r.o.Has(&e) {
		r.o.Out(e)
	}
	return true
}

// runtimes are the programs by which containers are stopped, by comm. A comm has 15 bytes.
var runtimes = []string{"runc", "crun", "youki", "runsc", "conmon", "crio", "podman", "containerd-shim"}

// ofRuntime reports whether a runtime has sent the signal: somebody has asked for the stop.
// A process in a pod is none, whatever it calls itself.
func (r *Reader) ofRuntime(s *oom.Sender) bool {
	if s.UID != 0 || r.o.Inits.Kubelet.Locate(s.CgroupPath).PodUID != "" {
		return false
	}
	for _, name := range runtimes {
		if s.Comm == name || name == "containerd-shim" && strings.HasPrefix(s.Comm, name) {
			return true
		}
	}
	return false
}

// exit returns the exit as a shim would have decided it, by rule 2. A process that gets a
// SIGKILL ends by it.
func (r *Reader) exit(ctx context.Context, s *bpf.Sender, sender *oom.Sender, at origin) exits.Exit {
	in, err := r.o.Resolver.Resolve(ctx, &bpf.Record{
		BootNS: s.BootNS, TGID: s.Init.TGID, StartTicks: s.Init.StartTicks, Cgroup: at.cgroup, Domain: at.cgroup,
	})
	r.warn(err)
	v := in.First()
	e := exits.Exit{
		ID: at.container, Boot: r.o.Boot, Pid: int(s.Init.TGID), StartTicks: s.Init.StartTicks,
		At: sender.At, Status: statusSIGKILL, Reported: statusSIGKILL,
		Verdict: oom.Verdict{
			Init: oom.No, Ended: oom.EndedSignal, Rule: oom.RuleSender, Sent: oom.Yes, Sender: sender, Evidence: bpf.SourceName,
		},
	}
	if m, err := r.o.Ledger.Meta(); err == nil {
		e.Verdict.Tier = m.Tier.String()
	}
	if v.Pod != nil {
		e.Namespace = resolve.KubernetesNamespace // whose names are believed
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
