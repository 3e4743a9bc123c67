package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

// registration is the registration of the shim with the node's containerd.
type registration struct {
	daemon containerd.Daemon
	// dropin is the text of the drop-in, nil if none is to be written.
	dropin []byte
	// edit is the new text of a file of the node's owner, at the path file; nil if no file is
	// edited.
	file string
	edit []byte
	// was is the text before the edit, nil for no file.
	was []byte
	// settings are the handler's settings that containerd must have afterwards, nil if
	// containerd does not read them yet.
	settings map[string]any
	// before is containerd's configuration before the change, nil if it is not known.
	before map[string]any
	// staged reports whether before can be read only after our parts are taken out of the
	// configuration.
	staged bool
	// keep are the handlers that the edit names beside ours.
	keep []string
	// missing says what the operator has to do, nil for nothing.
	missing error
	// main is the copy that containerd reads afterwards, "" if there is none.
	main string
	// generated is the file that a generator will write with our addition to its template or
	// folder, "" if containerd reads the registration itself. tables are the addition.
	generated string
	tables    []byte
}

// planRegistration plans a registration that the node's containerd can read.
func (o Options) planRegistration(ctx context.Context, p *plan) error {
	r := &p.registration
	r.daemon = o.daemon
	version := r.daemon.Version
	if err := version.Refused(); err != nil {
		return err
	}
	if note := version.Untested(); note != "" {
		p.notes = append(p.notes, note)
	}
	if err := p.config.Readable(version.ConfigVersion(), version.Dropins(), version.Text); err != nil {
		return err
	}
	reads := version.Dropins() && p.config.Covers(o.dropinPath())
	if o.source.Folder != "" || o.source.Template != "" && !reads {
		return o.planGenerated(ctx, p)
	}
	if len(p.config.Files) > 0 && p.config.Version() > version.ConfigVersion() {
		p.config = criconf.Config{Path: p.config.Path} // made by install for a newer containerd, and to be made anew
		r.staged = true
	}
	if err := o.dumpBefore(ctx, p); err != nil {
		return err
	}
	var err error
	if version.Dropins() {
		err = o.planDropin(p)
	} else {
		err = o.planBlock(ctx, p)
	}
	if p.config.CRIDisabled() != "" {
		r.settings, r.missing = nil, nil
	}
	return err
}

// planDropin plans the registration by a drop-in, for containerd 2.x.
func (o Options) planDropin(p *plan) error {
	r := &p.registration
	asked, err := o.configVersion()
	if err != nil {
		return err
	}
	version, err := p.config.DropinVersion(asked)
	if err != nil {
		return err
	}
	handler, err := o.handler(p, p.config, version)
	if err != nil {
		return err
	}
	if r.dropin, err = handler.Render(); err != nil {
		return err
	}
	if now, err := o.Root.ReadFile(o.dropinPath()); err == nil && criconf.Ours(now) && criconf.Altered(now) {
		note := o.dropinPath() + " was altered after install wrote it, and is written anew"
		if lines, added := criconf.DropinForeign(now); added {
			note += " without:\n" + indent(lines)
		}
		p.notes = append(p.notes, note)
	}
	if p.config.Covers(o.dropinPath()) {
		r.settings = handler.Settings()
		return nil
	}
	if !o.EditConfig && o.Restart {
		return fmt.Errorf("--restart-containerd: containerd would not read %s: use --edit-config, which keeps a backup, or by hand: %s",
			o.ConfDir, p.config.ImportAdvice(o.ConfDir, version))
	}
	if !o.EditConfig {
		p.notes = append(p.notes, fmt.Sprintf("containerd does not read %s yet: use --edit-config, which keeps a backup, or by hand: %s",
			o.ConfDir, p.config.ImportAdvice(o.ConfDir, version)))
		return nil
	}
	if err := o.checkUnread(p); err != nil {
		return err
	}
	r.settings = handler.Settings()
	return o.planEdit(r, o.MainConfig, func(text []byte) ([]byte, error) {
		return criconf.AddImport(text, filepath.Join(o.ConfDir, "*.toml"))
	}, criconf.NewMain(version))
}

// checkUnread refuses an import that makes containerd read files of somebody else, if containerd
// cannot check them.
func (o Options) checkUnread(p *plan) error {
	if p.registration.daemon.Dump != nil || o.Force {
		return nil
	}
	others, err := o.Root.Glob(filepath.Join(o.ConfDir, "*.toml"))
	if err != nil {
		return fmt.Errorf("look for other drop-ins: %w", err)
	}
	others = slices.DeleteFunc(others, func(name string) bool {
		return name == o.dropinPath() || slices.ContainsFunc(p.config.Files, func(f criconf.File) bool { return f.Path == name })
	})
	if len(others) == 0 {
		return nil
	}
	return fmt.Errorf("--edit-config: containerd does not read %s yet, and with the import of %s it would; \"containerd config dump\" "+
		"cannot check that (%s): move the files away, choose another folder with --conf-dir, or go on all the same with --force",
		strings.Join(others, ", "), o.ConfDir, p.registration.daemon.Unchecked)
}

