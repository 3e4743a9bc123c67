package install

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// TestChangedMeanwhile: install does not overwrite what somebody writes into a file while
// install runs.
func TestChangedMeanwhile(t *testing.T) {
	for name, test := range map[string]struct{ was, now []byte }{
		"changed": {[]byte("old"), []byte("changed")}, "made": {nil, []byte("changed")}, "removed": {[]byte("old"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Root: rootfs.Dir(t.TempDir()), Handler: "oomwitness", changes: &changes{}}
			file := filepath.Join(string(o.Root), "file")
			if test.now != nil {
				require.NoError(t, os.WriteFile(file, test.now, 0o600))
			}
			const want = "/file was changed while install ran: run install again"
			require.EqualError(t, o.editFile(&Result{}, "/file", test.was, []byte("new")), want)
			require.ErrorContains(t, o.writeDocker(&Result{}, dockerPlan{
				daemon: dockerd{config: "/file"}, before: test.was, after: []byte("new"),
			}), want)
			now, err := os.ReadFile(file)
			require.Equal(t, test.now == nil, os.IsNotExist(err))
			require.Equal(t, test.now, now)
		})
	}
}

// TestOtherConfig: install writes nothing that the running containerd does not read.
func TestOtherConfig(t *testing.T) {
	o := Options{Root: rootfs.Dir(t.TempDir()), MainConfig: "/etc/containerd/config.toml"}
	require.NoError(t, os.Symlink("/etc/containerd", filepath.Join(string(o.Root), "link")))
	reads := func(config string) containerd.Located {
		return containerd.Located{Instance: containerd.Instance{PID: 7, CRI: true, ConfigNamed: config != "", Config: config}}
	}
	for _, config := range []string{"", "/etc/containerd/config.toml", "/link/config.toml"} {
		require.NoError(t, o.otherConfig(reads(config)), config)
	}
	other := reads("/opt/c.toml")
	require.ErrorContains(t, o.otherConfig(other), "name it with --containerd-config /opt/c.toml")
	require.ErrorContains(t, o.otherConfig(containerd.Located{Others: []containerd.Instance{other.Instance}}), "--containerd-config /opt/c.toml")
	docker := other.Instance
	docker.CRI = false
	require.NoError(t, o.otherConfig(containerd.Located{Others: []containerd.Instance{docker}}), "Docker's own is no matter")
	o.Force = true
	require.NoError(t, o.otherConfig(other))
}

// TestSlowDump: a containerd that is slow stays known as such, also for a generated file.
func TestSlowDump(t *testing.T) {
	o := Options{Root: rootfs.Dir(t.TempDir())}
	r := registration{generated: "/etc/config.toml", daemon: containerd.Daemon{
		Dump: func(context.Context, string) (map[string]any, error) { return nil, fmt.Errorf("x: %w", rootfs.ErrSlow) },
	}}
	_, err := o.dumpText(t.Context(), r, nil)
	require.ErrorIs(t, err, rootfs.ErrSlow)
	require.ErrorContains(t, err, "/etc/config.toml")
}
