package install_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

func TestSettings(t *testing.T) {
	o := tree(t)
	set := func(text string) {
		t.Helper()
		o.Settings = &text
		_, err := install.Install(t.Context(), o)
		require.NoError(t, err)
	}
	set("report = \"live\"\n")
	require.Contains(t, get(t, o.Root, install.SettingsPath), "\nreport = \"live\"\n")
	o.Settings = nil
	result, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.False(t, result.Changed(), "install by hand leaves them")
	require.True(t, o.Root.Exists(install.SettingsPath))
	set("")
	require.False(t, o.Root.Exists(install.SettingsPath))
	set("report = \"exit\"\n")
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Empty(t, files(t, o.Root))
}

func TestSettingsOfTheOwner(t *testing.T) {
	o := tree(t)
	put(t, o.Root, install.SettingsPath, "report = \"live\"\n")
	ours := "report = \"exit\"\n"
	o.Settings = &ours
	_, err := install.Install(t.Context(), o)
	require.ErrorContains(t, err, "/etc/oomwitness/config.toml is the node owner's")
	require.Equal(t, []string{install.SettingsPath}, files(t, o.Root))
	none := ""
	o.Settings = &none
	_, err = install.Install(t.Context(), o)
	require.NoError(t, err)
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, "report = \"live\"\n", get(t, o.Root, install.SettingsPath))
}
