//go:build !faultpoints

// Package faultpoint is where a test build has the shim die: one that is built with the
// tag faultpoints.
package faultpoint

// Reach does nothing in this build.
func Reach(string) {}
