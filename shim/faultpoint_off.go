//go:build linux && !faultpoints

package shim

// faultPoint is where a test build can have the shim die.
func faultPoint(string) {}
