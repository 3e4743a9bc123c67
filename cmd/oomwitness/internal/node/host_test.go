package node_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/node"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/systemd"
)

// TestProgramsOfTheHost: programs are found on the host's PATH, whatever the image's PATH is.
func TestProgramsOfTheHost(t *testing.T) {
	if root := os.Getenv("TEST_HOST_ROOT"); root != "" {
		_, err := node.Enter(root, os.Args[0])
		require.NoError(t, err)
		require.NoError(t, exec.CommandContext(t.Context(), "containerd").Run())
		// This tree has no systemd.
		require.ErrorContains(t, systemd.Host{}.Restart(t.Context(), "containerd.service"), "/run/systemd/private")
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, for chroot(2)")
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs a static busybox")
	}
	program, err := os.ReadFile(busybox)
	require.NoError(t, err)
	root := t.TempDir()
	for name, content := range map[string][]byte{
		"usr/bin/sh": program, "dev/null": nil, "usr/bin/containerd": []byte("#!/usr/bin/sh\n"),
	} {
		file := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, content, 0o755))
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProgramsOfTheHost$")
	cmd.Env = []string{"TEST_HOST_ROOT=" + root, "PATH=/nowhere"}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
