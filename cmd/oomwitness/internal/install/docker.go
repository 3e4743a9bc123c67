package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/docker"
)

// DockerOptions are the options of the registration with dockerd.
type DockerOptions struct {
	// Wanted makes Uninstall leave the registration with containerd's CRI plugin, and the
	// shim if that is there.
	Wanted bool
	// Config is dockerd's configuration file as seen from inside Root; "" is the one that
	// the running dockerd reads, else the usual one.
	Config string
	// Socket is the socket of dockerd's API; "" is the usual one.
	Socket string
	// Default makes the shim dockerd's default runtime.
	Default bool
	// Reload makes dockerd read its configuration afterwards.
	Reload bool
}

// dockerPlan is everything that InstallDocker found out before its first write.
type dockerPlan struct {
	daemon        dockerd
	source        string
	command       string
	units         bool
	before, after []byte
	way           docker.Way
}

// InstallDocker copies the shim and registers it as a runtime of dockerd, in this order.
// The command that loads the ledger follows, and where systemd is its unit. It is
// idempotent. The result is also valid with an error: it holds what was done before.
func InstallDocker(ctx context.Context, o Options) (Result, error) {
	return o.locked(ctx, Options.installDocker)
}

func (o Options) installDocker(ctx context.Context, result *Result) error {
	o, _ = o.Locate(ctx) // for the name of containerd's unit alone
	p, err := o.planDocker(ctx, result)
	if err != nil {
		return err
	}
	if err := o.write(result, o.shimPath(), fileSource(p.source), 0o755); err != nil {
		return fmt.Errorf("install the shim: %w", err)
	}
	if p.way == docker.ByConfig {
		if err := o.writeDocker(result, p); err != nil {
			return fmt.Errorf("register with dockerd: %w", err)
		}
	}
	if err := o.installLoader(result, p.command, p.units); err != nil {
		return err
	}
	if p.way == docker.ByType {
		result.note("%s takes no shim from daemon.json (24.0 is the first), and needs no registration: "+
			"docker run --runtime %s, with %s on containerd's PATH", p.daemon, docker.RuntimeType, o.BinDir)
		return nil
	}
	since := ""
	if p.daemon.version.Major == 0 { // not known
		since = " if Docker is 24.0 or later"
	}
	result.note("docker run --runtime %s starts a container under the shim%s", o.Handler, since)
	return p.daemon.reload(ctx, o, !bytes.Equal(p.before, p.after), result)
}

// planDocker reads and checks everything, and writes nothing.
func (o Options) planDocker(ctx context.Context, result *Result) (dockerPlan, error) {
	var p dockerPlan
	err := errors.Join(o.check(), o.checkBinDir())
	if err != nil {
		return p, err
	}
	if p.daemon, err = o.findDockerd(); err != nil {
		return p, err
	}
	if p.way, err = p.daemon.way(ctx, o, result); err != nil {
		return p, err
	}
	if err := p.daemon.checkRead(); err != nil && !o.Force {
		return p, err
	}
	if p.source, err = o.shimSource(); err != nil {
		return p, err
	}
	if p.command, p.units, err = o.planLoader(); err != nil || p.way != docker.ByConfig {
		return p, err
	}
	if p.before, err = o.readDocker(p.daemon.config); err != nil {
		return p, err
	}
	if p.before == nil {
		if err := o.dangling(p.daemon.config); err != nil {
			return p, err
		}
	}
	r := docker.Runtime{Name: o.Handler, Shim: o.shimPath(), Default: o.Docker.Default}
	if p.after, err = docker.Register(p.before, r, o.Force); err != nil {
		return p, fmt.Errorf("%s: %w", p.daemon.config, err)
	}
	if bytes.Equal(p.before, p.after) {
		return p, nil
	}
	if p.daemon.runs && p.daemon.process.PID == 0 {
		result.note("no dockerd runs, and its flags were not checked: with --config-file dockerd reads another file than %s, and a "+
			"dockerd with --default-runtime does not start if the file has %q too", p.daemon.config, "default-runtime")
	}
	return p, p.daemon.validate(ctx, p.before, p.after)
}

// readDocker returns dockerd's configuration, nil where there is none.
func (o Options) readDocker(config string) ([]byte, error) {
	data, err := o.Root.ReadFile(config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("dockerd's configuration: %w", err)
	}
	if data == nil {
		data = []byte{}
	}
	return data, nil
}

// writeDocker writes the configuration, with a copy of what was there before the first
// registration.
func (o Options) writeDocker(result *Result, p dockerPlan) error {
	config := p.daemon.config
	if now, err := o.readDocker(config); err != nil || !bytes.Equal(now, p.before) {
		return errors.Join(err, fmt.Errorf("%s was changed while install ran: run install again", config))
	}
	if bytes.Equal(p.before, p.after) && p.before != nil {
		result.did("unchanged", config)
		return nil
	}
	ours, err := docker.Names(p.before)
	if err != nil {
		return err
	}
	if p.before != nil && len(ours) == 0 {
		state, err := saveFile(o.Root.Resolve(config))
		if err == nil {
			err = o.keepBackup(result, o.Root.Entry(config), state, p.before)
		}
		if err != nil {
			return err
		}
	}
	return o.rewrite(result, config, p.after)
}

// rewrite writes a file, and keeps its mode and owner. A symbolic link stays, the file that
// it leads to is replaced.
func (o Options) rewrite(result *Result, name string, data []byte) error {
	target, verb := o.Root.Resolve(name), "update"
	state, err := saveFile(target)
	if err != nil {
		return err
	}
	if !state.there {
		verb = "create"
	}
	result.did(verb, name)
	if o.DryRun {
		return nil
	}
	if err := o.changes.save(target, name); err != nil {
		return err
	}
	if !state.there {
		return replace(target, bytesSource(data), 0o644)
	}
	return state.with(target, data).put()
}
