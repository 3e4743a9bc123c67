package criconf_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

const shim = "/usr/local/bin/" + criconf.ShimName

// body returns a drop-in without its three header lines.
func body(t *testing.T, data []byte) string {
	t.Helper()
	parts := strings.SplitN(string(data), "\n", 4)
	require.Len(t, parts, 4)
	return parts[3]
}

func TestRender(t *testing.T) {
	for version, plugin := range map[int]string{
		2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime",
	} {
		data, err := criconf.Dropin{Version: version, Handler: "oomwitness", Shim: shim, SystemdCgroup: true}.Render()
		require.NoError(t, err)
		require.Equal(t, "version = "+string(rune('0'+version))+`

# CRI hands runc's options to runtime_type io.containerd.runc.v2 alone;
# runtime_path is what makes it oomwitness.
[plugins.'`+plugin+`'.containerd.runtimes.oomwitness]
runtime_type = 'io.containerd.runc.v2'
runtime_path = '/usr/local/bin/containerd-shim-oomwitness-v2'
container_annotations = ['oomwitness.io/*']
pod_annotations = ['oomwitness.io/*']

[plugins.'`+plugin+`'.containerd.runtimes.oomwitness.options]
SystemdCgroup = true
`, body(t, data))
		require.True(t, criconf.Ours(data))
		require.False(t, criconf.Altered(data))
	}
	_, err := criconf.Dropin{Version: 4}.Render()
	require.ErrorContains(t, err, "allowed are 2 and 3")
}

func TestRenderTakesOverTheRuncHandler(t *testing.T) {
	config, err := load(t, map[string]string{"etc/containerd/config.toml": `version = 3
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
runtime_path = "/opt/other-shim"
base_runtime_spec = "/etc/containerd/base.json"
cni_max_conf_num = 2
pod_annotations = ["a/*", "oomwitness.io/*"]
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "/opt/runc"
SystemdCgroup = false`})
	require.NoError(t, err)
	data, err := criconf.Dropin{Version: 3, Handler: "oomwitness", Shim: shim, Runc: config.Runc()}.Render()
	require.NoError(t, err)
	file, err := criconf.Parse(dropin, data)
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"runtime_type":          "io.containerd.runc.v2",
		"runtime_path":          shim,
		"base_runtime_spec":     "/etc/containerd/base.json",
		"cni_max_conf_num":      int64(2),
		"pod_annotations":       []any{"a/*", "oomwitness.io/*"},
		"container_annotations": []any{"oomwitness.io/*"},
		"options":               map[string]any{"BinaryName": "/opt/runc", "SystemdCgroup": false},
	}, file.Runtimes["oomwitness"])
}

func TestRuncOfAnotherTypeIsNotTakenOver(t *testing.T) {
	config, err := load(t, map[string]string{"etc/containerd/config.toml": `version = 3
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.kata.v2"`})
	require.NoError(t, err)
	require.Nil(t, config.Runc())
}

func TestAltered(t *testing.T) {
	data, err := criconf.Dropin{Version: 3, Handler: "oomwitness", Shim: shim}.Render()
	require.NoError(t, err)
	for name, text := range map[string]string{
		"setting":                               strings.Replace(string(data), "SystemdCgroup = false", "SystemdCgroup = true", 1),
		"line added":                            string(data) + "x = 1\n",
		"head only":                             strings.SplitN(string(data), "version", 2)[0],
		"no sum":                                strings.Replace(string(data), "sha256", "md5", 1),
		"table put in between the header lines": strings.Replace(string(data), "\n", "\n[x]\n", 1),
	} {
		require.True(t, criconf.Altered([]byte(text)), name)
		require.True(t, criconf.Ours([]byte(text)), name)
	}
	require.False(t, criconf.Ours([]byte("version = 3\n")))
}

func TestCheckHandler(t *testing.T) {
	for _, name := range []string{"oomwitness", "a", "oom-2"} {
		require.NoError(t, criconf.CheckHandler(name))
	}
	for _, name := range []string{"", "runc", "default", "untrusted", "-a", "a-", "A", "a.b", "a b", "x]\n[y", strings.Repeat("a", 64)} {
		require.ErrorContains(t, criconf.CheckHandler(name), "runtime name")
	}
}
