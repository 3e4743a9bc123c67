package install

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// UnitName is the systemd unit that loads the ledger at boot, AgentUnitName the
// one that runs the agent.
const (
	UnitName      = "oomwitness-ledger.service"
	AgentUnitName = "oomwitness-agent.service"
)

const (
	defaultUnitDir = "/etc/systemd/system"
	// unitMarker begins every unit file of ours.
	unitMarker = "# Written by \"oomwitness install\""
)

// unitPath and wantPath are a unit and the link that enables it, as seen from inside the
// root.
func (o Options) unitPath(name string) string { return path.Join(o.unitDir(), name) }

func (o Options) wantPath(name string) string {
	return path.Join(o.unitDir(), "multi-user.target.wants", name)
}

func (o Options) unitDir() string { return cmp.Or(o.UnitDir, defaultUnitDir) }

// unit is the unit file. containerd does not depend on it: a node without a
// ledger runs containers all the same.
func (o Options) unit() []byte {
	return fmt.Appendf(nil, `%s; "oomwitness uninstall" removes it.
# The ledger is the kernel's own record of OOM kills. It is loaded before the
# first container; stopping this unit leaves it: "oomwitness unload" removes it.
[Unit]
Description=Ledger of OOM kills (oomwitness)
After=sys-fs-bpf.mount local-fs.target
Before=%s

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=%s load

[Install]
WantedBy=multi-user.target
`, unitMarker, o.beside(), execWord(o.commandPath()))
}

// beside is the unit that starts containers: the one of the node's containerd.
func (o Options) beside() string { return cmp.Or(o.Unit, "containerd.service") }

// execWord quotes a path for ExecStart= (systemd.service(5)).
func execWord(word string) string {
	word = strings.ReplaceAll(word, "%", "%%")
	if !strings.ContainsAny(word, " \t'\"\\;$") {
		return word
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `$$`).Replace(word) + `"`
}

// wantsUnit reports whether the unit is to be installed.
func (o Options) wantsUnit() (bool, error) {
	switch o.SystemdUnit {
	case "true", "false":
		return o.SystemdUnit == "true", nil
	case "auto":
		return o.systemd(), nil
	}
	return false, fmt.Errorf("--systemd-unit %q: allowed are auto, true and false", o.SystemdUnit)
}

// planUnit reports whether units are to be installed, and refuses those of somebody else.
func (o Options) planUnit() (bool, error) {
	wanted, err := o.wantsUnit()
	if err == nil && o.Agent && !wanted {
		err = errors.New("--agent: the agent is started by systemd, and there is to be no unit: see --systemd-unit")
	}
	if err != nil || !wanted {
		return false, err
	}
	for name := range o.units() {
		if _, err := o.unitState(name); err != nil {
			return false, err
		}
	}
	return true, nil
}

// unitState reports whether there is a unit, and refuses one that install did not
// write.
func (o Options) unitState(name string) (there bool, err error) {
	data, err := o.Root.ReadFile(o.unitPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("systemd unit: %w", err)
	}
	if !bytes.HasPrefix(data, []byte(unitMarker)) && !o.Force {
		return true, fmt.Errorf("%s was not written by oomwitness install: move it away, or use --force", o.unitPath(name))
	}
	return true, nil
}

// units are the units to install, by name.
func (o Options) units() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		if yield(UnitName, o.unit()) && o.Agent {
			yield(AgentUnitName, o.agentUnit())
		}
	}
}

// installUnits puts the units that start the command, and the links that enable these
// units, in place.
func (o Options) installUnits(result *Result) error {
	for name, text := range o.units() {
		if err := o.write(result, o.unitPath(name), bytesSource(text), 0o644); err != nil {
			return fmt.Errorf("install the systemd unit: %w", err)
		}
		if err := o.link(result, o.wantPath(name), o.unitPath(name)); err != nil {
			return fmt.Errorf("enable the systemd unit: %w", err)
		}
	}
	return nil
}

// link makes a symbolic link as systemctl enable does: absolute, as seen from
// inside the root.
func (o Options) link(result *Result, name, to string) error {
	target := o.Root.Entry(name)
	verb := "create"
	switch info, err := os.Lstat(target); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSymlink:
		return fmt.Errorf("%s is there and is not a symbolic link", name)
	default:
		if now, err := os.Readlink(target); err == nil && now == to {
			result.did("unchanged", name)
			return nil
		}
		verb = "update"
	}
	if !o.DryRun {
		if err := o.changes.save(target, name); err != nil {
			return err
		}
		if err := relink(target, to); err != nil {
			return err
		}
	}
	result.did(verb, name)
	return nil
}

// relink replaces what is at target, if anything, in one step.
func relink(target, to string) error {
	dir := filepath.Dir(target)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temp := filepath.Join(dir, "."+filepath.Base(target)+".link.tmp")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(to, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, target); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncDir(dir)
}

// unitFiles are what uninstall removes of the units, the ledger's last.
func (o Options) unitFiles() ([]string, error) {
	var files []string
	for _, name := range []string{AgentUnitName, UnitName} {
		there, err := o.unitState(name)
		if err != nil {
			return nil, err
		}
		if !there {
			continue
		}
		if _, err := os.Lstat(o.Root.Entry(o.wantPath(name))); err == nil {
			files = append(files, o.wantPath(name))
		}
		files = append(files, o.unitPath(name))
	}
	return files, nil
}

// HasUnit reports whether a systemd unit was among what was done.
func (r *Result) HasUnit() bool {
	for _, action := range r.Actions {
		if base := path.Base(action.Path); base == UnitName || base == variableName {
			return true
		}
	}
	return false
}
