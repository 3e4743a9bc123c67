package docker_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/docker"
)

func TestWay(t *testing.T) {
	for text, want := range map[string]docker.Way{
		"19.03.15": docker.ByLink, "20.10.24+dfsg1": docker.ByLink, "23.0.18": docker.ByType,
		"24.0.0": docker.ByConfig, "28.5.2-ce": docker.ByConfig, "v29.0-v2.0.0-beta.24": docker.ByConfig,
	} {
		v, err := docker.ParseVersion(text)
		require.NoError(t, err)
		require.Equal(t, want, v.Way(), text)
	}
	for _, text := range []string{"", "library-import", "29", "x29.0"} {
		_, err := docker.ParseVersion(text)
		require.ErrorContains(t, err, "has to begin with two numbers", text)
	}
}

func TestProcessConfig(t *testing.T) {
	for want, args := range map[string][]string{
		docker.DefaultConfig: {"-H", "fd://"},
		"/a.json":            {"-H", "fd://", "--config-file", "/a.json"},
		"/b.json":            {"--config-file=/b.json", "-D"},
	} {
		require.Equal(t, want, docker.Process{Args: args}.Config())
	}
	twice := []string{"--config-file", "/a.json", "--config-file=conf/b.json"}
	require.Equal(t, "/srv/conf/b.json", docker.Process{Args: twice, Dir: "/srv"}.Config())
}

// TestProcesses reads a procfs with a dockerd, an ordinary user's dockerd and another program.
func TestProcesses(t *testing.T) {
	proc := t.TempDir()
	for dir, p := range map[string]struct{ comm, cmdline, uids string }{
		"7": {"dockerd", "/usr/bin/dockerd\x00-H\x00fd://\x00", "0\t0\t0\t0"},
		"8": {"dockerd", "dockerd\x00", "1000\t1000\t1000\t1000"}, "9": {"containerd", "containerd\x00", "0\t0\t0\t0"},
	} {
		require.NoError(t, os.Mkdir(filepath.Join(proc, dir), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(proc, dir, "status"), []byte("Uid:\t"+p.uids+"\n"), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(proc, dir, "comm"), []byte(p.comm+"\n"), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(proc, dir, "cmdline"), []byte(p.cmdline), 0o644))
	}
	require.NoError(t, os.Symlink("/srv", filepath.Join(proc, "7", "cwd")))
	found, passedOver, err := docker.Processes(proc)
	require.NoError(t, err)
	require.Equal(t, []docker.Process{{PID: 7, Args: []string{"-H", "fd://"}, Dir: "/srv"}}, found)
	require.Equal(t, []string{"dockerd with pid 8 is not root's: user IDs 1000 1000 1000 1000"}, passedOver)
}
