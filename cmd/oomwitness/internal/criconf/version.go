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
// an asked version that does not is refused.
func (c Config) DropinVersion(asked int) (int, error) {
	main := c.Version()
	var want int
	switch main {
	case 0:
		if asked != 0 {
			return asked, nil
		}
		return defaultVersion, nil
	case 1:
		return 0, fmt.Errorf("%s has version 1, which containerd 2 only migrates: allowed are 2 and higher, "+
			"see \"containerd config migrate\"", c.Path)
	case 2:
		want = 2
	default:
		want = 3
	}
	if asked != 0 && asked != want {
		return 0, fmt.Errorf("config version %d does not go with %s, which has version %d: allowed are auto and %d",
			asked, c.Path, main, want)
	}
	return want, nil
}
