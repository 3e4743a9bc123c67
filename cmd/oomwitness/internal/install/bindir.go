package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// binDirs are folders where nodes with a read-only root let programs be put: Flatcar's,
// that of GKE's Container-Optimized OS, and two for all others.
var binDirs = []string{DefaultBinDir, "/opt/bin", "/home/kubernetes/bin", "/var/lib/oomwitness/bin"}

// checkBinDir refuses a folder that nothing can be written to, or run from, and names one
// that works.
func (o Options) checkBinDir() error {
	if !o.Root.Running() {
		return nil // the tree may be mounted otherwise when it runs
	}
	why := o.unusable(o.BinDir)
	if why == "" {
		return nil
	}
	works := slices.IndexFunc(binDirs, func(dir string) bool { return o.unusable(dir) == "" })
	if works < 0 {
		return fmt.Errorf("--bin-dir %s: its file system is %s: name a folder that can be written to and run from", o.BinDir, why)
	}
	return fmt.Errorf("--bin-dir %s: its file system is %s: use --bin-dir %s", o.BinDir, why, binDirs[works])
}

// unusable returns why a program in the folder would not run, "" if a program would, or if
// that is not known.
func (o Options) unusable(dir string) string {
	// The folders that are missing are made in the lowest that is there.
	for ; dir != "/"; dir = path.Dir(dir) {
		if _, err := os.Stat(o.Root.Path(dir)); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	var at unix.Statfs_t
	if err := unix.Statfs(o.Root.Path(dir), &at); err != nil {
		return ""
	}
	switch {
	case at.Flags&unix.ST_RDONLY != 0:
		return "mounted read-only"
	case at.Flags&unix.ST_NOEXEC != 0:
		return "mounted noexec"
	}
	return ""
}
