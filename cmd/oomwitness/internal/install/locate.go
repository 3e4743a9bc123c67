package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/preflight"
)

// Locate returns the options with open values filled in: the containerd, its files, its socket
// and its systemd unit. If no containerd is found, or its version stays unknown, the default
// paths are filled in, and the error has the reason.
func (o Options) Locate(ctx context.Context) (Options, error) {
	if o.located {
		return o, o.notFound
	}
	o.located = true
	o.daemon, o.notFound = o.find(ctx)
	o.MainConfig = cmp.Or(o.MainConfig, o.daemon.Config, criconf.DefaultPath)
	o.Address = cmp.Or(o.Address, o.daemon.Address, containerd.DefaultAddress)
	o.Unit = cmp.Or(o.Unit, o.daemon.Unit)
	if o.Unit == "" && o.daemon.PID == 0 {
		o.Unit = "containerd.service"
	}
	config, err := criconf.Load(o.Root, o.MainConfig, "")
	if o.notFound == nil && err != nil {
		config = criconf.Config{Path: o.MainConfig} // plan reports the error
	}
	o.source = config.Source(o.Root)
	o.ConfDir = cmp.Or(o.ConfDir, o.source.Folder, o.dropinDir(config))
	return o, o.notFound
}

// dropinDir returns the folder for the drop-in: the folder that has a drop-in of ours, or the
// first folder that containerd reads.
func (o Options) dropinDir(config criconf.Config) string {
	dirs := config.DropinDirs()
	if o.copies() {
		dirs = []string{criconf.DefaultDropinDir}
	}
	for _, dir := range dirs {
		if text, err := o.Root.ReadFile(path.Join(dir, criconf.DropinName)); err == nil && criconf.Ours(text) {
			return dir
		}
	}
	return dirs[0]
}

// find finds the node's containerd.
func (o Options) find(ctx context.Context) (containerd.Daemon, error) {
	if o.Find != nil {
		return o.Find(ctx)
	}
	if err := containerd.Closed(o.Root); err != nil && !o.Force {
		return containerd.Daemon{}, err
	}
	located, err := containerd.Locate(ctx, o.Root, containerd.Wanted{Address: o.Address, Config: o.MainConfig})
	if err != nil {
		return containerd.Daemon{Located: located}, err
	}
	if err := o.otherConfig(located); err != nil {
		return containerd.Daemon{Located: located}, err
	}
	daemon, err := containerd.Finder{Root: o.Root, Located: located, Version: o.ContainerdVersion, Force: o.Force}.Find(ctx)
	if err != nil && located.PID == 0 {
		for _, other := range located.Others {
			err = fmt.Errorf("%w\nthis one runs: %s", err, other)
		}
	}
	return daemon, err
}

// otherConfig refuses a configuration that the running containerd does not read.
func (o Options) otherConfig(located containerd.Located) error {
	if o.Force || o.MainConfig == "" {
		return nil
	}
	running := []containerd.Instance{located.Instance}
	if located.PID == 0 && o.Address == "" {
		running = located.Others
	}
	for _, i := range running {
		if i.CRI && i.ConfigNamed && o.Root.Resolve(i.Config) != o.Root.Resolve(o.MainConfig) {
			return fmt.Errorf("containerd runs with the configuration %s, and not %s: name it with --containerd-config %s, "+
				"or go on all the same with --force", i.Config, o.MainConfig, i.Config)
		}
	}
	return nil
}

// Which returns one line for each containerd, if there are several to choose from.
func (o Options) Which() []string {
	var out []string
	if len(o.daemon.Others)+len(o.daemon.PassedOver) > 0 {
		out = append(out, "this containerd is meant: "+o.daemon.String())
	}
	for _, other := range o.daemon.Others {
		out = append(out, "this one is left alone: "+other.String())
	}
	for _, line := range o.daemon.PassedOver {
		out = append(out, "passed over: "+line)
	}
	return out
}

// Checker returns a check of the containerd that Locate has found, and of its files.
func (o Options) Checker(c preflight.Checker) preflight.Checker {
	c.Containerd = o.daemon.Located
	c.ContainerdConfig, c.Address, c.ConfDir = o.MainConfig, o.Address, o.ConfDir
	return c
}

// Generator returns the program that writes containerd's main configuration, "" if the node's
// owner writes it. restarts reports whether that program restarts containerd.
func (o Options) Generator() (name string, restarts bool) {
	return o.source.Generator, o.source.Restarts
}

// restartCommand returns the command by which an operator makes containerd read its
// configuration.
func (o Options) restartCommand() string {
	if o.Unit == "" {
		return "restart the service that containerd belongs to"
	}
	return "systemctl restart " + strings.TrimSuffix(o.Unit, ".service")
}

// checkRestart refuses a restart that would fail, before any change.
func (o Options) checkRestart() error {
	switch {
	case !o.Restart || o.source.Restarts:
		return nil
	case !o.systemd():
		return errors.New("--restart-containerd: needs systemd as PID 1, which is not so here; " +
			"leave the flag out and restart containerd your own way")
	case o.Unit == "":
		return fmt.Errorf("--restart-containerd: containerd (pid %d) belongs to no systemd unit: name one with --containerd-unit, "+
			"or leave the flag out and restart containerd your own way", o.daemon.PID)
	}
	return nil
}
