package criconf_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

func text(t *testing.T, toml string) map[string]any {
	t.Helper()
	out, err := criconf.Text([]byte(toml))
	require.NoError(t, err)
	return out
}

func TestDiff(t *testing.T) {
	before := text(t, `version = 2
imports = ["/a"]
oom_score = -999
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "x/pause"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.empty]
`)
	after := text(t, `version = 3
oom_score = 0
debug = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.oomwitness]
runtime_type = "io.containerd.runc.v2"
`)
	require.Equal(t, []string{
		`debug: was not there, is true`,
		`oom_score: was -999, is 0`,
		`plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.runtime_type: was 'io.containerd.runc.v2', is gone`,
		`plugins."io.containerd.grpc.v1.cri".sandbox_image: was 'x/pause', is gone`,
	}, criconf.Diff(before, after, "oomwitness"))
	require.Empty(t, criconf.Diff(before, before, "oomwitness"))
	require.Equal(t, "x/pause", before["plugins"].(map[string]any)["io.containerd.grpc.v1.cri"].(map[string]any)["sandbox_image"],
		"the arguments stay as they are")
}

func TestHasHandler(t *testing.T) {
	dropin := criconf.Dropin{Version: 2, Handler: "oomwitness", Shim: shim, SystemdCgroup: true}
	const table = "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.oomwitness]\nruntime_type = 'io.containerd.runc.v2'\n" +
		"pod_annotations = ['oomwitness.io/*']\ncontainer_annotations = ['oomwitness.io/*']\nsnapshotter = ''\n" +
		"runtime_path = '" + shim + "'\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.oomwitness.options]\nRoot = ''\n"
	require.NoError(t, criconf.HasHandler(text(t, table+"SystemdCgroup = true"), "oomwitness", dropin.Settings()))
	err := criconf.HasHandler(text(t, table+"SystemdCgroup = false"), "oomwitness", dropin.Settings())
	require.ErrorContains(t, err, "options")
	dropin.Shim = "/other"
	err = criconf.HasHandler(text(t, table+"SystemdCgroup = true"), "oomwitness", dropin.Settings())
	require.ErrorContains(t, err, "runtime_path = '"+shim+"', should have '/other'")
	require.ErrorContains(t, criconf.HasHandler(nil, "oomwitness", dropin.Settings()), `the handler "oomwitness" is missing`)
}

// TestDiffOfZeros: in a handler a zero equals a missing setting; elsewhere it does not.
func TestDiffOfZeros(t *testing.T) {
	const handler = "[plugins.p.containerd.runtimes.runc.options]\n"
	parse := func(text string) map[string]any {
		out, err := criconf.Text([]byte(text))
		require.NoError(t, err)
		return out
	}
	none, zeros := parse(handler+"Root = '/r'\n"), parse(handler+"Root = '/r'\na = ''\nb = false\nc = 0\nd = []\n")
	require.Empty(t, criconf.Diff(none, zeros))
	require.Empty(t, criconf.Diff(zeros, none))
	require.Len(t, criconf.Diff(zeros, parse(handler+"a = 'x'\n")), 2, "a, and Root")
	require.Len(t, criconf.Diff(parse("a = ''\n"), parse("b = false\n")), 2)
}

// TestHasHandlerMigrated: a setting that runc's handler has lost as well does not count as
// lost.
func TestHasHandlerMigrated(t *testing.T) {
	dump := func(ours, runc string) map[string]any {
		out, err := criconf.Text([]byte("[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.oomwitness]\nruntime_path = '/s'\n" + ours +
			"\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n" + runc + "\n"))
		require.NoError(t, err)
		return out
	}
	settings := map[string]any{"runtime_path": "/s", "sandbox_mode": "podsandbox"}
	require.NoError(t, criconf.HasHandler(dump("sandboxer = 'podsandbox'", "sandboxer = 'podsandbox'"), "oomwitness", settings))
	require.Error(t, criconf.HasHandler(dump("", "sandbox_mode = 'podsandbox'"), "oomwitness", settings))
	settings["runtime_path"] = "/other"
	require.Error(t, criconf.HasHandler(dump("", "runtime_path = '/s'"), "oomwitness", settings))
}
