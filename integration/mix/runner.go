//go:build linux

package mix

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
)

// Shim is a runtime under test.
type Shim struct {
	Name    string
	Runtime string
	// Options returns the runtime options for a cgroup driver; nil for runc's own.
	Options func(Driver) any
}

// The two shims.
var (
	Stock = Shim{Name: "stock", Runtime: "io.containerd.runc.v2"}
	Ours  = Shim{Name: "oomwitness", Runtime: "io.containerd.oomwitness.v2"}
)

func (s Shim) options(d Driver) any {
	if s.Options != nil {
		return s.Options(d)
	}
	return &options.Options{SystemdCgroup: d == Systemd}
}

const (
	namespace = "oomw"
	stateDir  = "/run/containerd/io.containerd.runtime.v2.task"
	// runTime limits one run; emulated machines are slow.
	runTime = 3 * time.Minute
	// patience is the time after which a missing event counts as lost.
	patience = 5 * time.Second
)

// Runner runs cases on the containerd of this machine.
type Runner struct {
	Driver Driver
	Rootfs string

	client *client.Client
	rec    *recorder
	alone  sync.RWMutex // held for writing by a case during which no other may run
	cancel context.CancelFunc
	series string // distinguishes the IDs of one Runner from those of another
	serial atomic.Uint64
	made   sync.Map // IDs of containers
}

// Running is a case whose container runs.
type Running struct {
	Task      client.Task
	container client.Container
	out       *output
}

// NewRunner connects to containerd.
func NewRunner(ctx context.Context, driver Driver, rootfs string) (*Runner, error) {
	c, err := client.New("/run/containerd/containerd.sock")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(namespaces.WithNamespace(ctx, namespace))
	return &Runner{
		Driver: driver, Rootfs: rootfs, client: c, cancel: cancel,
		series: strconv.FormatInt(time.Now().Unix()%(36*36*36*36), 36) + "-",
		rec:    newRecorder(ctx, c.EventService()),
	}, nil
}

// Resubscribe follows the events of a restarted containerd. No case may read events meanwhile.
func (r *Runner) Resubscribe(ctx context.Context) error {
	ctx = namespaces.WithNamespace(context.WithoutCancel(ctx), namespace)
	r.rec = newRecorder(ctx, r.client.EventService())
	return r.rec.listening(ctx, fmt.Sprintf("again-%d", r.serial.Add(1)))
}

// Close ends the connection.
func (r *Runner) Close() error {
	r.cancel()
	return r.client.Close()
}

// Strangers returns the number of TaskOOMs for containers that nobody made.
func (r *Runner) Strangers() int {
	return r.rec.strangers(func(id string) bool { _, ok := r.made.Load(id); return ok })
}

// Run runs a case once and returns what was reported. The client sees the exit by path.
func (r *Runner) Run(ctx context.Context, shim Shim, c Case, path APIPath) (Outcome, error) {
	if c.Before == nil {
		r.alone.RLock()
		defer r.alone.RUnlock()
	} else {
		r.alone.Lock()
		defer r.alone.Unlock()
		undo, err := c.Before(ctx)
		if err != nil {
			return Outcome{}, fmt.Errorf("%s: prepare the node: %w", c.Name, err)
		}
		defer undo()
	}
	p, err := r.Prepare(ctx, shim, c)
	if err != nil {
		return Outcome{}, err
	}
	return p.Finish(ctx, path)
}

// Prepared is a case whose container was created and not started.
type Prepared struct {
	r        *Runner
	c        Case
	shim     Shim
	pod      string
	ownsPod  bool
	main     *Running
	sibling  *Running
	exit     <-chan client.ExitStatus
	deleted  bool
	released func()
}

// ID returns the ID of the container under test.
func (p *Prepared) ID() string { return p.main.Task.ID() }

// Pid returns the PID of the container's init.
func (p *Prepared) Pid() int { return int(p.main.Task.Pid()) }

// Start starts the container of a prepared case, and waits until it is ready.
func (p *Prepared) Start(ctx context.Context) error {
	ctx = namespaces.WithNamespace(ctx, namespace)
	if err := p.main.Task.Start(ctx); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return saidReady(ctx, p.main)
}

// Discard removes a prepared case that will not run.
func (p *Prepared) Discard(ctx context.Context) { p.clean(namespaces.WithNamespace(ctx, namespace)) }

