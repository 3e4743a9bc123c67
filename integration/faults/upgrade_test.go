//go:build linux

package faults

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

const (
	olderContainerds = "/opt/oomwitness/containerd"
	containerdFile   = "/usr/local/bin/containerd"
	newestContainerd = "/var/lib/newest/containerd"
)

// tooOld are those whose way to start a shim the library that ours is built on
// refuses since containerd 2.3.
var tooOld = []string{"2.1", "2.2"}

// TestContainerdUpgraded stops containerd as a package's upgrade does, puts the
// newest in its place and starts that, with containers running and ending.
func TestContainerdUpgraded(t *testing.T) {
	n := setUp(t)
	found, err := filepath.Glob(filepath.Join(olderContainerds, "*", "containerd"))
	require.NoError(t, err)
	require.NotEmpty(t, found, "older containerds in %s", olderContainerds)
	slices.Sort(found)
	if !n.Full {
		found = found[len(found)-1:]
	}
	require.NoError(t, copyProgram(containerdFile, newestContainerd))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		require.NoError(t, faultkit.Run(ctx, "node-containerd", "stop"))
		require.NoError(t, copyProgram(newestContainerd, containerdFile))
		require.NoError(t, faultkit.Run(ctx, "node-containerd", "start"))
		require.NoError(t, n.ready(ctx))
	})
	for _, file := range found {
		from := filepath.Base(filepath.Dir(file))
		t.Run("from-"+from, func(t *testing.T) {
			if n.shim != "stock" && slices.Contains(tooOld, from) {
				require.NoError(t, replaceContainerd(t.Context(), file))
				require.NoError(t, n.ready(t.Context()))
				_, err := n.newPod(t.Context(), "refused-"+from)
				require.ErrorContains(t, err, "shim was started through the deprecated API")
				return
			}
			n.runFault(t, fault{
				Fault: faultkit.Fault{
					Label:  "containerd-upgraded from=" + from,
					Strike: func(ctx context.Context) error { return faultkit.Run(ctx, "node-containerd", "stop") },
					Lasts:  n.Lead,
					Heal: func(ctx context.Context) error {
						if err := copyProgram(newestContainerd, containerdFile); err != nil {
							return err
						}
						return faultkit.Run(ctx, "node-containerd", "start")
					},
				},
				before: func(ctx context.Context) error {
					if err := replaceContainerd(ctx, file); err != nil {
						return err
					}
					version, err := n.cri.Version(ctx)
					t.Logf("containerd %s", version)
					return err
				},
			})
		})
	}
}

func replaceContainerd(ctx context.Context, with string) error {
	if err := faultkit.Run(ctx, "node-containerd", "stop"); err != nil {
		return err
	}
	if err := copyProgram(with, containerdFile); err != nil {
		return err
	}
	return faultkit.Run(ctx, "node-containerd", "start")
}

// copyProgram puts a program in another's place, also of one that runs.
func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}
