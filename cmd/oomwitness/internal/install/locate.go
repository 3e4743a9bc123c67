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

// Locate returns the options with what they leave open: which containerd is meant, where
// the files are that this containerd reads, its socket and its systemd unit. Where none
// can be found, or its version stays unknown, the usual paths are filled in, and the error
// says why.
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
		config = criconf.Config{Path: o.MainConfig} // plan says what is wrong
	}
	o.source = config.Source(o.Root)
	o.ConfDir = cmp.Or(o.ConfDir, o.source.Folder, o.dropinDir(config))
	return o, o.notFound
}

// dropinDir returns the folder for the drop-in: the one that has a drop-in of ours, else
// the first that containerd reads.
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

// otherConfig refuses to write what the containerd that runs does not read.
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

// Which says which containerd is meant where several could be, one line for each.
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

// Checker returns a check of the containerd, and of its files, that Locate has found.
func (o Options) Checker(c preflight.Checker) preflight.Checker {
	c.Containerd = o.daemon.Located
	c.ContainerdConfig, c.Address, c.ConfDir = o.MainConfig, o.Address, o.ConfDir
	return c
}

// Generator returns the program that writes containerd's main configuration, "" where
// the node's owner does, and reports whether that program restarts containerd by itself.
func (o Options) Generator() (name string, restarts bool) {
	return o.source.Generator, o.source.Restarts
}

// restartCommand is what an operator types for containerd to read its configuration.
func (o Options) restartCommand() string {
	if o.Unit == "" {
		return "restart the service that containerd belongs to"
	}
	return "systemctl restart " + strings.TrimSuffix(o.Unit, ".service")
}

// checkRestart refuses a restart that could not be done, before any change.
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
