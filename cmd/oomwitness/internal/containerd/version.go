// Package containerd finds the containerd of a node and its version. It knows what that version
// can read, and how that version loads its configuration files.
package containerd

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Served is the range of supported versions, as a text.
const Served = "1.6 to 2.4"

// Version is a version of containerd.
type Version struct {
	Major, Minor, Patch int
	// Text is the version as containerd prints it, such as "1.6.20~ds1".
	Text string
}

// number matches the begin of a version: Debian, k3s and others append to it.
var number = regexp.MustCompile(`^v?([0-9]{1,6})\.([0-9]{1,6})(?:\.([0-9]{1,6}))?`)

// newest stands for the newest patch of a series.
const newest = 1 << 30

// ParseVersion parses a version, with or without a leading v. A missing patch number means the
// newest of the series.
func ParseVersion(text string) (Version, error) {
	text = strings.TrimSpace(text)
	parts := number.FindStringSubmatch(text)
	if parts == nil {
		return Version{}, fmt.Errorf("cannot read the version %q: it has to begin with two numbers, such as 1.7 or v2.2.9", text)
	}
	v := Version{Text: text}
	for i, to := range []*int{&v.Major, &v.Minor, &v.Patch} {
		// The text has at most six digits, or none: Atoi can fail for none alone.
		*to, _ = strconv.Atoi(parts[i+1])
	}
	if parts[3] == "" {
		v.Patch = newest
	}
	return v, nil
}

func (v Version) String() string { return v.Text }

// before reports whether v is older than the version named.
func (v Version) before(major, minor, patch int) bool {
	return cmp.Or(cmp.Compare(v.Major, major), cmp.Compare(v.Minor, minor), cmp.Compare(v.Patch, patch)) < 0
}

// Series reports whether v and other have the same major and minor number.
func (v Version) Series(other Version) bool {
	return v.Major == other.Major && v.Minor == other.Minor
}

// Refused returns why this version is not supported, nil if it is. check, install and node
// setup all use it. An absolute path in the place of a runtime's name works from 1.6 on
// (resolveRuntimePath in runtime/v2/manager.go).
func (v Version) Refused() error {
	if v.before(1, 6, 0) {
		return fmt.Errorf("containerd %s cannot be served, %s can: before 1.6 containerd takes no path of a shim; "+
			"upgrade containerd", v, Served)
	}
	return nil
}

// Untested returns a warning for a version newer than all tested ones, "" for none.
func (v Version) Untested() string {
	if v.before(2, 5, 0) {
		return ""
	}
	return fmt.Sprintf("containerd %s is not tested (%s are), and is treated as 2.4", v, Served)
}

// Dropins reports whether this version merges an imported file key by key. 1.x
// replaces whole plugin sections: an imported file that names a runtime handler
// takes away every other CRI setting (mergeConfig in services/server/config of
// 1.6 and 1.7).
func (v Version) Dropins() bool { return v.Major >= 2 }

// RuntimePath reports whether CRI passes a handler's runtime_path on. 1.6.0 to
// 1.6.20 and 1.7.0 read the setting and start the shim that runtime_type names:
// request.RuntimePath is set from 1.6.21 and 1.7.1 on (container.go, NewTask).
func (v Version) RuntimePath() bool {
	return !v.before(1, 6, 21) && (v.before(1, 7, 0) || !v.before(1, 7, 1))
}

// ConfigVersion returns the highest version of a configuration file that this
// version reads: ValidateV2 in 1.7, version.ConfigVersion in 2.x.
func (v Version) ConfigVersion() int {
	switch {
	case v.Major < 2:
		return 2
	case v.before(2, 3, 0):
		return 3
	}
	return 4
}
