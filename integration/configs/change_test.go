//go:build linux

package configs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/stretchr/testify/require"
)

// TestOtherContainerd replaces the containerd of a node. The new containerd starts with the files
// that install wrote for the old one. After a second install, uninstall leaves nothing.
func TestOtherContainerd(t *testing.T) {
	for _, s := range []shape{
		{name: "no file"},
		{name: "version 2", main: "version = 2\n" + settings2},
		{name: "version 2, no CRI settings", main: "version = 2\noom_score = -999\n"},
		{name: "version 2, imports the folder", main: "version = 2\nimports = [\"DIR/conf.d/*.toml\"]\n"},
		{name: "no version, imports the folder", main: "imports = [\"DIR/conf.d/*.toml\"]\n"},
	} {
		for _, way := range [][]version{
			{{1, 7}, {2, 2}}, {{2, 2}, {1, 7}}, {{2, 4}, {1, 7}, {2, 4}}, {{1, 6}, {2, 3}}, {{2, 4}, {2, 0}}, {{2, 0}, {2, 4}},
		} {
			name := s.name
			for _, v := range way {
				name += ", " + v.String()
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				n := newNode(t, way[0], s, program(t, way[0]))
				before := n.tree()
				for i, v := range way {
					n.version, n.binary = v, program(t, v)
					daemon, err := start(t, n.binary, n.main(), n.dir)
					require.NoError(t, err, "%s starts with what is there", v)
					out, err := n.command("install", "--edit-config")
					require.NoError(t, err, "%s", out)
					require.NotContains(t, out, "not checked")
					runtimes := n.runtimes()
					require.Contains(t, runtimes, "oomwitness")
					require.Contains(t, runtimes, "runc")
					if i == len(way)-1 {
						out, err = n.command("uninstall")
						require.NoError(t, err, "%s", out)
						require.NotContains(t, out, "not checked")
					}
					daemon.stop()
				}
				require.Equal(t, before, n.tree(), "uninstall leaves every byte as it was")
			})
		}
	}
}

// TestUninstallLosesNothing: uninstall keeps what the owner wrote into our part of the file or
// beside it, and containerd still reads that.
func TestUninstallLosesNothing(t *testing.T) {
	const (
		kata = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.kata]\nruntime_type = \"io.containerd.kata.v2\"\n"
		end  = "# <<< oomwitness <<<"
	)
	for name, test := range map[string]struct {
		main  string
		since version
		file  string
		edit  func(text string) string
		want  string
	}{
		"a handler in the block": {"version = 2\n" + settings2, version{1, 7}, "config.toml", func(text string) string {
			return strings.Replace(text, end, kata+end, 1)
		}, "runtime_type = \"io.containerd.kata.v2\""},
		"a key behind the block": {"version = 2\n" + strings.Split(settings2, "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.other]")[0],
			version{1, 7}, "config.toml", func(text string) string { return text + "BinaryName = \"/opt/r\"\n" }, "BinaryName"},
		"a handler beside a kept runc": {"version = 2\n", version{1, 7}, "config.toml",
			func(text string) string { return text + kata }, "runtimes.runc.runtime_type: was 'io.containerd.runc.v2', is gone"},
		"a file in the folder": {"", version{2, 2}, "conf.d/mine.toml",
			func(string) string { return "version = 2\n[debug]\nlevel = \"info\"\n" }, "debug.level: was 'info'"},
		"a table in the drop-in": {"version = 2\n", version{2, 2}, "conf.d/oomwitness.toml",
			func(text string) string { return text + "[debug]\nlevel = \"info\"\n" }, "  [debug]\n  level = \"info\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, test.since, shape{main: test.main}, program(t, test.since))
			_, err := start(t, n.binary, n.main(), n.dir)
			require.NoError(t, err)
			out, err := n.command("install", "--edit-config")
			require.NoError(t, err, "%s", out)
			file := filepath.Join(n.etc, test.file)
			text, err := os.ReadFile(file)
			if !os.IsNotExist(err) {
				require.NoError(t, err)
			}
			n.write(file, test.edit(string(text)))
			edited := n.tree()
			out, err = n.command("uninstall")
			require.Error(t, err, "%s", out)
			require.Contains(t, out, test.want)
			require.Equal(t, edited, n.tree())
			n.result("refused: " + strings.TrimSpace(out[strings.Index(out, "oomwitness: "):]))
		})
	}
}

// runtimes returns the handlers that containerd has by its files.
func (n *node) runtimes() map[string]any {
	n.Helper()
	out, err := exec.CommandContext(n.Context(), n.binary, "--config", n.main(), "config", "dump").Output()
	require.NoError(n, err)
	var dump struct {
		Plugins map[string]struct {
			Containerd struct {
				Runtimes map[string]any `toml:"runtimes"`
			} `toml:"containerd"`
		} `toml:"plugins"`
	}
	require.NoError(n, toml.Unmarshal(out, &dump))
	name := "io.containerd.cri.v1.runtime"
	if n.version.major == 1 {
		name = "io.containerd.grpc.v1.cri"
	}
	return dump.Plugins[name].Containerd.Runtimes
}
