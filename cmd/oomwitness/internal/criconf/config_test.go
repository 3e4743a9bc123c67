package criconf_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

const dropin = "/etc/containerd/conf.d/oomwitness.toml"

// load writes files below a new root and loads its configuration.
func load(t *testing.T, files map[string]string) (criconf.Config, error) {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	return criconf.Load(rootfs.Dir(root), criconf.DefaultPath, dropin)
}

func TestCovers(t *testing.T) {
	for name, test := range map[string]struct {
		main string
		want bool
	}{
		"no imports: the built-in default is never resolved": {"version = 3", false},
		"empty imports":        {"version = 3\nimports = []", false},
		"the directory":        {`imports = ["/etc/containerd/conf.d/*.toml"]`, true},
		"relative":             {`imports = ["conf.d/*.toml"]`, true},
		"unclean":              {`imports = ["/etc/containerd/./x/../conf.d/*.toml"]`, true},
		"all of it":            {`imports = ["/etc/containerd/*/*"]`, true},
		"one file":             {`imports = ["/etc/containerd/other.toml", "` + dropin + `"]`, true},
		"a star stops at a /":  {`imports = ["/etc/*"]`, false},
		"no star, no pattern":  {`imports = ["/etc/containerd/conf.d/oomwitness.tom?"]`, false},
		"another directory":    {`imports = ["/etc/containerd/runtime_*.toml"]`, false},
		"the directory itself": {`imports = ["/etc/containerd/conf.d"]`, false},
	} {
		t.Run(name, func(t *testing.T) {
			file, err := criconf.Parse(criconf.DefaultPath, []byte(test.main))
			require.NoError(t, err)
			config := criconf.Config{Path: criconf.DefaultPath, Exists: true, Files: []criconf.File{file}}
			require.Equal(t, test.want, config.Covers(dropin))
		})
	}
}

func TestLoadFollowsImports(t *testing.T) {
	config, err := load(t, map[string]string{
		"etc/containerd/config.toml": `version = 3
imports = ["extra/*.toml"]
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
BinaryName = "/opt/runc"`,
		"etc/containerd/extra/a.toml": `version = 3
imports = ["/etc/containerd/conf.d/*.toml", "/etc/containerd/config.toml"]
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = true`,
		"etc/containerd/conf.d/oomwitness.toml": "damaged [",
	})
	require.NoError(t, err)
	require.Len(t, config.Files, 2)
	require.True(t, config.Covers(dropin), "an imported file may import it")
	value, set := config.SystemdCgroup()
	require.True(t, value)
	require.True(t, set)
	runc, from := config.Runtime("runc")
	require.Equal(t, "/etc/containerd/extra/a.toml", from)
	require.Equal(t, "/opt/runc", runc["options"].(map[string]any)["BinaryName"], "options merge by key")
}

func TestLoadErrors(t *testing.T) {
	config, err := load(t, nil)
	require.NoError(t, err)
	require.False(t, config.Exists)
	require.Contains(t, config.ImportAdvice("/etc/containerd/conf.d", 2), "create /etc/containerd/config.toml")

	for name, test := range map[string]struct{ main, want string }{
		"bad TOML":       {"version = 3\nimports = [", "line 2"},
		"wrong type":     {`version = "3"`, "config.toml: line 1, column 11: version has to be a whole number"},
		"imports":        {"version = 3\nimports = '/etc/x/*.toml'", "config.toml: line 2, column 11: imports has to be a list of strings"},
		"negative":       {"version = -1", "version is -1"},
		"missing import": {`imports = ["/etc/containerd/gone.toml"]`, "containerd configuration: /etc/containerd/gone.toml is imported and is missing"},
		"bad pattern":    {`imports = ["/etc/[*.toml"]`, "/etc/[*.toml"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, map[string]string{"etc/containerd/config.toml": test.main})
			require.ErrorContains(t, err, test.want)
		})
	}
}

