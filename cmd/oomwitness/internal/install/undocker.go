package install

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/docker"
)

// errRefused reports that dockerd would not start without the runtime.
var errRefused = errors.New("dockerd needs the runtime; take it out of dockerd's flags and configuration, or use --force")

// uninstallDocker removes the runtime from dockerd's configuration. An unreadable configuration
// is an error only if the operator named Docker.
func (o Options) uninstallDocker(ctx context.Context, result *Result) error {
	daemon, err := o.findDockerd()
	if err == nil {
		err = o.unregister(ctx, result, daemon)
	}
	if err != nil && !o.Docker.Wanted && !errors.Is(err, errRefused) {
		result.note("the registration with dockerd was left: %v", err)
		return nil
	}
	return err
}

// otherRuntimes returns the names of dockerd's runtimes that are the shim, beside the one to
// remove, and whether that one is there. What cannot be read has none.
func (o Options) otherRuntimes() (others []string, found bool) {
	daemon, err := o.findDockerd()
	if err != nil || o.Force {
		return nil, false
	}
	text, err := o.readDocker(daemon.config)
	if err != nil {
		return nil, false
	}
	names, _ := docker.Names(text)
	others = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == o.Handler })
	return others, len(others) < len(names)
}

// usedByCRI reports whether the shim is registered with containerd's CRI plugin, by the drop-in
// or by any file that containerd reads. An unreadable configuration counts as registered.
func (o Options) usedByCRI(dropin []byte) bool {
	if dropin != nil {
		return true
	}
	config, err := criconf.Load(o.Root, o.MainConfig, "")
	if err != nil {
		return true
	}
	return slices.ContainsFunc(config.Files, func(file criconf.File) bool {
		// Read the file itself: Load leaves our block out.
		text, err := o.Root.ReadFile(file.Path)
		if err != nil {
			return true
		}
		whole, err := criconf.Parse(file.Path, text)
		return err != nil || whole.Starts(o.shimPath())
	})
}

func (o Options) unregister(ctx context.Context, result *Result, daemon dockerd) error {
	text, err := o.readDocker(daemon.config)
	if err != nil {
		return err
	}
	var before []byte
	if last, _ := backupNames(o.Root.Entry(daemon.config)); last != "" {
		if before, err = o.readDocker(daemon.config + last); err != nil {
			return err
		}
	}
	have, err := docker.Read(text, o.Handler)
	if err != nil {
		return fmt.Errorf("%s: %w", daemon.config, err)
	}
	after, removed, err := o.withoutRuntime(text, before)
	if err != nil {
		return fmt.Errorf("%s: %w", daemon.config, err)
	}
	if removed && !o.Force {
		if err := daemon.canDoWithout(ctx, text, after); err != nil {
			return err
		}
	}
	switch {
	case !removed && have.Found && o.Docker.Wanted && !o.Force:
		return fmt.Errorf("%s: the runtime %q is not oomwitness and stays", daemon.config, o.Handler)
	case !removed:
		if o.Docker.Wanted {
			result.did("absent", daemon.config)
		}
		return o.dropLinked(result, o.Root.Resolve(daemon.config), o.Root.Entry(daemon.config))
	case after == nil:
		err = o.remove(result, path.Clean(daemon.config))
	default:
		var edited savedFile
		if edited, err = saveFile(o.Root.Resolve(daemon.config)); err == nil {
			err = o.restore(result, daemon.config, o.Root.Entry(daemon.config), edited, after)
		}
	}
	if err != nil {
		return err
	}
	if have.Default == o.Handler {
		result.note("%s was dockerd's default runtime: new containers cannot start until dockerd is restarted", o.Handler)
	}
	return daemon.forget(ctx, o, result)
}

// withoutRuntime returns a daemon.json without the runtime, nil if install made the file, and
// reports whether the runtime was there. before is the last backup.
func (o Options) withoutRuntime(text, before []byte) (after []byte, removed bool, err error) {
	after, removed, err = docker.Unregister(text, before, o.Handler)
	if err != nil || before == nil || bytes.Equal(after, before) {
		return after, removed, err
	}
	// The backup may not be ours, and the file may be new.
	created, removed, err := docker.Unregister(text, nil, o.Handler)
	if err == nil && removed && created == nil {
		return nil, true, nil
	}
	return after, removed, err
}

// canDoWithout has dockerd check its configuration without the runtime. If dockerd refuses the
// present configuration too, its objection does not count.
func (d dockerd) canDoWithout(ctx context.Context, text, after []byte) error {
	if d.program == "" || !d.runs {
		return nil
	}
	refusal, err := d.judge(ctx, []byte(cmp.Or(string(after), "{}")))
	if err != nil || refusal == nil {
		return err
	}
	if old, err := d.judge(ctx, text); err != nil || old != nil {
		return err
	}
	return fmt.Errorf("%w: %w", errRefused, refusal)
}
