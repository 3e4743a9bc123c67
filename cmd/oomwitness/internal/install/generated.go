package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// planGenerated plans the registration if a generator writes containerd's configuration: by a
// file in the generator's folder, or by a block in its template. The generated file is never
// edited.
func (o Options) planGenerated(ctx context.Context, p *plan) error {
	r := &p.registration
	legacy := p.config.Legacy()
	handler, err := o.blockHandler(ctx, p, legacy)
	if err != nil {
		return err
	}
	if r.tables, err = handler.Tables(); err != nil {
		return err
	}
	r.generated = legacy.File
	if o.source.Folder != "" {
		r.dropin, err = handler.Render()
		return err
	}
	template := o.source.Template
	err = o.planEdit(r, template, func(text []byte) ([]byte, error) { return criconf.AppendBlock(text, r.tables) },
		[]byte(o.source.Includes))
	if err != nil {
		return err
	}
	now, err := o.Root.ReadFile(template)
	if o.EditConfig || errors.Is(err, fs.ErrNotExist) || err == nil && bytes.Equal(now, r.edit) {
		return nil
	}
	if rest, _, err := criconf.Cut(now); err == nil && criconf.Created(rest) {
		return nil // install made the file, not the node's owner
	}
	r.edit, r.missing = nil, &MissingError{
		Version: r.daemon.Version.Text, File: template, DryRun: o.DryRun, Block: string(criconf.Block(r.tables)),
		Why: o.source.Generator + " makes the configuration of its template, and that is yours",
		How: "add this to the end of " + template,
	}
	return nil
}

// checkGenerated has containerd load the generated file together with our tables.
func (o Options) checkGenerated(ctx context.Context, result *Result, r registration) error {
	if r.daemon.Dump == nil {
		result.note("not checked by \"containerd config dump\": %s", r.daemon.Unchecked)
		return nil
	}
	text, err := o.Root.ReadFile(r.generated)
	if err != nil {
		return fmt.Errorf("containerd configuration: %w", err)
	}
	without, _, err := criconf.Cut(text)
	if err != nil {
		return fmt.Errorf("%s: %w", r.generated, err)
	}
	if o.source.Folder != "" {
		if without, err = criconf.WithoutHandler(without, o.Handler); err != nil {
			return fmt.Errorf("%s: %w", r.generated, err)
		}
	}
	with, err := criconf.AppendBlock(without, r.tables)
	if err != nil {
		return fmt.Errorf("%s: %w", r.generated, err)
	}
	before, err := o.dumpText(ctx, r, without)
	if err != nil {
		return fmt.Errorf("containerd %s cannot read its configuration as it is, correct it first: %w", r.daemon.Version, err)
	}
	after, err := o.dumpText(ctx, r, with)
	if err != nil {
		return fmt.Errorf("containerd %s would not start with the new configuration: %w", r.daemon.Version, err)
	}
	if lines := criconf.Diff(before, after, o.Handler); len(lines) > 0 {
		return fmt.Errorf("the new configuration would change other settings of containerd %s:\n%s", r.daemon.Version, indent(lines))
	}
	if err := criconf.HasHandler(after, o.Handler, map[string]any{}); err != nil {
		return fmt.Errorf("containerd %s does not take the new configuration: %w", r.daemon.Version, err)
	}
	return nil
}

// dumpText has containerd load a text in the place of its generated file. The text may be in
// another folder, since the imports of generated files are absolute paths: a killed install
// then leaves nothing in the node's own folders.
func (o Options) dumpText(ctx context.Context, r registration, text []byte) (map[string]any, error) {
	const dir, pattern = "/run", "oomwitness.*.dump"
	if err := os.MkdirAll(o.Root.Path(dir), 0o755); err != nil {
		return nil, err
	}
	left, err := filepath.Glob(filepath.Join(o.Root.Path(dir), pattern))
	if err != nil {
		return nil, err
	}
	for _, name := range left {
		_ = os.Remove(name) // left by an install that was killed
	}
	file, err := os.CreateTemp(o.Root.Path(dir), pattern)
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name()) //nolint:errcheck // of a temporary file
	if _, err := file.Write(text); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	name := path.Join(dir, path.Base(file.Name()))
	dump, err := r.daemon.Dump(ctx, name)
	if errors.Is(err, rootfs.ErrSlow) {
		return nil, fmt.Errorf("containerd config dump of %s: %w", r.generated, rootfs.ErrSlow)
	}
	if err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), name, r.generated))
	}
	return dump, nil
}
