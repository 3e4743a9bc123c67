//go:build linux

package configs

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/cri"
)

// standIn takes the place of the shim: it writes down how it was called, and fails.
// It runs in the bundle.
const standIn = `#!/bin/sh
case " $* " in *" start "*)
	printf '%%s\n' "$@" >%[1]s/called
	cat >%[1]s/options
	cp config.json %[1]s/spec.json
esac
exit 1
`

// TestShimIsStarted: by what install wrote CRI starts the binary that install put
// in place, gives it the pod's annotations, and, but for a CRI that cannot, runc's
// options.
func TestShimIsStarted(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("needs root, to start containerd")
	}
	for _, v := range versions() {
		t.Run(v.String(), func(t *testing.T) {
			const image = "localhost/pause:1"
			s := shape{main: "version = 2\n" + strings.Replace(settings2, "example.invalid/pause:1", image, 1), starts: always}
			n := newNode(t, v, s, program(t, v))
			d, err := start(t, n.binary, n.main(), n.dir)
			require.NoError(t, err)
			out, err := n.command("install", "--edit-config")
			require.NoError(t, err, "%s", out)
			d.stop()
			require.NoError(t, os.WriteFile(filepath.Join(n.dir, "bin", "containerd-shim-oomwitness-v2"), fmt.Appendf(nil, standIn, n.dir), 0o755))
			d, err = start(t, n.binary, n.main(), n.dir)
			require.NoError(t, err)
			n.startPod(d, image)

			spec := n.spec()
			require.Equal(t, "true", spec.Annotations["oomwitness.io/oom-group"], "pod_annotations")
			require.NotContains(t, spec.Annotations, "example.com/other")
			require.Len(t, strings.Split(spec.Linux.CgroupsPath, ":"), 3, "the systemd driver can be told by %s", spec.Linux.CgroupsPath)
			options, err := os.ReadFile(filepath.Join(n.dir, "options"))
			require.NoError(t, err)
			require.NotContains(t, string(options), "runtimeoptions", "the shim would have to translate them")
			byType := v == version{1, 6}
			require.Equal(t, !byType, strings.Contains(string(options), "containerd.runc.v1.Options"), "%q", options)
		})
	}
}

// startPod has CRI start a pod of our handler, which fails with the stand-in.
func (n *node) startPod(d *daemon, image string) {
	n.Helper()
	ctx, cancel := context.WithTimeout(n.Context(), startTime)
	defer cancel()
	require.NoError(n, cri.Import(ctx, d.socket, cri.Image{Ref: image, Folders: []string{"etc"}, Entrypoint: []string{"/pause"}}))
	client, err := cri.Dial(d.socket)
	require.NoError(n, err)
	defer client.Close()
	_, err = client.RunPod(ctx, cri.Pod{
		Name: "a", Handler: "oomwitness", CgroupParent: "/kubepods.slice",
		Annotations: map[string]string{"oomwitness.io/oom-group": "true", "example.com/other": "x"},
	})
	require.Error(n, err, "the stand-in fails")
	require.FileExists(n, filepath.Join(n.dir, "called"), "CRI has started another shim: %v", err)
}

// spec is the one that the stand-in found in its bundle.
func (n *node) spec() specs.Spec {
	n.Helper()
	data, err := os.ReadFile(filepath.Join(n.dir, "spec.json"))
	require.NoError(n, err)
	var spec specs.Spec
	require.NoError(n, json.Unmarshal(data, &spec))
	require.NotNil(n, spec.Linux)
	return spec
}
