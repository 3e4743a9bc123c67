package install

import (
	"context"
	"errors"
	"fmt"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

// dumpBefore asks containerd what it makes of its configuration now.
func (o Options) dumpBefore(ctx context.Context, p *plan) error {
	r := &p.registration
	// A block for 1.x keeps handlers that 2.x needs nobody to keep.
	oldBlock := o.EditConfig && r.daemon.Version.Dropins() && len(p.config.Files) > 0 && p.config.Files[0].Marked
	r.staged = r.staged || oldBlock || o.inTheWay(r.daemon.Version)
	if r.daemon.Dump == nil || r.staged {
		return nil
	}
	var err error
	if r.before, err = r.daemon.Dump(ctx, o.MainConfig); err != nil {
		return fmt.Errorf("containerd %s cannot read its configuration as it is, correct it first: %w", r.daemon.Version, err)
	}
	return nil
}

// inTheWay reports whether there is a drop-in of ours that containerd cannot read,
// or that 1.x must not have: a dump says nothing about what was there without it.
func (o Options) inTheWay(version containerd.Version) bool {
	ours, err := o.Root.ReadFile(o.dropinPath())
	if err != nil {
		return false
	}
	_, damaged := criconf.Parse(o.dropinPath(), ours)
	return damaged != nil || !version.Dropins() && criconf.Ours(ours)
}

// dumpStaged takes what is ours out of the files that install is about to change, asks
// containerd what it makes of the rest, and puts the files back.
func (o Options) dumpStaged(ctx context.Context, r registration) (before map[string]any, err error) {
	o.changes = &changes{}
	defer func() { err = errors.Join(err, o.changes.undo(&Result{})) }()
	if err := o.remove(&Result{}, o.dropinPath()); err != nil {
		return nil, err
	}
	if state, err := saveFile(o.real(r.file)); r.edit != nil && err == nil && state.there {
		rest, _, err := criconf.Cut(state.data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.file, err)
		}
		if err := o.changes.save(state.path, r.file); err != nil {
			return nil, err
		}
		state.there = !criconf.Created(rest)
		if err := state.with(state.path, rest).put(); err != nil {
			return nil, err
		}
	}
	before, err = r.daemon.Dump(ctx, o.MainConfig)
	if err != nil {
		return nil, fmt.Errorf("containerd %s cannot read its configuration as it is, correct it first: %w", r.daemon.Version, err)
	}
	return before, nil
}
