// Package agent reports every OOM kill on the node: to log, metrics, API, page and
// Kubernetes. It exports what commands use; what the agent is made of is in internal/.
package agent

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/metrics"
	"github.com/oomwitness/oomwitness/agent/internal/notify"
	"github.com/oomwitness/oomwitness/agent/internal/otlp"
	"github.com/oomwitness/oomwitness/agent/internal/store"
	"github.com/oomwitness/oomwitness/agent/internal/web"
	"github.com/oomwitness/oomwitness/oom/exits"
)

// Defaults of Options and Kubernetes.
const (
	DefaultQPS        = deliver.DefaultQPS
	DefaultBurst      = deliver.DefaultBurst
	DefaultEvictEvery = notify.DefaultEvictEvery
	DefaultSeriesTTL  = metrics.DefaultSeriesTTL
	DefaultMaxSeries  = metrics.DefaultMaxSeries
)

// Options say what an Agent is to do.
type Options struct {
	// Dir is where the ledger is pinned, LockDir its locks; the usual ones if empty.
	Dir, LockDir string
	// StateDir is where the position is kept, and what is known of who runs.
	StateDir string
	// Containerd is its socket, "" to do without.
	Containerd string
	// Kubelet says which cgroups are pods'.
	Kubelet KubeletOptions
	// Node is this node's name, in Kubernetes and for people.
	Node string
	// Kubernetes is nil to do without.
	Kubernetes *Kubernetes
	// MetricsAddress is where metrics, API and page are, HealthAddress where probes are
	// answered alone; "" for nowhere.
	MetricsAddress, HealthAddress string
	// OTLPEndpoint is the URL to which an OpenTelemetry collector gets records, as
	// [OTLPEndpoint] returns it; "" for none.
	OTLPEndpoint string
	// Page serves the page and the API beside the metrics; PageAll shows also what is
	// the node's own.
	Page, PageAll bool
	// SeriesTTL is how long after its last kill a container's series is kept, MaxSeries
	// how many containers have one.
	SeriesTTL time.Duration
	MaxSeries int
	// Version and Commit are those of the program.
	Version, Commit string
	// Log receives a line for every OOM event and for what goes wrong.
	Log *logrus.Logger
}

// Kubernetes says what is done there.
type Kubernetes struct {
	// Kubeconfig is a file, "" for the pod's own service account.
	Kubeconfig string
	// QPS and Burst limit the requests to the API server.
	QPS   float32
	Burst int
	// Annotation and Label are key=value for the pods of victims, "" for none.
	Annotation, Label string
	// Causes are those of the marks and evictions.
	Causes []string
	// Evict has these pods evicted, one in EvictEvery.
	Evict      bool
	EvictEvery time.Duration
	// DryRun logs what would be done, and does nothing.
	DryRun bool
}

// Agent is the agent of one node.
type Agent struct {
	o        Options
	pipeline *pipeline
	kube     *notify.Kube   // nil without Kubernetes
	export   *otlp.Exporter // nil without OpenTelemetry
	history  *web.History
	exits    *store.Exits
	metrics  *metrics.Metrics
	unserved unserved
}

// New puts the parts together that the options ask for. An error is of the options:
// nothing is asked of the node, or of the API server, before Run.
func New(o Options) (*Agent, error) {
	if err := cgroups.CheckRoots(o.Kubelet.Roots); err != nil {
		return nil, fmt.Errorf("kubelet's cgroup root: %w", err)
	}
	a := &Agent{o: o, history: &web.History{}}
	a.exits = store.OpenExits(store.ExitsOptions{
		Dir: o.StateDir, Spool: exits.DefaultDir, Warn: func(err error) { o.Log.Warn(err) }, Out: a.exited, Again: a.reported,
	})
	a.metrics = metrics.New(metrics.Options{
		Version: o.Version, Commit: o.Commit, SeriesTTL: o.SeriesTTL, MaxSeries: o.MaxSeries,
		Health: a.health, Queues: a.queues,
	})
	c := config{
		dir: o.Dir, lockDir: o.LockDir, stateDir: o.StateDir, containerd: o.Containerd, kubelet: o.Kubelet, log: o.Log,
		consumers: []events.Consumer{a.metrics, a.history}, exits: a.exits,
	}
	var err error
	if o.Kubernetes != nil {
		if a.kube, err = connect(&o, a.metrics); err != nil {
			return nil, err
		}
		c.pods, c.tracked = a.kube.Pods, a.kube.Queue
		c.beside = append(c.beside, a.kube.Run)
	}
	if o.OTLPEndpoint != "" {
		if a.export, err = exporter(&o, a.metrics); err != nil {
			return nil, err
		}
		c.export = a.export
	}
	a.pipeline = newPipeline(c)
	return a, nil
}

