package install_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

// TestUncheckedImport: install adds no import of files that containerd does not read yet, if
// containerd cannot check the result.
func TestUncheckedImport(t *testing.T) {
	const stale = criconf.DefaultDropinDir + "/99-stale.toml"
	o := tree(t)
	find := o.Find
	o.Find = func(ctx context.Context) (containerd.Daemon, error) {
		d, err := find(ctx)
		d.Dump, d.Unchecked = nil, "exec format error"
		return d, err
	}
	o.EditConfig = true
	put(t, o.Root, criconf.DefaultPath, "version = 2\n")
	put(t, o.Root, stale, "version = 2\n[x\n")
	before := files(t, o.Root)
	_, err := install.Install(t.Context(), o)
	require.ErrorContains(t, err, "--edit-config: containerd does not read "+stale+" yet")
	require.ErrorContains(t, err, "exec format error")
	require.Equal(t, before, files(t, o.Root))

	put(t, o.Root, stale, "version = 2\n")
	put(t, o.Root, criconf.DefaultPath, "version = 2\nimports = ['"+stale+"']\n")
	_, err = install.Install(t.Context(), o)
	require.NoError(t, err, "containerd reads the file already")
}

// TestDanglingDropin: a link at the drop-in's place is the owner's, and stays.
func TestDanglingDropin(t *testing.T) {
	for _, version := range []string{"1.7.35", "2.4.2"} {
		o := legacy(t, version, "version = 2\n")
		o.EditConfig = true
		link := filepath.Join(o.Root.Path("/"), dropinPath)
		require.NoError(t, os.MkdirAll(filepath.Dir(link), 0o755))
		require.NoError(t, os.Symlink("/nowhere", link))
		_, err := install.Install(t.Context(), o)
		require.ErrorContains(t, err, dropinPath+" is a symbolic link to a file that is missing")
		_, err = install.Uninstall(t.Context(), o)
		require.ErrorContains(t, err, dropinPath+" is a symbolic link to a file that is missing")
		to, err := os.Readlink(link)
		require.NoError(t, err)
		require.Equal(t, "/nowhere", to)

		o.Force = true
		_, err = install.Install(t.Context(), o)
		require.NoError(t, err)
	}
}
