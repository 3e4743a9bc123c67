package install_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

// TestDowngrade: containerd 1.x reads the files that install created for 2.x, and install turns
// them into a block there. A file of version 3 that an earlier install created is made anew.
func TestDowngrade(t *testing.T) {
	for _, version := range []string{"2", "3"} {
		o := legacy(t, "2.2.9", "")
		o.EditConfig, o.ConfigVersion = true, version
		if version == "2" {
			o.ConfigVersion = "auto"
		}
		_, err := install.Install(t.Context(), o)
		require.NoError(t, err)
		for _, file := range []string{criconf.DefaultPath, dropinPath} {
			require.Contains(t, get(t, o.Root, file), "\nversion = "+version+"\n")
		}
		o.Find, o.ConfigVersion = found(&o, "1.7.35"), "auto"
		result, err := install.Install(t.Context(), o)
		require.NoError(t, err)
		require.Contains(t, result.Actions, install.Action{Verb: "remove", Path: dropinPath})
		main := get(t, o.Root, criconf.DefaultPath)
		require.True(t, strings.HasPrefix(main, string(criconf.NewMain(2))), main)
		require.NotContains(t, main, "imports")
		require.Contains(t, main, "runtimes.runc]", "1.x drops the built-in handler")
		_, err = install.Uninstall(t.Context(), o)
		require.NoError(t, err)
		require.Empty(t, files(t, o.Root))
	}
}

// TestUpgrade: a block that keeps the built-in runc of 1.x is replaced by a drop-in, since the
// built-in runc of 2.x differs.
func TestUpgrade(t *testing.T) {
	for _, main := range []string{"", "version = 2\n"} {
		o := legacy(t, "1.7.35", main)
		o.EditConfig = true
		_, err := install.Install(t.Context(), o)
		require.NoError(t, err)
		require.Contains(t, get(t, o.Root, criconf.DefaultPath), "runtimes.runc]")
		o.Find = found(&o, "2.2.9")
		_, err = install.Install(t.Context(), o)
		require.NoError(t, err)
		text := get(t, o.Root, criconf.DefaultPath)
		require.NotContains(t, text, "runtimes.runc]")
		require.Contains(t, text, "imports = ")
		again, err := install.Install(t.Context(), o)
		require.NoError(t, err)
		require.Equal(t, actions("unchanged", shimPath, dropinPath, commandPath), again.Actions)
		_, err = install.Uninstall(t.Context(), o)
		require.NoError(t, err)
		if main == "" {
			require.Empty(t, files(t, o.Root))
		} else {
			require.Equal(t, main, get(t, o.Root, criconf.DefaultPath))
			require.Equal(t, []string{criconf.DefaultPath}, files(t, o.Root))
		}
	}
}

// TestStagedIsUndone: files that were taken out to ask containerd are restored, also if
// containerd cannot read the rest.
func TestStagedIsUndone(t *testing.T) {
	o := legacy(t, "2.2.9", legacyMain)
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	put(t, o.Root, dropinPath, get(t, o.Root, dropinPath)+"damaged")
	damaged := get(t, o.Root, dropinPath)
	o.EditConfig = true
	o.Find = unreadable(o.Find)
	_, err = install.Install(t.Context(), o)
	require.ErrorContains(t, err, "cannot read its configuration as it is, correct it first: no")
	require.Equal(t, damaged, get(t, o.Root, dropinPath))
	require.Equal(t, legacyMain, get(t, o.Root, criconf.DefaultPath))
}

// TestDropinOfAnEarlierInstall: on 1.x such a drop-in removes CRI settings.
func TestDropinOfAnEarlierInstall(t *testing.T) {
	o := legacy(t, "2.2.9", legacyMain)
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	o.Find, o.EditConfig = found(&o, "1.7.35"), true
	result, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, result.Actions, install.Action{Verb: "remove", Path: dropinPath})
	require.False(t, o.Root.Exists(dropinPath))
}
