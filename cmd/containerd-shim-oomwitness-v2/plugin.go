//go:build linux

package main

import (
	"os"
	"os/signal"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task"
	upstream "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/pkg/sys/reaper"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/shim"
	"github.com/oomwitness/oomwitness/shim/config"
)

// The ID differs from upstream's "task": two plugins with one ID panic.
func init() {
	registry.Register(&plugin.Registration{
		Type:     plugins.TTRPCPlugin,
		ID:       "oomwitness",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.InternalPlugin},
		InitFn:   newService,
	})
}

func newService(ic *plugin.InitContext) (any, error) {
	sd, err := ic.GetByID(plugins.InternalPlugin, "shutdown")
	if err != nil {
		return nil, err
	}
	// Upstream's publisher is there, and has nothing to do.
	if p, err := ic.GetByID(plugins.EventPlugin, "publisher"); err == nil {
		_ = p.(upstream.Publisher).Close()
	}
	cfg, err := config.Load(config.Path())
	if err != nil {
		// The configuration was valid when the shim was started: a later error must not harm
		// the pod.
		log.G(ic.Context).WithError(err).Error("the defaults are used")
	}
	for _, warning := range cfg.Warnings {
		log.G(ic.Context).Warn(warning)
	}
	service, err := shim.NewService(ic.Context, shim.Options{
		Config:    cfg,
		Sources:   shim.Sources(ic.Context),
		Hierarchy: oom.FindHierarchy,
		Client:    shim.NewClient(ic.Properties[plugins.PropertyTTRPCAddress]),
		Exits:     reaper.Default.Subscribe(),
		Shutdown:  sd.(shutdown.Service),
		Upstream:  task.NewTaskService,
		Spool:     exits.DefaultDir,
	})
	if err != nil {
		return nil, err
	}
	children := make(chan os.Signal, 1) // one stands for all that have ended
	signal.Notify(children, unix.SIGCHLD)
	go service.Reap(children, reaper.Reap)
	return service, nil
}
