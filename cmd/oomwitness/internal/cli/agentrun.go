package cli

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/oomwitness/oomwitness/agent"
	"github.com/oomwitness/oomwitness/agent/cgroups"
	"github.com/oomwitness/oomwitness/agent/deliver"
	"github.com/oomwitness/oomwitness/agent/events"
	"github.com/oomwitness/oomwitness/agent/history"
	"github.com/oomwitness/oomwitness/agent/kube"
	"github.com/oomwitness/oomwitness/agent/kubeapi"
	"github.com/oomwitness/oomwitness/agent/metrics"
	"github.com/oomwitness/oomwitness/agent/page"
)

// daemon is the agent with all that it reports to.
type daemon struct {
	f       *agentFlags
	log     *logrus.Logger
	node    string // its name, for people
	agent   *agent.Agent
	kube    *kube.Kube // nil without Kubernetes
	history *history.History
	metrics *metrics.Metrics
}

func runAgent(cmd *cobra.Command, f agentFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	log, err := f.logger(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	limit, err := f.memoryBytes()
	if err != nil {
		return err
	}
	if limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	warnOfScore(log)
	d, err := newDaemon(&f, log)
	if err != nil {
		return err
	}
	return d.run(cmd.Context())
}

// newDaemon puts the parts together that the flags ask for.
func newDaemon(f *agentFlags, log *logrus.Logger) (*daemon, error) {
	d := &daemon{f: f, log: log, history: &history.History{}}
	b := thisBuild()
	log.WithFields(logrus.Fields{"version": b.Version, "commit": b.Commit}).Info("agent starts")
	d.metrics = metrics.New(metrics.Options{
		Version: b.Version, Commit: b.Commit, SeriesTTL: f.seriesTTL, MaxSeries: f.maxSeries,
		Health: d.health, Queues: d.queues,
	})
	kubelet, err := cgroups.NewKubelet(f.kubeletRoots)
	if err != nil {
		return nil, flagError("kubelet-cgroup-root", err)
	}
	c := agent.Config{
		Dir: f.dir, LockDir: f.lockDir, StateDir: f.stateDir, Containerd: f.address, Kubelet: kubelet, Log: log,
		Consumers: []events.Consumer{d.metrics, d.history},
	}
	if err := d.connect(); err != nil {
		return nil, err
	}
	if d.kube != nil {
		c.Pods, c.PodsKept, c.Tracked = d.kube.Pods, d.kube.Pods, d.kube.Queue
		c.Synced, c.Beside = d.synced, append(c.Beside, d.kube.Run)
	}
	d.agent = agent.New(c)
	return d, nil
}

// connect prepares Kubernetes, unless it is to be done without.
func (d *daemon) connect() error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find the node's name: %w", err)
	}
	d.node = cmp.Or(d.f.nodeName, os.Getenv(nodeNameEnv), host)
	if !d.f.wantsKubernetes() {
		d.log.Info("without Kubernetes: kills are reported to the log and the metrics")
		return nil
	}
	name, err := d.f.node()
	if err != nil {
		return err
	}
	kubeapi.LogTo(d.log)
	client, err := kubeapi.Connect(kubeapi.Options{
		Kubeconfig: d.f.kubeconfig, QPS: d.f.qps, Burst: d.f.burst, UserAgent: "oomwitness-agent",
	})
	if err != nil {
		return err
	}
	d.node = name
	d.kube, err = kube.New(client, kube.Options{
		Node: name, Annotation: d.f.annotation, Label: d.f.label, Causes: strings.Join(d.f.markCauses, ","),
		Evict: d.f.evict, EvictEvery: d.f.evictEvery, DryRun: d.f.dryRun, Count: d.metrics, Log: d.log,
	})
	return err
}

// run works until ctx ends, or a part of it can't go on.
func (d *daemon) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	defer parts.Wait()
	for _, l := range []struct {
		flag, address, what string
		serve               func(context.Context, net.Listener) error
	}{
		{"metrics-address", d.f.listenAddress(), "metrics", d.serve},
		{"health-address", d.f.healthAddress, "health", d.serveHealth},
	} {
		if l.address == "" {
			continue
		}
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.address)
		if err != nil {
			return flagError(l.flag, err)
		}
		d.log.WithField("address", listener.Addr().String()).Info("serves " + l.what)
		parts.Go(func() { cancel(l.serve(ctx, listener)) })
	}
	err := d.agent.Run(ctx)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	cancel(nil)
	return ended(err)
}

// serve answers requests until ctx ends.
func (d *daemon) serve(ctx context.Context, listener net.Listener) (err error) {
	errors := d.log.WriterLevel(logrus.WarnLevel)
	defer closing(errors, &err)
	return page.Serve(ctx, listener, page.Handler(page.Config{
		Node: d.node, Version: thisBuild().Version, Page: d.f.page, History: d.history, Health: d.health,
		Metrics: d.metrics.Handler(errors), All: d.f.pageAll, Loopback: page.IsLoopback(listener.Addr()),
	}))
}

// serveHealth answers probes until ctx ends.
func (d *daemon) serveHealth(ctx context.Context, listener net.Listener) error {
	return page.Serve(ctx, listener, page.HealthHandler(d.health))
}

func (d *daemon) health() events.Health { return d.agent.Health() }

func (d *daemon) queues() []metrics.Queue {
	if d.kube == nil {
		return nil
	}
	return []metrics.Queue{{Name: "kubernetes", Length: d.kube.Queue.Waiting(), Capacity: deliver.MaxTasks}}
}

// synced waits for the node's pods.
func (d *daemon) synced(ctx context.Context) {
	select {
	case <-d.kube.Pods.Synced():
	case <-ctx.Done():
		d.log.Warn("the API server has not named the node's pods yet: the agent goes on without")
	}
}

// protected is an oom_score_adj at which the OOM killer takes others first.
const protected = -900

// warnOfScore says where the agent may be the victim itself.
func warnOfScore(log *logrus.Logger) {
	data, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		log.WithError(err).Warn("whether the agent is safe from the OOM killer is not known")
		return
	}
	adj, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || adj > protected {
		log.WithField("oom_score_adj", adj).Warnf("the agent may be the OOM killer's victim itself: run it with oom_score_adj %d or less", protected)
	}
}