// Prepare creates a case's containers.
func (r *Runner) Prepare(ctx context.Context, shim Shim, c Case) (_ *Prepared, err error) {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, namespace), runTime)
	p := &Prepared{r: r, c: c, shim: shim, released: cancel}
	defer func() {
		if err != nil {
			p.clean(ctx)
			err = fmt.Errorf("%s under %s: %w", c.Name, shim.Name, err)
		}
	}()
	n := r.serial.Add(1)
	id := fmt.Sprintf("%s-%s%d", c.Name, r.series, n)
	if p.pod = c.Pod; p.pod == "" && (c.Sibling != nil || c.PodLimit > 0) {
		p.ownsPod = true
		p.pod = fmt.Sprintf("pod%s%d", strings.TrimSuffix(r.series, "-"), n)
	}
	if c.Sibling != nil {
		if p.sibling, err = r.create(ctx, shim, *c.Sibling, p.pod, id+"-sibling"); err != nil {
			return nil, err
		}
		if err = p.sibling.Task.Start(ctx); err != nil {
			return nil, fmt.Errorf("start sibling: %w", err)
		}
		if err = saidReady(ctx, p.sibling); err != nil {
			return nil, fmt.Errorf("sibling: %w", err)
		}
	}
	if p.main, err = r.create(ctx, shim, c.Container, p.pod, id); err != nil {
		return nil, err
	}
	if c.PodLimit > 0 {
		err = r.Driver.LimitPod(ctx, p.pod, c.PodLimit)
	}
	return p, err
}

func (r *Runner) create(ctx context.Context, shim Shim, c Container, pod, id string) (*Running, error) {
	r.made.Store(id, true)
	run := &Running{}
	var err error
	run.container, err = r.client.NewContainer(ctx, id,
		client.WithContainerLabels(map[string]string{
			"io.kubernetes.container.name": "main", "io.kubernetes.pod.name": id, "io.kubernetes.pod.namespace": namespace,
		}),
		client.WithSpec(c.spec(r.Driver, r.Rootfs, pod, id)),
		client.WithRuntime(shim.Runtime, shim.options(r.Driver)))
	if err != nil {
		return nil, fmt.Errorf("new container: %w", err)
	}
	creator := cio.Creator(cio.NullIO)
	if c.Output {
		run.out = newOutput()
		creator = cio.NewCreator(cio.WithStreams(nil, run.out, run.out))
	}
	if run.Task, err = run.container.NewTask(ctx, creator); err != nil {
		_ = run.container.Delete(ctx)
		return nil, fmt.Errorf("new task: %w", err)
	}
	return run, nil
}

// Finish starts a prepared case, lets it end, deletes it, and returns what was reported.
func (p *Prepared) Finish(ctx context.Context, path APIPath) (o Outcome, err error) {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, namespace), runTime)
	defer cancel()
	defer func() {
		p.clean(ctx)
		if err != nil {
			err = fmt.Errorf("%s (%s) under %s: %w", p.c.Name, p.main.Task.ID(), p.shim.Name, err)
		}
	}()
	task := p.main.Task
	if p.exit, err = task.Wait(ctx); err != nil {
		return o, fmt.Errorf("wait: %w", err)
	}
	if err = task.Start(ctx); err != nil {
		return o, fmt.Errorf("start: %w", err)
	}
	if p.c.Act != nil {
		if err = p.c.Act(ctx, p.main); err != nil {
			return o, fmt.Errorf("act: %w", err)
		}
	}
	if o.Status, err = path(ctx, p); err != nil {
		return o, fmt.Errorf("see the exit: %w", err)
	}
	if err = p.r.rec.mark(ctx, task.ID()); err != nil {
		return o, fmt.Errorf("mark: %w", err)
	}
	if o.Unread = p.deleted; !p.deleted {
		o.Verdict = readVerdict(task.ID())
		if err = remove(ctx, task); err != nil {
			return o, err
		}
	}
	if err = p.judge(ctx, &o); err == nil && p.sibling != nil {
		err = p.endSibling(ctx, &o)
	}
	return o, err
}

// remove deletes a task at once. containerd gives the shim three seconds to answer Shutdown. A
// hundred shims on two emulated CPUs need longer, and then containerd returns an error. The
// task is deleted all the same, and a second Delete returns the same answer.
func remove(ctx context.Context, task client.Task) error {
	var err error
	for range 5 {
		if _, err = task.Delete(ctx); err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		if !strings.Contains(err.Error(), "failed to invoke shutdown") {
			break
		}
	}
	return fmt.Errorf("delete: %w", err)
}

// clean removes what is left of a case, whatever step it has reached.
func (p *Prepared) clean(ctx context.Context) {
	defer p.released()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), runTime)
	defer cancel()
	for _, run := range []*Running{p.main, p.sibling} {
		if run == nil {
			continue
		}
		// Most tasks are deleted by now: an error says no more than that.
		_, _ = run.Task.Delete(ctx, client.WithProcessKill)
		_ = run.container.Delete(ctx)
	}
	if p.ownsPod {
		p.r.Driver.removePod(ctx, p.pod)
	}
}
