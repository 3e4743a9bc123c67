// Package install installs the shim and its registration with containerd on a node, or in an
// image, and uninstalls them. It edits a file of the node's owner only with the owner's
// permission.
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

// DefaultBinDir is on the PATH of containerd as a systemd service.
const DefaultBinDir = "/usr/local/bin"

// Options describe what to install, and where. All directories are paths as seen from inside
// Root.
type Options struct {
	// BinDir is the folder for the shim, ConfDir that for the drop-in. An empty ConfDir means a
	// folder that the node's containerd reads.
	BinDir, ConfDir string
	// MainConfig is containerd's configuration file, "" to find it. It is edited only if
	// EditConfig is set.
	MainConfig string
	EditConfig bool
	// Address is containerd's socket, ContainerdVersion its version and Unit its systemd unit;
	// "" to find them.
	Address, ContainerdVersion, Unit string
	// ConfigVersion is "auto", "2" or "3".
	ConfigVersion string
	// Handler is the CRI runtime handler's name.
	Handler string
	// SystemdCgroup is "auto", "true" or "false".
	SystemdCgroup string
	// SystemdUnit is "auto", "true" or "false": whether to install this command and the unit
	// that starts it to load the ledger at boot.
	SystemdUnit string
	// Agent says that the unit of the agent is installed as well. Uninstall removes that unit
	// in any case.
	Agent bool
	// AgentOnly says that only the units of the ledger and of the agent are installed, and
	// nothing for containerd.
	AgentOnly bool
	// Settings are the shim's settings, the same on all nodes. "" removes settings that were
	// installed in this way, nil changes nothing.
	Settings *string
	// Shim is the binary to copy, a path outside Root; "" means the binary beside this
	// executable.
	Shim string
	// Docker has the options of the registration with dockerd.
	Docker DockerOptions
	// Root is the tree to change.
	Root rootfs.Dir
	// DryRun says that nothing is changed, and the result has what would be done.
	DryRun bool
	// Restart says that containerd is restarted afterwards, also without a change.
	Restart bool
	// Force says that uninstall goes on where it would refuse.
	Force bool

	// Find finds the node's containerd; nil finds the real one.
	Find func(ctx context.Context) (containerd.Daemon, error)
	// Command is the path of this command; "" means this executable.
	Command string
	// Proc is the folder of procfs; "" means /proc.
	Proc string
	// Booted exists if systemd is PID 1 (sd_booted(3)); "" means /run/systemd/system.
	Booted string
	// UnitDir is the folder for systemd units; "" means /etc/systemd/system.
	UnitDir string
	// Systemd restarts units; nil means the node's own systemd.
	Systemd systemd.Manager
	// Handlers asks the CRI plugin at a socket for its runtime handlers; nil means the real
	// one.
	Handlers func(ctx context.Context, socket string) ([]string, error)

	// What Locate found. notFound is the reason why no containerd was found.
	located  bool
	notFound error
	daemon   containerd.Daemon
	source   criconf.Source
	// changes are the changes of this run so far.
	changes *changes
}

// Action is something that was done, or would be done.
type Action struct {
	// Verb is create, update, unchanged, remove, absent, undo, restart, reload or unload.
	Verb string
	// Path is the path of the file as seen from inside the root, or the name of the service or
	// the ledger.
	Path string
}

// Result is what was done, and what the operator has to do.
type Result struct {
	Actions []Action
	Notes   []string
	changes *changes
}

// Undo restores the files as they were before. It is for a caller whose containerd did not come
// back with the new files.
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

// shimPath returns the path for the shim, as seen from inside the root.
func (o Options) shimPath() string { return path.Join(o.BinDir, criconf.ShimName) }

// dropinPath returns the path for the drop-in, as seen from inside the root.
func (o Options) dropinPath() string { return path.Join(o.ConfDir, criconf.DropinName) }

// checkPath refuses a path that cannot be used.
func checkPath(flag, value string) error {
	if !path.IsAbs(value) || strings.ContainsAny(value, "\n\x00") {
		return fmt.Errorf("%s %q: has to be an absolute path", flag, value)
	}
	return nil
}

// checkPaths refuses paths that cannot be used, and a root that is no directory.
func (o Options) checkPaths() error {
	for _, dir := range []struct{ flag, value string }{
		{"--bin-dir", o.BinDir}, {"--conf-dir", o.ConfDir}, {"--containerd-config", o.MainConfig},
	} {
		if err := checkPath(dir.flag, dir.value); err != nil {
			return err
		}
	}
	if o.Unit != "" {
		if err := containerd.CheckUnit(o.Unit); err != nil {
			return err
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

// checkWords refuses a value that is not among the allowed ones.
func (o Options) checkWords() error {
	_, version := o.configVersion()
	_, unit := o.wantsUnit()
	_, _, driver := o.systemdCgroup(criconf.Config{})
	return cmp.Or(version, unit, driver)
}

// configVersion returns the value of the flag as a number; 0 is automatic.
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

// systemdCgroup returns the cgroup driver. why is the reason if it had to guess.
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

// shimSource returns the path of the binary to copy, and checks that it is a program.
func (o Options) shimSource() (string, error) {
	source, named, advice := o.Shim, fmt.Sprintf("--shim %q", o.Shim), ""
	if source == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find the shim beside this command: %w", err)
		}
		source = filepath.Join(filepath.Dir(self), criconf.ShimName)
		named = "shim " + source
		advice = "; name the binary with --shim PATH"
	}
	info, err := os.Stat(source)
	if err != nil {
		return "", fmt.Errorf("%s: %w%s", named, errors.Unwrap(err), advice)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s: has to be a file%s", named, advice)
	}
	head := make([]byte, 4)
	file, err := os.Open(source)
	if err != nil {
		return "", fmt.Errorf("%s: %w", named, errors.Unwrap(err))
	}
	defer file.Close()
	if n, _ := file.Read(head); string(head[:n]) != "\x7fELF" {
		return "", fmt.Errorf("%s: is not an ELF executable", named)
	}
	return source, nil
}
