// Package install puts the shim and its registration with containerd on a node, or
// into an image, and takes them away again. It edits a file of the node's owner
// only where the owner says so.
package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/systemd"
)

// DefaultBinDir is on the PATH that systemd gives containerd.
const DefaultBinDir = "/usr/local/bin"

// Options say what to install and where. All directories are paths as seen
// from inside Root.
type Options struct {
	// BinDir takes the shim, ConfDir the drop-in. An empty ConfDir is a folder that the
	// node's containerd reads.
	BinDir, ConfDir string
	// MainConfig is containerd's configuration file, "" to find out; it is only read,
	// unless EditConfig allows to add to it what containerd needs.
	MainConfig string
	EditConfig bool
	// Address is containerd's socket, ContainerdVersion its version and Unit its systemd
	// unit, "" to find out.
	Address, ContainerdVersion, Unit string
	// ConfigVersion is "auto", "2" or "3".
	ConfigVersion string
	// Handler is the CRI runtime handler's name.
	Handler string
	// SystemdCgroup is "auto", "true" or "false".
	SystemdCgroup string
	// SystemdUnit is "auto", "true" or "false": whether to install the unit that
	// loads the ledger at boot, and this command for it to start.
	SystemdUnit string
	// Agent is whether to install the unit that runs the agent as well. Uninstall
	// removes it in any case.
	Agent bool
	// AgentOnly installs the units of the ledger and of the agent, and nothing for
	// containerd.
	AgentOnly bool
	// Settings are the shim's, for all nodes alike; "" removes those that were put
	// there so, nil leaves what is there.
	Settings *string
	// Shim is the binary to copy, a path outside Root; "" is the one beside
	// this executable.
	Shim string
	// Docker has the options of the registration with dockerd.
	Docker DockerOptions
	// Root is the tree to work in.
	Root rootfs.Dir
	// DryRun only says what would be done.
	DryRun bool
	// Restart restarts containerd afterwards, changed or not.
	Restart bool
	// Force removes what uninstall would rather keep.
	Force bool

	// Find finds the node's containerd; nil finds the real one.
	Find func(ctx context.Context) (containerd.Daemon, error)
	// Command is this command's own file; "" is this executable.
	Command string
	// Proc is where processes are listed; "" is /proc.
	Proc string
	// Booted is there when systemd is PID 1 (sd_booted(3)); "" is
	// /run/systemd/system.
	Booted string
	// UnitDir is where systemd units go; "" is /etc/systemd/system.
	UnitDir string
	// Systemd is asked for restarts; nil is the node's own.
	Systemd systemd.Manager
	// Handlers asks the CRI at a socket for its runtime handlers; nil asks for real.
	Handlers func(ctx context.Context, socket string) ([]string, error)

	// What Locate found out; notFound is why no containerd was found.
	located  bool
	notFound error
	daemon   containerd.Daemon
	source   criconf.Source
	// changes are what this run has changed so far.
	changes *changes
}

// Action is one thing done, or that would be done.
type Action struct {
	// Verb is create, update, unchanged, remove, absent, undo, restart, reload or unload.
	Verb string
	// Path is the file as seen from inside the root, the service or the ledger.
	Path string
}

// Result is what was done, with what is left for the operator to do.
type Result struct {
	Actions []Action
	Notes   []string
	changes *changes
}

// Undo puts the files back as they were, for a caller whose containerd did not come back
// with the new ones.
func (r *Result) Undo() error {
	if r.changes == nil {
		return nil
	}
	return r.changes.undo(r)
}

func (r *Result) did(verb, name string) {
	r.Actions = append(r.Actions, Action{Verb: verb, Path: name})
}

