package cli

import (
	"cmp"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/agent"
)

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
	warnOfUser(log)
	o, err := f.options(log)
	if err != nil {
		return err
	}
	log.WithFields(logrus.Fields{"version": o.Version, "commit": o.Commit}).Info("agent starts")
	if o.Kubernetes == nil {
		log.Info("without Kubernetes: kills are reported to the log and the metrics")
	}
	a, err := agent.New(o)
	if err != nil {
		return err
	}
	return ended(a.Run(cmd.Context()))
}

// options returns the agent's options by the flags.
func (f *agentFlags) options(log *logrus.Logger) (agent.Options, error) {
	host, err := os.Hostname()
	if err != nil {
		return agent.Options{}, fmt.Errorf("find the node's name: %w", err)
	}
	endpoint, err := agent.OTLPEndpoint(f.otlpEndpoint)
	if err != nil {
		return agent.Options{}, err
	}
	b := thisBuild()
	o := agent.Options{
		Dir: f.dir, LockDir: f.lockDir, StateDir: f.stateDir, Containerd: f.address, Kubelet: f.kubelet.options(),
		Node: cmp.Or(f.nodeName, os.Getenv(nodeNameEnv), host), MetricsAddress: f.listenAddress(), HealthAddress: f.healthAddress,
		OTLPEndpoint: endpoint, Page: f.page, PageAll: f.pageAll, SeriesTTL: f.seriesTTL, MaxSeries: f.maxSeries,
		Version: b.Version, Commit: b.Commit, Log: log,
	}
	if !f.wantsKubernetes() {
		return o, nil
	}
	o.Kubernetes = &agent.Kubernetes{
		Kubeconfig: f.kubeconfig, QPS: f.qps, Burst: f.burst, Annotation: f.annotation, Label: f.label,
		Causes: f.markCauses, Evict: f.evict, EvictEvery: f.evictEvery, DryRun: f.dryRun,
	}
	o.Node, err = f.node()
	return o, err
}

// protected is an oom_score_adj low enough for the OOM killer to choose other processes first.
const protected = -900

// warnOfScore warns if the OOM killer may choose the agent.
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

// warnOfUser warns of a user who may not open what is root's. The agent runs all the same: the
// owner of a node may have opened the files for that user.
func warnOfUser(log *logrus.Logger) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if os.Geteuid() == 0 || unix.Capget(&header, &sets[0]) == nil && sets[0].Effective&(1<<unix.CAP_DAC_OVERRIDE) != 0 {
		return
	}
	log.WithField("uid", os.Geteuid()).Warn("run this as root: the ledger, the journal and containerd's socket are root's, " +
		"and this user has no CAP_DAC_OVERRIDE")
}
