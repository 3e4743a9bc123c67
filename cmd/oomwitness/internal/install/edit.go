package install

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

// editFile puts new text into a file of the node's owner, through a symbolic link
// to it, and keeps mode and owner. The file as it was is beside it afterwards. was is
// what the new text was made of: a file that somebody has changed since is refused.
func (o Options) editFile(result *Result, name string, was, text []byte) error {
	target := o.real(name)
	now, err := os.ReadFile(target)
	if err == nil && !bytes.Equal(now, was) || err != nil && was != nil {
		return fmt.Errorf("%s was changed while install ran: run install again", name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return o.write(result, name, bytesSource(text), 0o644)
	}
	if err != nil {
		return err
	}
	if bytes.Equal(now, text) {
		result.did("unchanged", name)
		return nil
	}
	original, _, err := criconf.Cut(now)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	state, err := saveFile(target)
	if err == nil && !o.DryRun {
		err = o.changes.save(target, name)
	}
	if err != nil {
		return err
	}
	// A created file has nothing to go back to.
	if !criconf.Created(original) {
		if err := o.keepBackup(result, state.path, state, original); err != nil {
			return err
		}
	}
	result.did("update", name)
	if o.DryRun {
		return nil
	}
	return state.with(target, text).put()
}

// real returns the real path of a file, at the end of all symbolic links.
func (o Options) real(name string) string { return o.Root.Resolve(name) }

// seen returns a real path as seen from inside the root.
func (o Options) seen(real string) string {
	return filepath.Join("/", strings.TrimPrefix(real, filepath.Clean(cmp.Or(string(o.Root), "/"))))
}
