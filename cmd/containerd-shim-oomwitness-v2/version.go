//go:build linux

package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	containerd "github.com/containerd/containerd/v2/version"
)

// version and commit are set at link time: -ldflags "-X main.version=v1.2.3".
var version, commit = "(devel)", "unknown"

// asksVersion reports whether the arguments ask for the version alone, in one of the
// ways that upstream's flags allow.
func asksVersion(args []string) bool {
	return slices.ContainsFunc(args[1:], func(arg string) bool {
		flag := strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-")
		return flag != arg && (flag == "v" || flag == "version")
	})
}

// writeVersion writes the text of the stock shim, with this project's version beside the
// version of containerd's shim code.
func writeVersion(w io.Writer, program string) error {
	_, err := fmt.Fprintf(w, "%s:\n  Version:  %s\n  Revision: %s\n  containerd: %s (linked)\n  Go version: %s\n\n",
		program, version, commit, containerd.Version, runtime.Version())
	return err
}
