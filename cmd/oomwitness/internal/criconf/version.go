package criconf

import "fmt"

// defaultVersion is the drop-in version where the main file leaves it open:
// every containerd 2 reads it.
const defaultVersion = 3

// Version gives what the main file says, 0 where it says nothing or is not
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
	switch main {
	case 0, 1:
		if asked != 0 {
			return asked, nil
		}
	case 2:
		want = 2
	}
	if asked != 0 && asked != want {
		return 0, fmt.Errorf("config version %d does not go with %s, which has version %d: allowed are auto and %d",
			asked, c.Path, main, want)
	}
	return want, nil
}

// CheckVersions refuses a file of a version that containerd does not read.
func (c Config) CheckVersions(most int, containerd string) error {
	for _, file := range c.Files {
		if file.Version > most {
			return fmt.Errorf("%s has version %d, and containerd %s reads versions up to %d: correct the file",
				file.Path, file.Version, containerd, most)
		}
	}
	return nil
}