// connect prepares Kubernetes.
func connect(o *Options, count deliver.Counter) (*notify.Kube, error) {
	k := o.Kubernetes
	deliver.LogTo(o.Log)
	client, err := deliver.Connect(deliver.ClientOptions{
		Kubeconfig: k.Kubeconfig, QPS: k.QPS, Burst: k.Burst, UserAgent: "oomwitness-agent",
	})
	if err != nil {
		return nil, err
	}
	return notify.New(client, notify.Options{
		Node: o.Node, Annotation: k.Annotation, Label: k.Label, Causes: strings.Join(k.Causes, ","),
		Evict: k.Evict, EvictEvery: k.EvictEvery, DryRun: k.DryRun, Count: count, Log: o.Log,
	})
}

// exporter prepares OpenTelemetry.
func exporter(o *Options, count *metrics.Metrics) (*otlp.Exporter, error) {
	return otlp.New(otlp.Options{
		Endpoint: o.OTLPEndpoint, Node: o.Node, Kubernetes: o.Kubernetes != nil, Version: o.Version, Count: count.Records, Log: o.Log,
	})
}

// exited reports the end of a container, and exports the end if it is not too old for that.
func (a *Agent) exited(e *exits.Exit) {
	logKilled(a.o.Log, e)
	a.reported(e)
	if a.export != nil && time.Since(e.At) <= maxAge {
		a.export.TakeExit(e)
	}
}

// reported hands the end of a container to Kubernetes again: an earlier agent may have reported
// the end.
func (a *Agent) reported(e *exits.Exit) {
	if a.kube != nil {
		a.kube.TakeExit(e)
	}
}

// Run works until ctx ends, or a part of the agent can't go on. It is called once.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	defer parts.Wait()
	for _, l := range []struct {
		what, address string
		serve         func(context.Context, net.Listener) error
	}{{"metrics", a.o.MetricsAddress, a.serve}, {"health", a.o.HealthAddress, a.serveHealth}} {
		if l.address != "" {
			listener := a.listen(ctx, l.what, l.address)
			parts.Go(func() { cancel(a.serveAt(ctx, listener, l.what, l.address, l.serve)) })
		}
	}
	if a.export != nil {
		a.export.Start()
		defer a.export.Close()
	}
	err := a.pipeline.run(ctx)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	cancel(nil)
	return err
}

// serve answers requests until ctx ends.
func (a *Agent) serve(ctx context.Context, listener net.Listener) error {
	errors := a.o.Log.WriterLevel(logrus.WarnLevel)
	defer func() { _ = errors.Close() }() // nothing is held back in it
	return web.Serve(ctx, listener, web.Handler(web.Config{
		Node: a.o.Node, Version: a.o.Version, Page: a.o.Page, History: a.history, Exits: a.exits.All, ExitsMissing: a.exits.Missing, Health: a.health,
		Metrics: a.metrics.Handler(errors), All: a.o.PageAll, Loopback: web.IsLoopback(listener.Addr()),
	}), func(why web.Reason) { a.metrics.Closed("metrics", string(why)) })
}

// serveHealth answers probes until ctx ends.
func (a *Agent) serveHealth(ctx context.Context, listener net.Listener) error {
	return web.Serve(ctx, listener, web.HealthHandler(a.health), func(why web.Reason) { a.metrics.Closed("health", string(why)) })
}

func (a *Agent) health() events.Health {
	h := a.pipeline.health()
	h.Listeners = a.unserved.text()
	if err := a.exits.Err(); err != nil {
		h.Exits = err.Error()
	}
	return h
}

func (a *Agent) queues() (list []metrics.Queue) {
	if a.kube != nil {
		list = append(list, metrics.Queue{Name: "kubernetes", Length: a.kube.Queue.Waiting(), Capacity: deliver.MaxTasks})
	}
	if a.export != nil {
		list = append(list, metrics.Queue{Name: "otlp", Length: a.export.Waiting(), Capacity: otlp.MaxWaiting})
	}
	return list
}