// handler returns our runtime handler for the node's configuration.
func (o Options) handler(p *plan, config criconf.Config, version int) (criconf.Dropin, error) {
	systemd, why, err := o.systemdCgroup(config)
	if err == nil && why != "" && (p.registration.daemon.Version.Dropins() || p.registration.daemon.Version.RuntimePath()) {
		p.notes = append(p.notes, why)
	}
	return criconf.Dropin{
		Version: version, Handler: o.Handler, Shim: o.shimPath(), SystemdCgroup: systemd, Runc: config.Runc(),
	}, err
}

// planEdit plans an edit of a file of the node's owner, or a new file, and checks that the edit
// changes nothing else.
func (o Options) planEdit(r *registration, name string, edit func([]byte) ([]byte, error), created []byte) error {
	if name == o.MainConfig && o.copies() {
		var err error
		if created, err = o.planCopy(r); err != nil {
			return err
		}
		name = copyPath
	}
	now, err := o.Root.ReadFile(name)
	text := created
	switch {
	case err == nil:
		if text, _, err = criconf.Cut(now); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if lines, added := criconf.Foreign(now); o.EditConfig && !o.Force && lines != nil {
			return fmt.Errorf("%w\n(install --force writes that part anew)", alteredError(name, lines, added))
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("containerd configuration: %w", err)
	default:
		if err := o.dangling(name); err != nil {
			return err
		}
	}
	r.file, r.was = name, now
	if again := o.refreshed(text); again != nil && r.main == "" {
		text = again
	} else if criconf.Created(text) {
		text = created
	}
	if r.edit, err = edit(text); err != nil {
		return fmt.Errorf("%s cannot be edited: %w", name, err)
	}
	if r.generated != "" {
		return nil // a template is no TOML; the file made of it is checked
	}
	return o.checkEdit(r, name, text)
}

// checkEdit refuses an edit of a text that would change more than our handler.
func (o Options) checkEdit(r *registration, name string, text []byte) error {
	before, err := criconf.Text(text)
	if err != nil {
		return fmt.Errorf("%s cannot be edited: %w", name, err)
	}
	after, err := criconf.Text(r.edit)
	if err != nil {
		return fmt.Errorf("%s cannot be edited, the result would not be valid (%w): write runtimes and the tables above it as "+
			"tables with headers, not as inline tables", name, err)
	}
	if lines := criconf.Diff(before, after, append(slices.Clone(r.keep), o.Handler)...); len(lines) > 0 {
		return fmt.Errorf("%s cannot be edited, other settings would change:\n%s", name, indent(lines))
	}
	return nil
}

// register writes what was planned, and has containerd check it. The caller undoes a change
// that containerd refuses.
func (o Options) register(ctx context.Context, result *Result, r registration) error {
	if r.generated != "" && !o.DryRun && r.missing == nil {
		if err := o.checkGenerated(ctx, result, r); err != nil {
			return err
		}
	}
	if r.staged && !o.DryRun && r.daemon.Dump != nil {
		var err error
		if r.before, err = o.dumpStaged(ctx, r); err != nil {
			return err
		}
	}
	if err := o.writeRegistration(result, r); err != nil {
		return fmt.Errorf("register with containerd: %w", err)
	}
	if o.DryRun || r.generated != "" {
		return nil
	}
	if r.daemon.Dump == nil {
		result.note("not checked by \"containerd config dump\": %s", r.daemon.Unchecked)
		return nil
	}
	return o.verify(ctx, r)
}

// verify compares containerd's configuration after the change with its configuration before.
func (o Options) verify(ctx context.Context, r registration) error {
	after, err := r.daemon.Dump(ctx, cmp.Or(r.main, o.MainConfig))
	if err != nil {
		return fmt.Errorf("containerd %s would not start with the new configuration, which was undone: %w", r.daemon.Version, err)
	}
	if r.settings != nil {
		if err := criconf.HasHandler(after, o.Handler, r.settings); err != nil {
			return fmt.Errorf("containerd %s does not take the new configuration, which was undone: %w", r.daemon.Version, err)
		}
	}
	if r.before == nil {
		return nil
	}
	if lines := criconf.Diff(r.before, after, o.Handler); len(lines) > 0 {
		return fmt.Errorf("the new configuration would change other settings of containerd %s, and was undone:\n%s",
			r.daemon.Version, indent(lines))
	}
	return nil
}

func indent(lines []string) string { return "  " + strings.Join(lines, "\n  ") }

func (o Options) writeRegistration(result *Result, r registration) error {
	if r.dropin != nil {
		if err := o.write(result, o.dropinPath(), bytesSource(r.dropin), 0o644); err != nil {
			return fmt.Errorf("drop-in: %w", err)
		}
	} else if _, err := os.Lstat(o.Root.Entry(o.dropinPath())); err == nil {
		result.note("containerd %s loses other CRI settings by a drop-in: %s is removed", r.daemon.Version, o.dropinPath())
		if err := o.remove(result, o.dropinPath()); err != nil {
			return err
		}
	}
	if r.edit == nil {
		return nil
	}
	if err := o.editFile(result, r.file, r.was, r.edit); err != nil || r.main == "" {
		return err
	}
	return o.installVariable(result)
}