func (r *Result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Changed reports whether any file differs from before.
func (r *Result) Changed() bool {
	for _, action := range r.Actions {
		switch action.Verb {
		case "create", "update", "remove":
			return true
		}
	}
	return false
}

// shimPath is where the shim goes, as seen from inside the root.
func (o Options) shimPath() string { return path.Join(o.BinDir, criconf.ShimName) }

// dropinPath is where the drop-in goes, as seen from inside the root.
func (o Options) dropinPath() string { return path.Join(o.ConfDir, criconf.DropinName) }

// checkPaths refuses paths that cannot be used, and a root that is none.
func (o Options) checkPaths() error {
	for _, dir := range []struct{ flag, value string }{
		{"--bin-dir", o.BinDir}, {"--conf-dir", o.ConfDir}, {"--containerd-config", o.MainConfig},
	} {
		if !path.IsAbs(dir.value) || strings.ContainsAny(dir.value, "\n\x00") {
			return fmt.Errorf("%s %q: has to be an absolute path", dir.flag, dir.value)
		}
	}
	if o.Root.Running() {
		return nil
	}
	if o.Restart {
		return fmt.Errorf("--restart-containerd cannot be used with --root %s: the containerd that runs here is not that tree's", o.Root)
	}
	info, err := os.Stat(string(o.Root))
	if err != nil {
		return fmt.Errorf("--root: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("--root %s: has to be a directory", o.Root)
	}
	return nil
}

// check refuses bad options before anything is written.
func (o Options) check() error {
	if err := errors.Join(o.checkPaths(), criconf.CheckHandler(o.Handler)); err != nil || !o.Root.Running() {
		return err
	}
	return o.checkRestart()
}

// checkWords refuses a value that is none of those allowed.
func (o Options) checkWords() error {
	_, version := o.configVersion()
	_, unit := o.wantsUnit()
	_, _, driver := o.systemdCgroup(criconf.Config{})
	return cmp.Or(version, unit, driver)
}

// configVersion translates the flag; 0 is automatic.
func (o Options) configVersion() (int, error) {
	switch o.ConfigVersion {
	case "auto":
		return 0, nil
	case "2":
		return 2, nil
	case "3":
		return 3, nil
	}
	return 0, fmt.Errorf("--config-version %q: allowed are auto, 2 and 3", o.ConfigVersion)
}

// systemdCgroup chooses the cgroup driver, and says why where it had to guess.
func (o Options) systemdCgroup(config criconf.Config) (value bool, why string, err error) {
	switch o.SystemdCgroup {
	case "true", "false":
		return o.SystemdCgroup == "true", "", nil
	case "auto":
	default:
		return false, "", fmt.Errorf("--systemd-cgroup %q: allowed are auto, true and false", o.SystemdCgroup)
	}
	if value, set := config.SystemdCgroup(); set {
		return value, "", nil
	}
	value = o.systemd()
	has := "systemd is not the init system"
	if value {
		has = "systemd is the init system"
	}
	return value, fmt.Sprintf("SystemdCgroup = %t, because no runc handler is configured and %s; "+
		"it has to agree with kubelet's cgroupDriver, --systemd-cgroup sets it", value, has), nil
}

// systemd reports whether systemd is PID 1, or, in a tree that is not running,
// whether systemd would be PID 1.
func (o Options) systemd() bool {
	if !o.Root.Running() {
		return o.Root.Exists("/usr/lib/systemd/systemd") || o.Root.Exists("/lib/systemd/systemd")
	}
	if o.Booted == "" {
		o.Booted = "/run/systemd/system"
	}
	return o.Root.Exists(o.Booted)
}

// shimSource finds the binary to copy and makes sure that it is one.
func (o Options) shimSource() (string, error) {
	source, advice := o.Shim, ""
	if source == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find the shim beside this command: %w", err)
		}
		source = filepath.Join(filepath.Dir(self), criconf.ShimName)
		advice = "; name the binary with --shim PATH"
	}
	info, err := os.Stat(source)
	if err != nil {
		return "", fmt.Errorf("shim: %w%s", err, advice)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("shim %s: has to be a file%s", source, advice)
	}
	head := make([]byte, 4)
	file, err := os.Open(source)
	if err != nil {
		return "", fmt.Errorf("shim: %w", err)
	}
	defer file.Close()
	if n, _ := file.Read(head); string(head[:n]) != "\x7fELF" {
		return "", fmt.Errorf("shim %s: is not an ELF executable", source)
	}
	return source, nil
}
