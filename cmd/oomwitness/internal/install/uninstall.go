package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/oom/exits"
)

// Uninstall takes what install added to containerd's configuration out of it,
// removes the drop-in and the shim, in this order, and then the units, the command and the
// settings, if install put them there. It refuses while
// shims run from the binary, and to remove a drop-in that install did not
// write, unless forced. Nothing there is not an error.
func Uninstall(ctx context.Context, o Options) (Result, error) {
	return o.locked(ctx, Options.uninstall)
}

func (o Options) uninstall(ctx context.Context, result *Result) error {
	o, _ = o.Locate(ctx) // without a containerd the files are where they usually are
	if err := o.check(); err != nil {
		return err
	}
	data, err := o.ownDropin()
	if err != nil {
		return err
	}
	why, err := o.staysForOthers(data)
	if err != nil {
		return err
	}
	if why != "" {
		result.note("the shim stays: it is %s", why)
		return o.uninstallDocker(ctx, result)
	}
	if err := o.refuseRunning(); err != nil {
		return err
	}
	if other := otherShim(data, o.Handler, o.shimPath()); other != "" {
		result.note("the drop-in named %s, which stays; remove it with --bin-dir", other)
	}
	unit, err := o.unitFiles()
	if err != nil {
		return err
	}
	if !o.Docker.Wanted {
		if err := o.unregisterCRI(ctx, result); err != nil {
			return fmt.Errorf("containerd's configuration and the shim stay as they are: %w", err)
		}
	}
	if err := o.uninstallDocker(ctx, result); err != nil {
		return err
	}
	for _, name := range append([]string{o.shimPath()}, unit...) {
		if err := o.remove(result, name); err != nil {
			return err
		}
	}
	if err := o.removeCommand(result); err != nil {
		return err
	}
	if err := errors.Join(o.removeSettings(result), o.removeShimState(result)); err != nil || o.Docker.Wanted {
		return err
	}
	return o.finish(ctx, result, false)
}

// ownDropin returns the text of our drop-in, nil for none, and refuses a drop-in that install did
// not write.
func (o Options) ownDropin() ([]byte, error) {
	data, err := o.Root.ReadFile(o.dropinPath())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, o.danglingDropin()
	case err != nil:
		return nil, fmt.Errorf("drop-in: %w", err)
	case !criconf.Ours(data) && !o.Force:
		return nil, fmt.Errorf("%s was not written by oomwitness install: remove it yourself, or with --force", o.dropinPath())
	}
	return data, nil
}

// staysForOthers returns what else uses the shim if Docker's registration alone is to be removed,
// "" for nothing. Otherwise it refuses to take the shim away from dockerd's other runtimes.
func (o Options) staysForOthers(dropin []byte) (why string, err error) {
	if o.Docker.Wanted && o.usedByCRI(dropin) {
		return "registered with containerd's CRI plugin", nil
	}
	others, found := o.otherRuntimes()
	switch {
	case len(others) == 0:
		return "", nil
	case o.Docker.Wanted && found:
		return "dockerd's runtime " + strings.Join(others, ", "), nil
	}
	return "", fmt.Errorf("the shim is dockerd's runtime %s: run first: oomwitness uninstall --docker --runtime-name %s\n"+
		"(uninstall --force goes on all the same)", strings.Join(others, ", "), others[0])
}

// refuseRunning refuses to take the binary away from shims that run, unless forced.
func (o Options) refuseRunning() error {
	if o.Force {
		return nil
	}
	pids, err := o.running()
	if err == nil && len(pids) > 0 {
		return &RunningError{Path: o.shimPath(), Pids: pids}
	}
	return err
}

// RunningError refuses to take the binary away from under shims that run.
type RunningError struct {
	Path string
	Pids []string
}

func (e *RunningError) Error() string {
	return fmt.Sprintf("%s from %s: delete the pods first; "+
		"--force removes the binary all the same, and containerd then cannot clean up after them", e.Running(), e.Path)
}

// Running returns how many shims run, and which.
func (e *RunningError) Running() string {
	if len(e.Pids) == 1 {
		return fmt.Sprintf("1 shim runs (pid %s)", e.Pids[0])
	}
	return fmt.Sprintf("%d shims run (pids %s)", len(e.Pids), strings.Join(e.Pids, ", "))
}

// otherShim returns the shim of a drop-in of ours if it is not the one at path.
func otherShim(data []byte, handler, path string) string {
	file, err := criconf.Parse("", bytes.TrimSpace(data))
	if err != nil {
		return ""
	}
	if shim := file.ShimPath(handler); shim != path {
		return shim
	}
	return ""
}

// removeShimState removes what shims leave on the node until the next boot: the spool of
// exits, which is one action, and the reason of a refused ledger. Few nodes have both.
func (o Options) removeShimState(result *Result) error {
	var spool Result
	for _, name := range exits.Files(exits.DefaultDir) {
		if err := o.removePresent(&spool, name); err != nil {
			return err
		}
	}
	if len(spool.Actions) > 0 {
		result.did("remove", exits.DefaultDir+"/*")
	}
	return o.removePresent(result, bpf.RefusedFile)
}

// removePresent takes a file away and records it if it is there.
func (o Options) removePresent(result *Result, name string) error {
	if _, err := os.Lstat(o.Root.Entry(name)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return o.remove(result, name)
}

// remove takes one file away and records it.
func (o Options) remove(result *Result, name string) error {
	target := o.Root.Entry(name)
	if _, err := os.Lstat(target); errors.Is(err, fs.ErrNotExist) {
		result.did("absent", name)
		return nil
	}
	if !o.DryRun {
		if err := o.changes.save(target, name); err != nil {
			return err
		}
		if err := os.Remove(target); err != nil {
			return notReplaced(target, err)
		}
	}
	result.did("remove", name)
	return nil
}
