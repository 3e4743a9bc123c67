package criconf

import (
	"fmt"
	"slices"
)

const (
	// defaultVersion is the drop-in version if the main file has none: every containerd 2 reads
	// it.
	defaultVersion = 3
	// createdVersion is the version of a main file that install creates, and of the
	// drop-in beside it: 1.6 and 1.7 read it too, so that they start after a downgrade.
	createdVersion = 2
)

// Version returns the version in the main file, 0 if it has none or does not exist.
func (c Config) Version() int {
	if len(c.Files) == 0 {
		return 0
	}
	return c.Files[0].Version
}

// DropinVersion returns the version of our drop-in: asked is 2, 3, or 0 for automatic. The
// version has to fit the main file's (see the package comment): an asked version that does not
// fit is refused. containerd 2 migrates a file of version 1 like a file without a version.
func (c Config) DropinVersion(asked int) (int, error) {
	main, want := c.Version(), defaultVersion
	switch {
	case main < 2 && asked != 0:
		return asked, nil
	case main < 2 && !slices.ContainsFunc(c.Files, func(file File) bool { return len(file.plugins) > 0 }):
		return createdVersion, nil // 2.0 to 2.2 then lose nothing
	case main == 2:
		want = 2
	}
	if asked != 0 && asked != want {
		return 0, fmt.Errorf("config version %d does not go with %s, which has version %d: allowed are auto and %d",
			asked, c.Path, main, want)
	}
	return want, nil
}

// Readable returns an error for a file that containerd does not read: a file of a version above
// most, or, if dropins is true, which means containerd 2.x, a file with a byte order mark. A
// file that install created can be created anew.
func (c Config) Readable(most int, dropins bool, containerd string) error {
	for _, file := range c.Files {
		if file.Version > most && !file.Created {
			return fmt.Errorf("%s has version %d, and containerd %s reads versions up to %d: correct the file",
				file.Path, file.Version, containerd, most)
		}
		if file.byteOrderMark && dropins {
			return fmt.Errorf("%s begins with a byte order mark, and containerd %s does not start with one: remove that mark",
				file.Path, containerd)
		}
	}
	return nil
}
