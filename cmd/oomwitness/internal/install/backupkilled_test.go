package install_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/docker"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

// edits are a node whose install edits a file, for containerd and for Docker.
func edits(t *testing.T) map[string]install.Options {
	t.Helper()
	containerd := legacy(t, "1.7.35", legacyMain)
	containerd.EditConfig = true
	dockerd := tree(t)
	dockerd.Docker.Wanted = true
	put(t, dockerd.Root, docker.DefaultConfig, "{}\n")
	return map[string]install.Options{criconf.DefaultPath: containerd, docker.DefaultConfig: dockerd}
}

func runInstall(t *testing.T, o install.Options) {
	t.Helper()
	run := install.Install
	if o.Docker.Wanted {
		run = install.InstallDocker
	}
	_, err := run(t.Context(), o)
	require.NoError(t, err)
}

// TestInstallKilledBeforeTheEdit: uninstall removes the backup, which is a link to the file. The
// next install takes the link for its own.
func TestInstallKilledBeforeTheEdit(t *testing.T) {
	for name, o := range edits(t) {
		before := files(t, o.Root)
		link := func() { require.NoError(t, os.Link(o.Root.Path(name), o.Root.Path(name+".before-oomwitness"))) }
		link()
		_, err := install.Uninstall(t.Context(), o)
		require.NoError(t, err)
		require.Equal(t, before, files(t, o.Root))
		link()
		runInstall(t, o)
		require.False(t, o.Root.Exists(name+".before-oomwitness.1"))
		_, err = install.Uninstall(t.Context(), o)
		require.NoError(t, err)
		require.Equal(t, before, files(t, o.Root))
	}
}

// TestUninstallInOneStep: uninstall moves the backup to its place, so that a kill cannot come
// between. The file is then the same one, with its other names.
func TestUninstallInOneStep(t *testing.T) {
	for name, o := range edits(t) {
		file, link := o.Root.Path(name), o.Root.Path("/etc/link")
		require.NoError(t, os.Link(file, link))
		runInstall(t, o)
		_, err := install.Uninstall(t.Context(), o)
		require.NoError(t, err)
		one, err := os.Stat(file)
		require.NoError(t, err)
		other, err := os.Stat(link)
		require.NoError(t, err)
		require.True(t, os.SameFile(one, other), name)
		require.NoFileExists(t, file+".before-oomwitness")
	}
}

// TestUninstallKeepsALaterMode: the mode that the owner has set since stays.
func TestUninstallKeepsALaterMode(t *testing.T) {
	for name, o := range edits(t) {
		before := files(t, o.Root)
		runInstall(t, o)
		require.NoError(t, os.Chmod(o.Root.Path(name), 0o600))
		_, err := install.Uninstall(t.Context(), o)
		require.NoError(t, err)
		info, err := os.Stat(o.Root.Path(name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		require.Equal(t, before, files(t, o.Root))
	}
}
