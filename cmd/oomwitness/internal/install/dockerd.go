package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/docker"
)

// programDirs are where systemd looks for programs (systemd.exec(5), PATH).
var programDirs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// dockerd is the dockerd with which the shim is registered.
type dockerd struct {
	// config is the path of its configuration file as seen from inside the root.
	config string
	// process is the running dockerd, with PID 0 for none. passedOver are dockerds that do not
	// count, such as a rootless one.
	process    docker.Process
	passedOver []string
	// named reports whether the operator named config, and others are the running dockerds with
	// another configuration file.
	named  bool
	others []docker.Process
	// answers reports whether a dockerd answers at the socket.
	answers bool
	// program is the path of its program, "" if none can be run.
	program string
	// runs reports whether the program belongs to this machine, and not to a tree.
	runs    bool
	client  docker.Client
	version docker.Version
}

func (d dockerd) String() string { return "Docker " + d.version.Text }

// findDockerd finds the dockerd with the named configuration, or the only dockerd.
func (o Options) findDockerd() (dockerd, error) {
	d := dockerd{config: o.Docker.Config, named: o.Docker.Config != "", runs: o.Root.Running(), client: docker.Client{Socket: cmp.Or(o.Docker.Socket, docker.DefaultSocket)}}
	if !o.Root.Running() {
		if o.Docker.Reload {
			return d, fmt.Errorf("--reload-docker cannot be used with --root %s: the dockerd that runs here is not that tree's", o.Root)
		}
		d.config = cmp.Or(d.config, docker.DefaultConfig)
		d.program = o.Root.LookPath("dockerd", programDirs)
		return d, nil
	}
	processes, passedOver, err := docker.Processes(cmp.Or(o.Proc, "/proc"))
	if err != nil {
		return d, err
	}
	d.passedOver = passedOver
	var found []string
	for _, p := range processes {
		if d.named && o.Root.Resolve(d.config) != o.Root.Resolve(p.Config()) {
			d.others = append(d.others, p)
			continue
		}
		found = append(found, fmt.Sprintf("pid %d reads %s", p.PID, p.Config()))
		d.process = p
	}
	if len(found) > 1 {
		return d, fmt.Errorf("more than one dockerd runs: name the configuration with --docker-config: %s", strings.Join(found, ", "))
	}
	if d.process.PID != 0 {
		d.config = d.process.Config()
		d.program = "/proc/" + strconv.Itoa(d.process.PID) + "/exe"
	} else {
		d.program = o.Root.LookPath("dockerd", programDirs)
	}
	d.config = cmp.Or(d.config, docker.DefaultConfig)
	if o.Docker.Reload && d.process.PID == 0 {
		return d, errors.New("--reload-docker: no dockerd runs here that reads " + d.config)
	}
	return d, nil
}

// way reads dockerd's version, and refuses a version that can start no other shim.
func (d *dockerd) way(ctx context.Context, o Options, result *Result) (docker.Way, error) {
	for _, line := range d.passedOver {
		result.note("passed over: %s", line)
	}
	var err error
	if o.Root.Running() {
		d.version, err = d.client.Version(ctx)
		d.answers = err == nil
	} else {
		err = fmt.Errorf("the dockerd of %s does not run", o.Root)
	}
	if err != nil && d.program != "" {
		var failed error
		if d.version, failed = docker.ProgramVersion(ctx, o.Root, d.program); failed == nil {
			err = nil
		}
		err = errors.Join(err, failed)
	}
	if d.program == "" && !o.Root.Running() {
		result.note("there is no dockerd in %s to ask for its version. Docker 24.0 and later take the shim from daemon.json; "+
			"for an older one see docs/docker.md", o.Root)
		return docker.ByConfig, nil
	}
	if err != nil && o.Force {
		result.note("dockerd's version is not known: %v", err)
		return docker.ByConfig, nil
	}
	if err != nil {
		return 0, fmt.Errorf("dockerd's version is not known; name its socket with --docker-socket, or go on without by --force: %w", err)
	}
	way := d.version.Way()
	if way == docker.ByLink {
		return way, fmt.Errorf("found %s: %w", d, docker.ErrByLink)
	}
	if way == docker.ByType && o.Docker.Default {
		return way, fmt.Errorf("--docker-default: found %s, 24.0 is the first that takes a shim from daemon.json", d)
	}
	return way, nil
}

