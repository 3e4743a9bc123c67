package main

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOneProcessorFirst reads the runtime's own trace of the initialisation: package procs must
// come before the packages that allocate.
func TestOneProcessorFirst(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), build(t, runtime.GOARCH), "-v")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	at := func(name string) int { return strings.Index(string(out), "init "+name+" @") }
	procs := at("github.com/oomwitness/oomwitness/cmd/containerd-shim-oomwitness-v2/internal/procs")
	require.Positive(t, procs, "%s", out)
	for _, later := range []string{"sync", "syscall", "os", "google.golang.org/protobuf/internal/impl"} {
		require.Greater(t, at(later), procs, "%s is initialised before the limit of processors:\n%s", later, out)
	}
}
