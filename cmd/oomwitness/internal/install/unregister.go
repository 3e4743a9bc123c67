package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

// unregistration is what Uninstall takes out of containerd's configuration.
type unregistration struct {
	// edited are the files of the owner that have an edit of install, and others those that
	// have none.
	edited, others []string
	// dropin reports whether there is a drop-in.
	dropin bool
	// ours are the operator's name and the handlers that start the shim, and kept those
	// that only our block names.
	ours, kept []string
	// daemon is the node's containerd. before is what that one makes of its
	// configuration now; nil where nobody knows.
	daemon containerd.Daemon
	before map[string]any
	// main is the configuration that containerd reads afterwards.
	main string
}

// unregisterCRI takes the registration out of containerd's configuration, and has
// containerd say what is left. What would take more than our handler away is undone
// and refused, unless forced.
func (o Options) unregisterCRI(ctx context.Context, result *Result) error {
	u, err := o.planUnregister(result)
	if err != nil {
		return err
	}
	for _, name := range u.others {
		if err := o.dropLinked(result, o.real(name), o.real(name)); err != nil {
			return err
		}
	}
	if len(u.edited) == 0 && !u.dropin {
		return o.remove(result, o.dropinPath())
	}
	if others := u.ours[1:]; len(others) > 0 && !slices.Contains(others, o.Handler) {
		if err := o.refuse(result, "the shim is registered as %s, and not as %s: name it with --runtime-name",
			strings.Join(others, ", "), o.Handler); err != nil {
			return err
		}
	}
	if !o.DryRun {
		o.dumpRegistered(ctx, result, &u)
	}
	u.main = o.mainWithout()
	if err := errors.Join(o.takeOut(result, u), o.removeVariable(result)); err != nil || u.before == nil {
		return err
	}
	return o.verifyUnregistered(ctx, result, u)
}

// planUnregister finds the edits, and refuses those with text of somebody else's.
func (o Options) planUnregister(result *Result) (unregistration, error) {
	u := unregistration{ours: []string{o.Handler}}
	config, err := criconf.Load(o.Root, o.MainConfig, o.dropinPath())
	if err != nil {
		if err := o.refuse(result, "which files have an edit of oomwitness install is unknown, correct this first: %v", err); err != nil {
			return u, err
		}
	}
	names := o.ownersFiles(config)
	// A backup may be of a file that is imported no more.
	for _, pattern := range []string{"*" + backupSuffix, "*/*" + backupSuffix} {
		backups, err := o.Root.Glob(path.Join(path.Dir(names[0]), pattern))
		if err != nil {
			return u, fmt.Errorf("look for backups: %w", err)
		}
		for _, name := range backups {
			names = append(names, strings.TrimSuffix(name, backupSuffix))
		}
	}
	slices.Sort(names[1:])
	for _, name := range slices.Compact(names) {
		if err := o.planCut(result, &u, name); err != nil {
			return u, err
		}
	}
	_, err = os.Lstat(o.Root.Entry(o.dropinPath()))
	u.dropin = err == nil
	text, err := o.Root.ReadFile(o.dropinPath())
	if !u.dropin || err == nil && !criconf.Ours(text) {
		return u, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return u, fmt.Errorf("drop-in: %w", err)
	}
	ours, _ := criconf.Registers(text)
	u.ours = append(u.ours, ours...)
	lines, added := criconf.DropinForeign(text)
	return u, o.refuseAltered(result, o.dropinPath(), lines, added)
}

// planCut looks for an edit in one file.
func (o Options) planCut(result *Result, u *unregistration, name string) error {
	now, err := o.Root.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	rest, cut, err := criconf.Cut(now)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if slices.Contains(u.edited, name) {
		return nil
	}
	if !cut {
		u.others = append(u.others, name)
		return nil
	}
	u.edited = append(u.edited, name)
	ours, kept := criconf.Registers(now)
	u.ours, u.kept = append(u.ours, ours...), append(u.kept, kept...)
	if lines, added := criconf.Foreign(now); lines != nil {
		return o.refuseAltered(result, name, lines, added)
	}
	before, err := criconf.Text(now)
	if err != nil {
		return nil //nolint:nilerr // containerd cannot read the file either: nothing can be lost
	}
	after, err := criconf.Text(rest)
	if err != nil {
		return o.refuse(result, "%s would not be valid without the edit of oomwitness install: %v", name, err)
	}
	if lines := criconf.Diff(before, after, slices.Concat(u.ours, u.kept)...); len(lines) > 0 {
		return o.refuse(result, "%s cannot go back, other settings would change:\n%s", name, indent(lines))
	}
	return nil
}

