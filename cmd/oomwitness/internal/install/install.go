package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

// plan is everything that Install found out before its first write.
type plan struct {
	source string
	// command is the file of this command, and units reports whether systemd starts it.
	command      string
	units        bool
	config       criconf.Config
	registration registration
	notes        []string
}

// Install copies the shim and registers it with containerd, in this order, so that
// containerd never finds a registration without its binary. The command follows, and where
// systemd is the units that start it. It is idempotent. What fails on the way is undone.
// The result is also valid with an error: it holds what was done before.
func Install(ctx context.Context, o Options) (Result, error) {
	return o.locked(ctx, Options.install)
}

func (o Options) install(ctx context.Context, result *Result) error {
	if o.AgentOnly {
		return o.installAgent(ctx, result)
	}
	if err := o.checkWords(); err != nil {
		return err
	}
	o, err := o.Locate(ctx)
	if err != nil {
		return err
	}
	p, err := o.plan(ctx)
	if err != nil {
		return err
	}
	result.Notes = append(result.Notes, o.Which()...)
	if err := o.installSettings(result); err != nil {
		return err
	}
	if err := o.write(result, o.shimPath(), fileSource(p.source), 0o755); err != nil {
		return fmt.Errorf("install the shim: %w", err)
	}
	if err := o.register(ctx, result, p.registration); err != nil {
		return err
	}
	if err := o.installLoader(result, p.command, p.units); err != nil {
		return err
	}
	result.Notes = append(result.Notes, p.notes...)
	o.notePackage(result, p.command)
	if p.registration.missing != nil {
		return p.registration.missing
	}
	return o.finish(ctx, result, true)
}

// plan reads and checks everything, and writes nothing.
func (o Options) plan(ctx context.Context) (plan, error) {
	var p plan
	if err := errors.Join(o.check(), o.checkBinDir()); err != nil {
		return p, err
	}
	var err error
	if p.source, err = o.shimSource(); err != nil {
		return p, err
	}
	if p.config, err = criconf.Load(o.Root, o.MainConfig, o.dropinPath()); err != nil {
		return p, err
	}
	if file := o.handlerIn(p.config); file != "" {
		return p, o.notOurs(file)
	}
	if !p.config.Exists && o.MainConfig != criconf.DefaultPath && !o.daemon.ConfigNamed && o.source.Folder == "" {
		p.notes = append(p.notes, fmt.Sprintf("no file is at %s: containerd reads that file only if containerd's flag --config names it", o.MainConfig))
	}
	if file := p.config.CRIDisabled(); file != "" {
		p.notes = append(p.notes, fmt.Sprintf("%s disables the CRI plugin: Kubernetes cannot use this containerd until it is enabled", file))
	}
	if err := o.checkForeign(); err != nil {
		return p, err
	}
	if err := o.checkName(p.config); err != nil {
		return p, err
	}
	if err := o.checkSettings(); err != nil {
		return p, err
	}
	if p.command, p.units, err = o.planLoader(); err != nil {
		return p, err
	}
	return p, o.planRegistration(ctx, &p)
}

// notOurs returns the error for a file that names our handler outside of our block. The handler
// may be what is left of a block.
func (o Options) notOurs(file string) error {
	text, err := o.Root.ReadFile(file)
	if err == nil {
		_, _, err = criconf.Cut(text)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return fmt.Errorf("runtime name %q: %s has a runtime of that name already, choose another with --runtime-name", o.Handler, file)
}

// handlerIn returns the file of somebody else that names our handler, "" for none.
func (o Options) handlerIn(config criconf.Config) string {
	if o.source.Folder == "" {
		_, file := config.Runtime(o.Handler)
		return file
	}
	// The generated file has what an earlier install put into the folder.
	files, err := o.Root.Glob(path.Join(o.source.Folder, "*.toml"))
	if err != nil {
		return ""
	}
	for _, name := range files {
		text, err := o.Root.ReadFile(name)
		if err != nil || name == o.dropinPath() {
			continue
		}
		if file, err := criconf.Parse(name, text); err == nil && file.Runtimes[o.Handler] != nil {
			return name
		}
	}
	return ""
}

// danglingDropin returns an error for a drop-in that is a link to a missing file: install makes
// no links there.
func (o Options) danglingDropin() error {
	if err := o.dangling(o.dropinPath()); err != nil && !o.Force {
		return fmt.Errorf("%w, or use --force", err)
	}
	return nil
}

// dangling returns an error if an entry is at a path where no file can be read: a symbolic link
// whose target is missing.
func (o Options) dangling(name string) error {
	_, err := os.Lstat(o.Root.Entry(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%s is a symbolic link to a file that is missing: create that file or remove the link", name)
}

// checkForeign refuses to overwrite a drop-in that install did not write.
func (o Options) checkForeign() error {
	data, err := o.Root.ReadFile(o.dropinPath())
	if errors.Is(err, fs.ErrNotExist) {
		return o.danglingDropin()
	}
	if o.Force {
		return nil
	}
	if err != nil {
		return fmt.Errorf("drop-in: %w", err)
	}
	if !criconf.Ours(data) {
		return fmt.Errorf("%s was not written by oomwitness install: move it away, or overwrite it with --force", o.dropinPath())
	}
	return nil
}

// checkName refuses a second name: install knows one handler.
func (o Options) checkName(config criconf.Config) error {
	for _, name := range append(o.ownersFiles(config), o.dropinPath()) {
		text, err := o.Root.ReadFile(name)
		if err != nil {
			continue // no drop-in, or refused elsewhere
		}
		if ours, _ := criconf.Registers(text); len(ours) > 0 && !slices.Contains(ours, o.Handler) {
			return fmt.Errorf("%s registers the shim as %s, and install knows one name: run first: oomwitness uninstall --runtime-name %s",
				name, ours[0], ours[0])
		}
	}
	return nil
}

// ownersFiles are the files that install may have edited: the template where a generator
// writes the others.
func (o Options) ownersFiles(config criconf.Config) []string {
	if o.source.Template != "" {
		return []string{o.source.Template}
	}
	names := []string{o.MainConfig}
	for _, file := range config.Files {
		names = append(names, file.Path)
	}
	return names
}

// write brings one file up to date and records what that took.
func (o Options) write(result *Result, name string, from source, mode fs.FileMode) error {
	target := o.Root.Entry(name)
	verb := "update"
	info, err := os.Lstat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		verb = "create"
	case err != nil:
		return err
	case info.Mode().Type() == fs.ModeSymlink:
		// The link is replaced, its target is somebody else's.
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is there and is not a file", name)
	default:
		same, err := from.same(target)
		if err != nil {
			return err
		}
		if same && info.Mode().Perm() == mode {
			result.did("unchanged", name)
			return nil
		}
	}
	if !o.DryRun {
		if err := o.changes.save(target, name); err != nil {
			return err
		}
		if err := replace(target, from, mode); err != nil {
			return err
		}
	}
	result.did(verb, name)
	return nil
}
