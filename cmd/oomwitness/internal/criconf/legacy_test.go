package criconf_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

const cri2 = "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n"

// TestLegacy: 1.x takes CRI's section from the last file that has one.
func TestLegacy(t *testing.T) {
	for name, test := range map[string]struct {
		files   map[string]string
		file    string
		version int
		builtIn bool
	}{
		"no file":         {nil, criconf.DefaultPath, 2, true},
		"no version":      {map[string]string{"config.toml": "root = '/x'"}, criconf.DefaultPath, 1, true},
		"version 1":       {map[string]string{"config.toml": "version = 1\n[plugins.cri.containerd.runtimes.runc]\nx = 1"}, criconf.DefaultPath, 1, false},
		"version 2":       {map[string]string{"config.toml": "version = 2\n" + cri2}, criconf.DefaultPath, 2, false},
		"names of 2 in 1": {map[string]string{"config.toml": cri2}, criconf.DefaultPath, 1, true},
		"in another file": {map[string]string{"config.toml": "version = 2\nimports = ['a.toml', 'b.toml']\n" + cri2, "a.toml": cri2, "b.toml": "x = 1"},
			"/etc/containerd/a.toml", 2, false},
		"the version of another file": {map[string]string{"config.toml": "imports = ['a.toml']", "a.toml": "version = 2\n" + cri2},
			"/etc/containerd/a.toml", 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for name, text := range test.files {
				files["etc/containerd/"+name] = text
			}
			config, err := load(t, files)
			require.NoError(t, err)
			legacy := config.Legacy()
			require.Equal(t, test.file, legacy.File)
			require.Equal(t, test.version, legacy.Version)
			require.Equal(t, test.builtIn, legacy.BuiltIn(nil, "oomwitness") != nil)
		})
	}
}

// TestBuiltIn: a built-in handler is named beside ours, since 1.x would drop it otherwise.
func TestBuiltIn(t *testing.T) {
	config, err := load(t, nil)
	require.NoError(t, err)
	dump := text(t, cri2+"runtime_root = ''\ncni_max_conf_num = 0\n"+
		"[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]\nBinaryName = ''\nSystemdCgroup = false\n"+
		"[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.oomwitness]\nruntime_type = 'x'\n")
	keep := config.Legacy().BuiltIn(dump, "oomwitness")
	require.Equal(t, map[string]map[string]any{"runc": {
		"runtime_type": "io.containerd.runc.v2", "options": map[string]any{"BinaryName": "", "SystemdCgroup": false},
	}}, keep)
	tables, err := criconf.Dropin{Version: 1, Handler: "oomwitness", Shim: shim, Keep: keep, ByType: true}.Tables()
	require.NoError(t, err)
	require.Equal(t, `# Built into containerd, which drops it as soon as a file names a handler.
[plugins.cri.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'

[plugins.cri.containerd.runtimes.runc.options]
BinaryName = ''
SystemdCgroup = false

# The CRI of this containerd starts the shim that runtime_type names.
[plugins.cri.containerd.runtimes.oomwitness]
runtime_type = '/usr/local/bin/containerd-shim-oomwitness-v2'
container_annotations = ['oomwitness.io/*']
pod_annotations = ['oomwitness.io/*']
`, string(tables))
}

func TestLost(t *testing.T) {
	runc := map[string]any{"options": map[string]any{"BinaryName": "/opt/runc", "Root": "", "SystemdCgroup": true}}
	require.Equal(t, []string{"BinaryName"}, criconf.Dropin{ByType: true, Runc: runc}.Lost())
	require.Empty(t, criconf.Dropin{Runc: runc}.Lost())
}

func TestReadable(t *testing.T) {
	config, err := load(t, map[string]string{
		"etc/containerd/config.toml": "version = 2\nimports = ['a.toml']", "etc/containerd/a.toml": "version = 3",
	})
	require.NoError(t, err)
	require.NoError(t, config.Readable(3, true, "2.0"))
	require.ErrorContains(t, config.Readable(2, false, "1.7.35"), "/etc/containerd/a.toml has version 3, and containerd 1.7.35 reads versions up to 2")
	config, err = load(t, map[string]string{"etc/containerd/config.toml": "\xef\xbb\xbfversion = 2"})
	require.NoError(t, err)
	require.NoError(t, config.Readable(2, false, "1.7.35"))
	require.ErrorContains(t, config.Readable(3, true, "2.0.14"), "begins with a byte order mark, and containerd 2.0.14 does not start")
}
