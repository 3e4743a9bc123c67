//go:build linux

// Package bootstrap reads what containerd hands to a shim, in the forms of
// containerd 1.6 to 2.4: the call that starts the shim, and the runtime options.
//
// containerd 2.3 and later write BootstrapParams to the standard input of
// "start" and read a BootstrapResult (pkg/shim/compat.go). Older versions pass
// flags and environment, write the runtime options as an Any, and read an address
// (runtime/v2/shim/util.go in 1.7, pkg/shim/util.go in 2.0 to 2.2). Everything
// that the package parses comes from outside.
package bootstrap