// TestImportAdvice: the advice ends with a line to paste. The line replaces a list that is
// there.
func TestImportAdvice(t *testing.T) {
	for main, want := range map[string]string{
		"version = 2":             "in /etc/containerd/config.toml, above the first table, add this line:\n    imports = [\"/etc/containerd/conf.d/*.toml\"]",
		"version = 2\nimports=[]": "in /etc/containerd/config.toml, replace imports and its list by this line:\n    imports = [\"/etc/containerd/conf.d/*.toml\"]",
		"imports = ['/x/*.toml']": "in /etc/containerd/config.toml, replace imports and its list by this line:\n    imports = [\"/etc/containerd/conf.d/*.toml\", \"/x/*.toml\"]",
	} {
		config, err := load(t, map[string]string{"etc/containerd/config.toml": main})
		require.NoError(t, err)
		require.Equal(t, want, config.ImportAdvice("/etc/containerd/conf.d", 2))
	}
}

func TestCRIDisabled(t *testing.T) {
	for _, plugin := range []string{"cri", "io.containerd.grpc.v1.cri"} {
		config, err := load(t, map[string]string{
			"etc/containerd/config.toml": `disabled_plugins = ["` + plugin + `"]`,
		})
		require.NoError(t, err)
		require.Equal(t, criconf.DefaultPath, config.CRIDisabled())
	}
}

func TestDropinVersion(t *testing.T) {
	for _, test := range []struct {
		main  string
		asked int
		want  int
		err   string
	}{
		{"", 0, 2, ""},
		{"root = '/x'", 0, 2, ""},
		{"root = '/x'", 2, 2, ""},
		{"version = 1", 0, 2, ""},
		{"[plugins.cri]\nx = 1", 0, 3, ""},
		{"version = 2", 0, 2, ""},
		{"version = 2", 3, 0, "allowed are auto and 2"},
		{"version = 3", 0, 3, ""},
		{"version = 3", 2, 0, "allowed are auto and 3"},
		{"version = 4", 0, 3, ""},
		{"version = 4", 3, 3, ""},
	} {
		files := map[string]string{"etc/containerd/config.toml": test.main}
		if test.main == "" {
			files = nil
		}
		config, err := load(t, files)
		require.NoError(t, err)
		got, err := config.DropinVersion(test.asked)
		if test.err != "" {
			require.ErrorContains(t, err, test.err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, test.want, got, "main %q, asked %d", test.main, test.asked)
	}
}

// FuzzParse: for any file the parser answers or returns an error, and its answer can be used
// without failure.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "version = 3", "version = -3", `imports = ["conf.d/*.toml", "[", "*"]`, "version = 99999999999999999999",
		"[plugins.cri.containerd.runtimes.runc]\nruntime_type = 1\noptions = 3",
		"[plugins.'io.containerd.grpc.v1.cri'.containerd]\nruntimes = []",
		"[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\npod_annotations = [1, 'a', [2]]\n" +
			"x = 1979-05-27\ny = nan\nz = \"\\u0000\\n'''\"\n'a b' = 1\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\nSystemdCgroup = 'x'",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, err := criconf.Parse("/etc/containerd/config.toml", []byte(text))
		if err != nil {
			return
		}
		config := criconf.Config{Path: file.Path, Exists: true, Files: []criconf.File{file}}
		config.Covers(dropin)
		config.CRIDisabled()
		require.NotEmpty(t, config.ImportAdvice("/x", 3))
		systemd, _ := config.SystemdCgroup()
		out, err := criconf.Dropin{
			Version: 3, Handler: "oomwitness", Shim: "/bin/" + criconf.ShimName, SystemdCgroup: systemd, Runc: config.Runc(),
		}.Render()
		require.NoError(t, err)
		require.False(t, criconf.Altered(out))
		back, err := criconf.Parse(dropin, out)
		require.NoError(t, err, "what install writes has to be readable: %s", out)
		require.NoError(t, back.Registered("oomwitness", "/bin/"+criconf.ShimName))
		require.Equal(t, systemd, back.OptionSystemdCgroup("oomwitness"))
		require.Len(t, back.Runtimes, 1, "nothing in the node's file may add another runtime: %s", strings.TrimSpace(string(out)))
	})
}
