package preflight

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// TestDockerRow compares the findings for files daemon.json. integration/docker asks real
// dockerds.
func TestDockerRow(t *testing.T) {
	const shim = "/usr/local/bin/containerd-shim-oomwitness-v2"
	entry := `{"runtimes":{"oomwitness":{"runtimeType":"` + shim + `"}}}`
	for name, c := range map[string]struct {
		text   string
		binary bool
		status Status
		found  string
	}{
		"registered": {entry, true, OK, `the runtime "oomwitness" in /etc/docker/daemon.json is ` + shim},
		"no shim":    {entry, false, Fail, "which is not there"},
		"not yet":    {`{}`, true, Warn, `has no runtime "oomwitness"`},
		"another's":  {`{"runtimes":{"oomwitness":{"path":"x"}}}`, true, Warn, "is not oomwitness"},
		"broken":     {"{\n,}", true, Fail, "line 2: invalid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write := func(file, text string, mode os.FileMode) {
				require.NoError(t, os.MkdirAll(filepath.Dir(root+file), 0o755))
				require.NoError(t, os.WriteFile(root+file, []byte(text), mode))
			}
			write("/etc/docker/daemon.json", c.text, 0o644)
			if c.binary {
				write(shim, "\x7fELF", 0o755)
			}
			checker := Checker{Root: rootfs.Dir(root), Handler: "oomwitness", Path: []string{"/usr/bin"}}
			findings := checker.docker(t.Context())
			require.Len(t, findings, 1)
			require.Equal(t, c.status, findings[0].Status)
			require.Contains(t, findings[0].Found, c.found)
		})
	}
	require.Empty(t, Checker{Root: rootfs.Dir(t.TempDir()), Path: []string{"/usr/bin"}}.docker(t.Context()), "no Docker, no row")
}

// TestDockerAlone: a shim that Docker alone is to start needs nothing in containerd's files.
func TestDockerAlone(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		ok    bool
	}{
		"no configuration":            {nil, true},
		"Docker's own, with CRI away": {map[string]string{criconf.DefaultPath: "disabled_plugins = [\"cri\"]\n"}, true},
		"a drop-in that nobody reads": {map[string]string{"/etc/containerd/conf.d/oomwitness.toml": "version = 2\n"}, false},
		"a broken configuration":      {map[string]string{criconf.DefaultPath: "[["}, false},
	} {
		t.Run(name, func(t *testing.T) {
			checker := Checker{
				Root: rootfs.Dir(t.TempDir()), Handler: "oomwitness", BinDir: "/usr/bin", ContainerdConfig: criconf.DefaultPath,
				ConfDir: criconf.DefaultDropinDir,
			}
			for file, text := range c.files {
				require.NoError(t, os.MkdirAll(filepath.Dir(checker.Root.Path(file)), 0o755))
				require.NoError(t, os.WriteFile(checker.Root.Path(file), []byte(text), 0o644))
			}
			for _, version := range []string{"1.7.27", "2.2.0", ""} {
				findings := checker.registered(version, []Finding{{Name: "docker", Status: OK}})
				require.Equal(t, []string{"shim", "drop-in", "imports"}, []string{findings[0].Name, findings[1].Name, findings[2].Name})
				require.Equal(t, c.ok, findings[1].Status == OK && findings[2].Status == OK, "%s: %v", version, findings)
			}
			findings := checker.registered("2.2.0", []Finding{{Name: "docker", Status: Warn}})
			require.NotEqual(t, OK, findings[1].Status)
		})
	}
}

// TestDockerdWithConfigFile: a dockerd with --config-file reads that file alone.
func TestDockerdWithConfigFile(t *testing.T) {
	root := t.TempDir()
	for file, text := range map[string]string{
		"/etc/docker/daemon.json": `{"runtimes":{"oomwitness":{"runtimeType":"io.containerd.oomwitness.v2"}}}`, "/data/daemon.json": "{}",
		"/proc/8/comm": "dockerd\n", "/proc/8/status": "Uid:\t0\t0\t0\t0\n", "/proc/8/cmdline": "dockerd\x00--config-file\x00/data/daemon.json\x00",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(root+file), 0o755))
		require.NoError(t, os.WriteFile(root+file, []byte(text), 0o644))
	}
	checker := Checker{Root: rootfs.Dir(root), Handler: "oomwitness"}
	require.Contains(t, checker.docker(t.Context())[0].Found, "/data/daemon.json has no runtime")
	checker.DockerConfig = "/etc/docker/daemon.json"
	require.Equal(t, OK, checker.docker(t.Context())[0].Status)
}

// TestStockLink: for a Docker before 23.0, a link with the stock shim's name must be found
// first.
func TestStockLink(t *testing.T) {
	root := t.TempDir()
	checker := Checker{Root: rootfs.Dir(root), Path: []string{"/opt/first", "/usr/bin"}}
	for _, dir := range []string{"/opt/first", "/usr/bin", "/usr/local/bin"} {
		require.NoError(t, os.MkdirAll(root+dir, 0o755))
	}
	_, shim := checker.stockLink()
	require.Empty(t, shim)
	for _, file := range []string{"/usr/local/bin/containerd-shim-oomwitness-v2", "/usr/bin/" + stockShim} {
		require.NoError(t, os.WriteFile(root+file, []byte("\x7fELF"), 0o755))
	}
	_, shim = checker.stockLink()
	require.Empty(t, shim, "the stock one")
	require.NoError(t, os.Symlink("/usr/local/bin/containerd-shim-oomwitness-v2", root+"/opt/first/"+stockShim))
	link, shim := checker.stockLink()
	require.Equal(t, "/opt/first/"+stockShim, link)
	require.Equal(t, "/usr/local/bin/containerd-shim-oomwitness-v2", shim)
	checker.Path = []string{"/usr/bin", "/opt/first"}
	_, shim = checker.stockLink()
	require.Empty(t, shim, "found later")
}
