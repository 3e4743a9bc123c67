package containerd

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

func TestConfig(t *testing.T) {
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
		require.Equal(t, want, configIn(strings.Split(cmdline, "\x00")), "%q", cmdline)
	}
	require.Empty(t, Config(t.Context(), rootfs.Dir(t.TempDir()), DefaultAddress), "nobody answers")
}
