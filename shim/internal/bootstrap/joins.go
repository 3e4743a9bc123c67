package bootstrap

import "fmt"

// JoinsWithoutCleanup reports whether a containerd of that version, as
// BootstrapParams carry it, connects the further containers of a pod without a
// function that cleans up where the shim answers version 3: 2.0 to 2.3 do
// (core/runtime/v2/shim_manager.go, ShimManager.Start, of 2.3.7 and of 2.4.2). Of
// a version that cannot be read it is taken that it does not.
func JoinsWithoutCleanup(version string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d.", &major, &minor); err != nil {
		return false
	}
	return major == 2 && minor < 4
}
