package install

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

// planBlock plans the registration by a block in the owner's file, for containerd 1.x.
func (o Options) planBlock(ctx context.Context, p *plan) error {
	r := &p.registration
	if asked, err := o.configVersion(); err != nil {
		return err
	} else if asked != 0 {
		return fmt.Errorf("--config-version %d: containerd %s reads no drop-ins, allowed is auto", asked, r.daemon.Version)
	}
	legacy := p.config.Legacy()
	handler, err := o.blockHandler(ctx, p, legacy)
	if err != nil {
		return err
	}
	tables, err := handler.Tables()
	if err != nil {
		return err
	}
	err = o.planEdit(r, legacy.File, func(text []byte) ([]byte, error) { return criconf.AppendBlock(text, tables) },
		criconf.NewMain(legacy.Version))
	if err != nil {
		return err
	}
	now, err := o.Root.ReadFile(legacy.File)
	if o.EditConfig || err == nil && bytes.Equal(now, r.edit) {
		r.settings = handler.Settings()
		return nil
	}
	r.edit, r.missing = nil, o.missing(r.daemon.Version.Text, legacy, tables)
	return nil
}

// blockHandler returns our handler for a block in a file, with the handlers that the block has
// to keep.
func (o Options) blockHandler(ctx context.Context, p *plan, legacy criconf.Legacy) (criconf.Dropin, error) {
	r := &p.registration
	config := legacy.Config
	if r.daemon.Version.Dropins() {
		config = p.config // 2.x merges the settings of all files
	}
	handler, err := o.handler(p, config, legacy.Version)
	if err != nil || r.daemon.Version.Dropins() {
		return handler, err
	}
	handler.ByType = !r.daemon.Version.RuntimePath()
	if lost := handler.Lost(); len(lost) > 0 {
		return handler, lostError(r.daemon.Version, legacy.File, lost)
	}
	if handler.Keep, err = r.builtIn(ctx, legacy, o.Handler); err != nil {
		return handler, err
	}
	r.keep = slices.Collect(maps.Keys(handler.Keep))
	return handler, nil
}

// lostError refuses a handler that would not have the options of the node's runc handler in a file.
func lostError(version containerd.Version, file string, lost []string) error {
	return fmt.Errorf("the CRI of containerd %s gives no options of runc to another shim than its own, and the runc handler "+
		"in %s has %s: the shim would run another runc than the node's; 1.6.21 and later, 1.7.1 and later do",
		version, file, strings.Join(lost, ", "))
}

// builtIn returns the handlers that the block has to keep.
func (r registration) builtIn(ctx context.Context, legacy criconf.Legacy, handler string) (map[string]map[string]any, error) {
	known := r.before
	if r.staged && r.daemon.Dump != nil {
		var err error
		if known, err = r.daemon.Dump(ctx, ""); err != nil {
			return nil, err
		}
	}
	return legacy.BuiltIn(known, handler), nil
}

// missing returns an error that says where the tables have to go.
func (o Options) missing(version string, legacy criconf.Legacy, tables []byte) *MissingError {
	missing := &MissingError{Version: version, File: legacy.File, DryRun: o.DryRun,
		Why: "containerd 1.x has no drop-ins that leave its other CRI settings alone",
		How: "add this to the end of " + legacy.File, Block: string(criconf.Block(tables))}
	switch {
	case !legacy.Exists:
		missing.How = "make this all of " + legacy.File
		missing.Block = string(criconf.NewMain(legacy.Version)) + "\n" + missing.Block
	case legacy.Files[0].Marked:
		missing.How = "replace the block of oomwitness in " + legacy.File + " by this"
	}
	return missing
}

// MissingError reports that containerd does not know the shim yet. How says what to do by hand,
// with the text Block. Why is the reason why install does not do that.
type MissingError struct {
	Version, File, Why, How, Block string
	// DryRun reports whether the shim has not been installed either.
	DryRun bool
}

func (e *MissingError) Error() string {
	is := "the shim is in place"
	if e.DryRun {
		is = "the shim would be in place"
	}
	return fmt.Sprintf("%s, and containerd %s does not know it yet: %s. Run install again with --edit-config, which keeps a "+
		"backup, or %s yourself and run install again:\n\n%s", is, e.Version, e.Why, e.How, e.Block)
}
