package docker

import (
	"errors"
	"fmt"
	"strings"
)

// Version is a version of dockerd.
type Version struct {
	Major, Minor int
	// Text is the version as dockerd prints it.
	Text string
}

// ParseVersion reads a version such as "20.10.24+dfsg1".
func ParseVersion(text string) (Version, error) {
	v := Version{Text: text}
	if _, err := fmt.Sscanf(strings.TrimPrefix(text, "v"), "%d.%d", &v.Major, &v.Minor); err != nil {
		return v, fmt.Errorf("dockerd's version %q: has to begin with two numbers, such as 29.0", text)
	}
	return v, nil
}

// Way is a way to make a dockerd start the shim.
type Way int

const (
	// ByLink needs a link with the stock shim's name on containerd's PATH.
	ByLink Way = iota
	// ByType takes the runtime type only on the command line of docker run.
	ByType
	// ByConfig also takes a shim in daemon.json.
	ByConfig
)

// Way returns the way for a dockerd of this version. Docker before 23.0 refuses a
// runtime that its configuration does not name (getRuntime in daemon/runtime_unix.go of
// 20.10.24). Docker 23.0 takes a type, but its types.Runtime has no runtimeType: it ignores
// the key in daemon.json and runs the container with the stock shim. Docker 24.0 has it.
func (v Version) Way() Way {
	switch {
	case v.Major < 23:
		return ByLink
	case v.Major < 24:
		return ByType
	}
	return ByConfig
}

// ErrByLink reports a dockerd that knows no shim by name.
var ErrByLink = errors.New("a Docker before 23.0 cannot take a shim by name. Docker 24.0 and later take it from daemon.json, " +
	"Docker 23.0 by \"docker run --runtime " + RuntimeType + "\". For older ones link the shim as containerd-shim-runc-v2 " +
	"in a directory that is first on containerd's PATH: see docs/docker.md")
