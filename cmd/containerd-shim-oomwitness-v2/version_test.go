//go:build linux

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAsksVersion(t *testing.T) {
	for arguments, want := range map[string]bool{
		"-v": true, "--v": true, "-version": true, "--version": true, "-namespace k8s.io -v": true,
		"": false, "start": false, "-namespace v start": false, "-id version -info": false, "---v": false, "-id -debug": false,
	} {
		require.Equal(t, want, asksVersion(append([]string{"shim"}, strings.Fields(arguments)...)), arguments)
	}
}

// TestWriteVersion: our version and upstream's are each on a line of their own.
func TestWriteVersion(t *testing.T) {
	var out strings.Builder
	require.NoError(t, writeVersion(&out, "shim"))
	require.Regexp(t, `^shim:\n  Version:  \(devel\)\n  Revision: unknown\n  containerd: 2\.\S+ \(linked\)\n  Go version: go1\.\S+\n\n$`, out.String())
}
