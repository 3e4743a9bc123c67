//go:build linux

package configs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/cri"
	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// standIn is a script in the place of the shim: it writes its call into the bundle, which is
// its working directory, and fails.
const standIn = `#!/bin/sh
case " $* " in *" start "*)
	printf '%%s\n' "$@" >%[1]s/called
	cat >%[1]s/options
	cp config.json %[1]s/spec.json
esac
exit 1
`

// TestShimIsStarted: with the files of install, CRI starts the installed binary and passes the
// pod's annotations. CRI also passes runc's options, if that version of CRI can.
func TestShimIsStarted(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("needs root, to start containerd")
	}
	for _, v := range versions() {
		t.Run(v.String(), func(t *testing.T) {
			n, d := registered(t, v, func(n *node) {
				require.NoError(t, os.WriteFile(filepath.Join(n.dir, "bin", "containerd-shim-oomwitness-v2"),
					fmt.Appendf(nil, standIn, n.dir), 0o755))
			})
			n.startPod(d)

			spec := n.spec()
			require.Equal(t, "true", spec.Annotations["oomwitness.io/oom-group"], "pod_annotations")
			require.NotContains(t, spec.Annotations, "example.com/other")
			require.Len(t, strings.Split(spec.Linux.CgroupsPath, ":"), 3, "%s shows no systemd driver", spec.Linux.CgroupsPath)
			options, err := os.ReadFile(filepath.Join(n.dir, "options"))
			require.NoError(t, err)
			require.NotContains(t, string(options), "runtimeoptions", "the shim would have to translate them")
			byType := v == version{1, 6}
			require.Equal(t, !byType, strings.Contains(string(options), "containerd.runc.v1.Options"), "%q", options)
		})
	}
}

// image is the image of the container that holds a pod, and of the workload.
const image = "localhost/workload:1"

// registered returns a containerd that has read the files of install. change runs between
// install and the start of containerd.
func registered(t *testing.T, v version, change func(*node)) (*node, *daemon) {
	t.Helper()
	main := strings.Replace(settings2, "example.invalid/pause:1", image, 1)
	// The node's root may be unable to lower an oom_score_adj; containerd then must not try.
	main = strings.Replace(main, "max_container_log_line_size = 4096", "restrict_oom_score_adj = true", 1)
	n := newNode(t, v, shape{main: "version = 2\n" + main}, program(t, v))
	n.shim, n.systemd = shimtest.Ours(t), false
	d, err := start(t, n.binary, n.main(), n.dir)
	require.NoError(t, err)
	out, err := n.command("install", "--edit-config")
	require.NoError(t, err, "%s", out)
	d.stop()
	change(n)
	d, err = start(t, n.binary, n.main(), n.dir)
	require.NoError(t, err)
	return n, d
}

// startPod has CRI start a pod of our handler. With the stand-in the start fails.
func (n *node) startPod(d *daemon) {
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

// spec returns the OCI spec that the stand-in found in its bundle.
func (n *node) spec() specs.Spec {
	n.Helper()
	data, err := os.ReadFile(filepath.Join(n.dir, "spec.json"))
	require.NoError(n, err)
	var spec specs.Spec
	require.NoError(n, json.Unmarshal(data, &spec))
	require.NotNil(n, spec.Linux)
	return spec
}

// TestPod: under the handler that install registered, pods run, and CRI reports the reason of
// each end.
func TestPod(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("needs root, to start containerd")
	}
	workload, err := os.ReadFile(shimtest.WorkloadBinary(t))
	require.NoError(t, err)
	// The shim searches runc on containerd's PATH.
	t.Setenv("PATH", filepath.Dir(shimtest.Runc(t))+":"+os.Getenv("PATH"))
	for _, v := range versions() {
		t.Run(v.String(), func(t *testing.T) {
			n, d := registered(t, v, func(*node) {})
			ctx, cancel := context.WithTimeout(t.Context(), startTime)
			defer cancel()
			require.NoError(t, cri.Import(ctx, d.socket, cri.Image{
				Ref: image, Programs: map[string][]byte{"workload": workload},
				Folders: []string{"etc", "proc", "sys", "dev", "tmp"}, Entrypoint: []string{"/workload", "sleep", "1000000"},
			}))
			client, err := cri.Dial(d.socket)
			require.NoError(t, err)
			defer client.Close()
			pod, err := client.RunPod(ctx, cri.Pod{Name: "a", Handler: "oomwitness", CgroupParent: "/" + filepath.Base(n.dir)})
			require.NoError(t, err)
			for _, end := range []struct {
				command []string
				reason  string
				code    int32
			}{
				{[]string{"/workload", "exit", "3"}, "Error", 3}, {[]string{"/workload", "hog"}, "OOMKilled", 137},
			} {
				id, err := client.Create(ctx, pod, cri.Container{Name: end.reason, Image: image, Command: end.command, Limit: 32 << 20})
				require.NoError(t, err)
				require.NoError(t, client.Start(ctx, id))
				var status *cri.Status
				require.NoError(t, d.until(t, func() error {
					if status, err = client.Status(ctx, id); err == nil && status == nil {
						err = errors.New("it runs")
					}
					return err
				}))
				require.Equal(t, end.reason, status.Reason)
				require.Equal(t, end.code, status.Code)
			}
			require.NoError(t, client.RemovePod(ctx, pod.ID))
		})
	}
}
