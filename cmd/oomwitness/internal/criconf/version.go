package criconf

import (
	"fmt"
	"slices"
)

const (
	// defaultVersion is the drop-in version where the main file leaves it open:
	// every containerd 2 reads it.
	defaultVersion = 3
	// createdVersion is the version of a main file that install creates, and of the
	// drop-in beside it: 1.6 and 1.7 read it too, so that they start after a downgrade.
	createdVersion = 2
)

// Version returns what the main file says, 0 where it says nothing or is not
// there.
func (c Config) Version() int {
	if len(c.Files) == 0 {
		return 0
	}
	return c.Files[0].Version
}

// DropinVersion chooses the version of our drop-in: asked is 2, 3, or 0 for
// automatic. It has to go with the main file's (see the package comment), so
// an asked version that does not is refused. containerd 2 migrates a file of
// version 1 as it does one without a version.
func (c Config) DropinVersion(asked int) (int, error) {
	main, want := c.Version(), defaultVersion
	switch {
	case main < 2 && asked != 0:
		return asked, nil
	case main < 2 && !slices.ContainsFunc(c.Files, func(file File) bool { return len(file.plugins) > 0 }):
		return createdVersion, nil // nothing that 2.0 to 2.2 could lose
	case main == 2:
		want = 2
	}
	if asked != 0 && asked != want {
		return 0, fmt.Errorf("config version %d does not go with %s, which has version %d: allowed are auto and %d",
			asked, c.Path, main, want)
	}
	return want, nil
}

// Readable refuses a file that containerd does not read: one of a version above
// most, or, where dropins says that it is containerd 2.x, one with a byte order
// mark. A file that install created can be created anew.
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