// checkRead refuses a configuration file that the dockerd at the socket does not read.
func (d dockerd) checkRead() error {
	switch {
	case d.process.PID != 0 || !d.answers:
		return nil
	case len(d.others) > 0:
		reads := d.others[0].Config()
		return fmt.Errorf("--docker-config %s: dockerd (pid %d) reads %s: use --docker-config %s, or go on all the same with --force",
			d.config, d.others[0].PID, reads, reads)
	case !d.named:
		return fmt.Errorf("a dockerd answers at %s, and no process of the node's own is that dockerd: name the configuration file of "+
			"that dockerd with --docker-config, or go on all the same with --force", d.client.Socket)
	}
	return nil
}

// validate has dockerd check the new configuration before it is written. If dockerd also
// refuses the old one, its objection does not count.
func (d dockerd) validate(ctx context.Context, before, after []byte) error {
	if d.program == "" || !d.runs {
		return nil
	}
	refusal, err := d.judge(ctx, after)
	if err != nil || refusal == nil {
		return err
	}
	if old, err := d.judge(ctx, before); err == nil && old != nil && before != nil {
		return fmt.Errorf("dockerd refuses %s as it is, and nothing was changed: %w", d.config, old)
	}
	return fmt.Errorf("dockerd refuses the change to %s, and nothing was changed: %w", d.config, refusal)
}

// judge returns dockerd's objection to a configuration, together with the flags of the running
// dockerd.
func (d dockerd) judge(ctx context.Context, text []byte) (refusal, err error) {
	file, err := os.CreateTemp("", "daemon.*.json")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	if _, err := file.Write(text); err != nil {
		return nil, err
	}
	return docker.Validate(ctx, d.program, d.process.Args, file.Name()), nil
}

// reload makes dockerd read its configuration if asked, and waits until it has. Otherwise it
// notes what to type. changed says that dockerd has not read the configuration yet.
func (d dockerd) reload(ctx context.Context, o Options, changed bool, result *Result) error {
	if d.process.PID == 0 || o.DryRun && !o.Docker.Reload {
		return nil
	}
	if has, err := d.client.HasRuntime(ctx, o.Handler); err == nil && has && !changed {
		return nil
	}
	if !o.Docker.Reload {
		result.note("dockerd reads its configuration when it is reloaded: %s (running containers go on)", d.reloadCommand(o))
		return nil
	}
	if err := d.hangUp(o, result); err != nil || o.DryRun {
		return err
	}
	return d.client.AwaitRuntime(ctx, o.Handler)
}

// forget makes dockerd read its configuration without the runtime, if asked. A reload without
// the key "runtimes" or "default-runtime" changes neither (reloadPlatform in
// daemon/reload_unix.go): then only a restart removes the runtime from memory.
func (d dockerd) forget(ctx context.Context, o Options, result *Result) error {
	if d.process.PID == 0 {
		return nil
	}
	if o.Docker.Reload {
		if err := d.hangUp(o, result); err != nil {
			return err
		}
	}
	if has, err := d.client.HasRuntime(ctx, o.Handler); err != nil || has {
		result.note("dockerd has the runtime in memory until it is restarted (systemctl restart docker)")
	}
	return nil
}

// hangUp sends dockerd the signal that makes it read its configuration.
func (d dockerd) hangUp(o Options, result *Result) error {
	result.did("reload", "dockerd")
	if o.DryRun {
		return nil
	}
	if err := syscall.Kill(d.process.PID, syscall.SIGHUP); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reload dockerd (pid %d): %w", d.process.PID, err)
	}
	return nil
}

func (d dockerd) reloadCommand(o Options) string {
	if o.systemd() {
		return "systemctl reload docker"
	}
	return "kill -HUP " + strconv.Itoa(d.process.PID)
}
