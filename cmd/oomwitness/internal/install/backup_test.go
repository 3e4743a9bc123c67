package install_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/docker"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

// TestBackupOfSomebodyElse: an owner's file with the name of a backup is neither overwritten
// nor removed.
func TestBackupOfSomebodyElse(t *testing.T) {
	for name, owners := range map[string]string{"another text": "PRECIOUS\n", "the same text": legacyMain} {
		t.Run(name, func(t *testing.T) {
			o := legacy(t, "1.7.35", legacyMain)
			o.EditConfig = true
			put(t, o.Root, backupPath, owners)
			require.NoError(t, os.Symlink("/elsewhere", o.Root.Entry(backupPath+".1")))
			for range 2 {
				_, err := install.Install(t.Context(), o)
				require.NoError(t, err)
				require.Equal(t, legacyMain, get(t, o.Root, backupPath+".2"))
			}
			_, err := install.Uninstall(t.Context(), o)
			require.NoError(t, err)
			require.Equal(t, owners, get(t, o.Root, backupPath))
			require.ElementsMatch(t, []string{criconf.DefaultPath, backupPath, backupPath + ".1"}, files(t, o.Root))
		})
	}
}

// TestEarlierBackupStays: a later install does not overwrite a backup that uninstall left.
func TestEarlierBackupStays(t *testing.T) {
	o := legacy(t, "1.7.35", legacyMain)
	o.EditConfig = true
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	put(t, o.Root, criconf.DefaultPath, "oom_score = -5\n"+get(t, o.Root, criconf.DefaultPath))
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	_, err = install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, legacyMain, get(t, o.Root, backupPath))
	require.Equal(t, "oom_score = -5\n"+legacyMain, get(t, o.Root, backupPath+".1"))
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.False(t, o.Root.Exists(backupPath+".1"))
	require.Equal(t, legacyMain, get(t, o.Root, backupPath))
}

// TestBackupGone: uninstall restores the file without its backup.
func TestBackupGone(t *testing.T) {
	o := legacy(t, "1.7.35", legacyMain)
	o.EditConfig = true
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.NoError(t, os.Remove(o.Root.Entry(backupPath)))
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, legacyMain, get(t, o.Root, criconf.DefaultPath))
	require.Equal(t, []string{criconf.DefaultPath}, files(t, o.Root))
}

// TestBackupBesideTheFile: the backup of a linked file is beside that file, and is named there.
func TestBackupBesideTheFile(t *testing.T) {
	o := tree(t)
	o.EditConfig = true
	put(t, o.Root, "/srv/real.toml", "version = 3\n")
	require.NoError(t, os.MkdirAll(o.Root.Path("/etc/containerd"), 0o755))
	require.NoError(t, os.Symlink("../../srv/real.toml", o.Root.Entry(criconf.DefaultPath)))
	before := files(t, o.Root)
	result, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	const backup = "/srv/real.toml.before-oomwitness"
	require.Contains(t, result.Actions, install.Action{Verb: "create", Path: backup})
	require.Equal(t, "version = 3\n", get(t, o.Root, backup))
	result, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, result.Actions, install.Action{Verb: "remove", Path: backup})
	require.Equal(t, before, files(t, o.Root))
}

// TestDockerBackupOfSomebodyElse is the same for dockerd's configuration, also if install makes
// that file.
func TestDockerBackupOfSomebodyElse(t *testing.T) {
	for _, main := range []string{"", "{\"debug\": true}\n"} {
		o := tree(t)
		o.Docker.Wanted = true
		if main != "" {
			put(t, o.Root, docker.DefaultConfig, main)
		}
		put(t, o.Root, daemonBackup, "PRECIOUS\n")
		_, err := install.InstallDocker(t.Context(), o)
		require.NoError(t, err)
		require.Equal(t, "PRECIOUS\n", get(t, o.Root, daemonBackup))
		_, err = install.Uninstall(t.Context(), o)
		require.NoError(t, err)
		require.Equal(t, "PRECIOUS\n", get(t, o.Root, daemonBackup))
		require.False(t, o.Root.Exists(daemonBackup+".1"))
		if main != "" {
			require.Equal(t, main, get(t, o.Root, docker.DefaultConfig))
		} else {
			require.False(t, o.Root.Exists(docker.DefaultConfig))
		}
	}
}

// TestDockerLinkToNothing: install does not make the file at the end of somebody's link.
func TestDockerLinkToNothing(t *testing.T) {
	o := tree(t)
	o.Docker.Wanted = true
	require.NoError(t, os.MkdirAll(o.Root.Path("/etc/docker"), 0o755))
	require.NoError(t, os.Symlink("/nope/x.json", o.Root.Entry(docker.DefaultConfig)))
	_, err := install.InstallDocker(t.Context(), o)
	require.ErrorContains(t, err, "/etc/docker/daemon.json is a symbolic link to a file that is missing")
	require.Equal(t, []string{docker.DefaultConfig}, files(t, o.Root))
}

// TestUninstallOfAnImmutableFile: a file that cannot be replaced or removed is named with the
// reason, and every file stays as it was.
func TestUninstallOfAnImmutableFile(t *testing.T) {
	for _, name := range []string{criconf.DefaultPath, shimPath} {
		o := legacy(t, "1.7.35", legacyMain)
		o.EditConfig = true
		_, err := install.Install(t.Context(), o)
		require.NoError(t, err)
		before := files(t, o.Root)
		file := o.Root.Path(name)
		if exec.CommandContext(t.Context(), "chattr", "+i", file).Run() != nil {
			t.Skip("needs root, and a file system with immutable files")
		}
		_, err = install.Uninstall(t.Context(), o)
		require.NoError(t, exec.CommandContext(t.Context(), "chattr", "-i", file).Run())
		require.ErrorContains(t, err, file+" or its folder is immutable or append-only (chattr -i -a takes the attributes away)")
		require.Equal(t, before, files(t, o.Root))
	}
}
