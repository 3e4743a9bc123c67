//go:build linux

package bootstrap

import (
	"strconv"
	"strings"
)

// JoinsWithoutCleanup reports whether a containerd of that version, as
// BootstrapParams carry it, connects the further containers of a pod without a
// function that cleans up where the shim answers version 3: 2.0 to 2.3 do
// (core/runtime/v2/shim_manager.go, ShimManager.Start, of 2.3.7 and of 2.4.2). A
// version that cannot be read may be one of those: then JoinsWithoutCleanup reports
// true, which costs a start call for each container.
func JoinsWithoutCleanup(version string) bool {
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	first, err1 := strconv.Atoi(major)
	second, err2 := strconv.Atoi(minor)
	return err1 != nil || err2 != nil || first < 2 || first == 2 && second < 4
}
