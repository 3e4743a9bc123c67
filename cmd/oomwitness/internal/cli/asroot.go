package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

// asRoot says that a command has to run as root. err is what failed without.
func asRoot(err error) error { return fmt.Errorf("run this as root: %w", err) }

// writable returns an error if this process may not write to the folder of the shim, or to the
// folder above in which install would make that one. install and uninstall also read what is
// root's, which a dry run needs too.
func writable(o install.Options) error {
	for folder := path.Clean("/" + o.BinDir); ; folder = path.Dir(folder) {
		real := o.Root.Path(folder)
		err := unix.Faccessat(unix.AT_FDCWD, real, unix.W_OK, unix.AT_EACCESS)
		switch {
		case errors.Is(err, fs.ErrNotExist) && folder != "/":
			continue
		case errors.Is(err, fs.ErrPermission):
			return asRoot(&fs.PathError{Op: "write to", Path: real, Err: err})
		}
		return nil // another error is for the step that fails
	}
}
