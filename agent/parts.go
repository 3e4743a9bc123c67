package agent

import (
	"github.com/sirupsen/logrus"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/collect"
	"github.com/oomwitness/oomwitness/agent/internal/resolve"
	"github.com/oomwitness/oomwitness/agent/internal/store"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

// resolver returns a watcher and a Resolver that know what runs on the node, and what
// an earlier agent has checkpointed.
func (p *pipeline) resolver(h oom.Hierarchy, boot string, l *bpf.Handle, names *resolve.Containerd) (*cgroups.Watcher, *resolve.Resolver) {
	kubelet := p.learn(h.Mount)
	tree := &cgroups.Tree{Mount: h.Mount, Parent: l.Parent, Kubelet: kubelet}
	var resolver *resolve.Resolver
	watcher := cgroups.NewWatcher(tree, cgroups.WatchOptions{Appeared: func(path string) { resolver.Appeared(path) }})
	var pods resolve.Pods
	if p.c.pods != nil {
		pods = p.c.pods
	}
	resolver = resolve.New(watcher, names, pods, kubelet)
	p.senders = collect.NewSenders(collect.SendersOptions{
		Ledger: l, Cgroups: watcher, Resolver: resolver, Mount: h.Mount, Boot: boot,
		Has: p.c.exits.Has, Out: p.killed, Warn: func(err error) { p.c.log.Warn(err) },
	})
	p.checkpoint = store.OpenCheckpoint(store.CheckpointOptions{
		Dir: p.c.stateDir, Boot: boot, Cgroups: watcher, Warn: func(err error) { p.c.log.Warn(err) },
	})
	if err := watcher.Start(); err != nil {
		p.c.log.WithError(err).Error("the agent runs without the names of cgroups, and tries again")
	}
	return watcher, resolver
}

// learn finds kubelet's cgroup root, and logs where it is from.
func (p *pipeline) learn(mount string) *cgroups.Kubelet {
	roots := p.c.kubelet.learn(mount, func(err error) {
		p.c.log.WithError(err).Warn("kubelet's cgroup root is not taken from there")
	})
	p.c.log.WithFields(logrus.Fields{"cgroup_root": roots.Paths, "source": roots.Source}).
		Info("pods are looked for below kubepods in kubelet's cgroup root")
	p.mu.Lock()
	p.roots = roots
	p.mu.Unlock()
	kubelet, err := cgroups.NewKubelet(roots.Paths)
	if err != nil { // LearnRoots and New have checked them
		p.c.log.WithError(err).Error("kubelet's cgroup root is the default")
	}
	return kubelet
}

// killed takes the end of a container by a SIGKILL that no shim has reported.
func (p *pipeline) killed(e exits.Exit) {
	if !p.c.exits.Found(e) {
		p.c.log.WithField("container", e.ID).Warn("a container that was killed is left out: too many were at once, or its names are too long")
	}
}
