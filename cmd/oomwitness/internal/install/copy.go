package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

// copyPath is the path for the copy of a read-only configuration.
const copyPath = criconf.DefaultPath

// variableName is the name of the drop-in of containerd's unit by which containerd reads the
// copy.
const variableName = "50-oomwitness.conf"

// copies reports whether the main configuration has to be copied for an edit: the file is on a
// read-only file system, and the environment of containerd's unit can name another file, as on
// Flatcar.
func (o Options) copies() bool {
	var at unix.Statfs_t
	return o.Root.Running() && o.daemon.ConfigVariable && o.MainConfig != copyPath &&
		unix.Statfs(o.Root.Path(o.MainConfig), &at) == nil && at.Flags&unix.ST_RDONLY != 0
}

// planCopy plans the copy of the main configuration, and returns its text.
func (o Options) planCopy(r *registration) ([]byte, error) {
	text, err := o.Root.ReadFile(o.MainConfig)
	if err != nil {
		return nil, fmt.Errorf("containerd configuration: %w", err)
	}
	if now, err := o.Root.ReadFile(copyPath); err == nil {
		if rest, _, err := criconf.Cut(now); err != nil || !criconf.Created(rest) {
			return nil, fmt.Errorf("containerd reads %s, and not %s, which is there: move the latter away", o.MainConfig, copyPath)
		}
	}
	r.main = copyPath
	return criconf.NewCopy(o.MainConfig, text), nil
}

// refreshed returns a copy made anew, if text is a copy; nil otherwise.
func (o Options) refreshed(text []byte) []byte {
	of, unaltered := criconf.CopyOf(text)
	if now, err := o.Root.ReadFile(of); unaltered && err == nil {
		return criconf.NewCopy(of, now)
	}
	return nil
}

// variablePath returns the path of the drop-in of containerd's unit.
func (o Options) variablePath() string { return path.Join(o.unitDir(), o.Unit+".d", variableName) }

// installVariable makes containerd's unit start containerd with the copy.
func (o Options) installVariable(result *Result) error {
	text := fmt.Sprintf("%s; \"oomwitness uninstall\" removes it.\n[Service]\nEnvironment=CONTAINERD_CONFIG=%s\n", unitMarker, copyPath)
	if err := o.write(result, o.variablePath(), bytesSource([]byte(text)), 0o644); err != nil {
		return fmt.Errorf("drop-in of %s: %w", o.Unit, err)
	}
	return nil
}

// removeVariable removes the drop-in of containerd's unit.
func (o Options) removeVariable(result *Result) error {
	name := o.variablePath()
	text, err := o.Root.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.HasPrefix(text, []byte(unitMarker)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("drop-in of %s: %w", o.Unit, err)
	}
	if err := o.remove(result, name); err != nil || o.DryRun {
		return err
	}
	_ = os.Remove(o.Root.Path(path.Dir(name))) // fails if the folder has other files
	return nil
}

// mainWithout returns the configuration file that containerd reads without install's changes:
// if the main file is a copy, the original of the copy.
func (o Options) mainWithout() string {
	text, err := o.Root.ReadFile(o.MainConfig)
	if err != nil {
		return o.MainConfig
	}
	rest, _, err := criconf.Cut(text)
	if of, _ := criconf.CopyOf(rest); err == nil && strings.HasPrefix(of, "/") {
		return of
	}
	return o.MainConfig
}
