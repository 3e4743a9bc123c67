package containerd

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

func TestConfig(t *testing.T) {
	root := rootfs.Dir(t.TempDir())
	require.NoError(t, os.MkdirAll(root.Path("/proc/7"), 0o755))
	for cmdline, want := range map[string]string{
		"containerd\x00":                                              "",
		"containerd\x00--config\x00/a.toml\x00":                       "/a.toml",
		"containerd\x00-c\x00/a.toml\x00--root\x00/x\x00":             "/a.toml",
		"/usr/bin/containerd\x00--log-level=debug\x00-c=/b/../a.toml": "/a.toml",
		"containerd\x00--config=/a.toml":                              "/a.toml",
		"containerd\x00-config\x00/a.toml":                            "/a.toml",
		"containerd\x00--config":                                      "",
		"-c\x00/a.toml":                                               "",
		"containerd\x00c\x00/a.toml":                                  "",
		"containerd\x00-c\x00relative.toml":                           "",
	} {
		require.NoError(t, os.WriteFile(root.Path("/proc/7/cmdline"), []byte(cmdline), 0o644))
		require.Equal(t, want, Config(root, "7"), "%q", cmdline)
	}
	require.Empty(t, Config(root, ""))
	require.Empty(t, Config(root, "8"))
}