// refuse returns an error, or leaves it as a note where the operator forces it.
func (o Options) refuse(result *Result, format string, args ...any) error {
	if o.Force {
		result.note(format, args...)
		return nil
	}
	return fmt.Errorf(format+"\n(uninstall --force goes on all the same)", args...)
}

// refuseAltered refuses to take away what somebody else wrote into what is ours. With force a note
// has what is lost: the added lines, or all of an altered part.
func (o Options) refuseAltered(result *Result, name string, lines []string, added bool) error {
	switch {
	case lines == nil:
		return nil
	case !o.Force:
		return o.refuse(result, "%v", alteredError(name, lines, added))
	}
	what := "as it was altered"
	if added {
		what = "with lines of others"
	}
	result.note("from %s the part of oomwitness is removed %s:\n%s", name, what, indent(lines))
	return nil
}

// alteredError refuses to lose the lines that somebody else added to what install wrote, or an
// altered part.
func alteredError(name string, lines []string, added bool) error {
	if !added {
		return fmt.Errorf("in %s the part of oomwitness was altered after install wrote it: lines were changed or removed, and which "+
			"lines is unknown. Copy what is yours out of that part", name)
	}
	return fmt.Errorf("in %s the part of oomwitness was altered after install wrote it. Move these lines out of it where "+
		"they are yours, or delete them:\n%s", name, indent(lines))
}

// dumpRegistered asks the node's containerd what it makes of its configuration now.
// Without an answer the rest is not checked, and a note says so.
func (o Options) dumpRegistered(ctx context.Context, result *Result, u *unregistration) {
	err := o.notFound
	if u.daemon = o.daemon; err == nil && u.daemon.Dump == nil {
		err = errors.New(u.daemon.Unchecked)
	}
	if err == nil && o.inTheWay(u.daemon.Version) {
		return // a dump says nothing about what was there without the drop-in
	}
	if err == nil {
		u.before, err = u.daemon.Dump(ctx, o.MainConfig)
	}
	if err != nil {
		result.note("not checked by \"containerd config dump\": %v", err)
	}
}

// verifyUnregistered compares what containerd makes of its configuration with what
// it made of it before.
func (o Options) verifyUnregistered(ctx context.Context, result *Result, u unregistration) error {
	after, err := u.daemon.Dump(ctx, u.main)
	if err != nil {
		return o.refuse(result, "containerd %s would not start without the registration: %v", u.daemon.Version, err)
	}
	ours := slices.Clone(u.ours)
	for _, name := range u.kept {
		// The block has a built-in handler as containerd of its time had it.
		if criconf.HasHandler(after, name, nil) == nil {
			ours = append(ours, name)
		}
	}
	if lines := criconf.Diff(u.before, after, ours...); len(lines) > 0 {
		return o.refuse(result, "without the registration other settings of containerd %s would change:\n%s",
			u.daemon.Version, indent(lines))
	}
	return nil
}

// takeOut takes the edits out of the owner's files and removes the drop-in.
func (o Options) takeOut(result *Result, u unregistration) error {
	for _, name := range u.edited {
		if err := o.cutEdit(result, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return o.remove(result, o.dropinPath())
}

func (o Options) cutEdit(result *Result, name string) error {
	target := o.real(name)
	state, err := saveFile(target)
	if err != nil {
		return err
	}
	rest, _, err := criconf.Cut(state.data)
	if err != nil {
		return err
	}
	if criconf.Created(rest) {
		return o.remove(result, name)
	}
	return o.restore(result, name, target, state, rest)
}
