package install_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// contents are the files below a root: mode, and content or the target of a link.
func contents(t *testing.T, root rootfs.Dir) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range files(t, root) {
		info, err := os.Lstat(root.Entry(name))
		require.NoError(t, err)
		text, err := os.Readlink(root.Entry(name))
		if info.Mode().Type() != fs.ModeSymlink {
			text = get(t, root, name)
			err = nil
		}
		require.NoError(t, err)
		out[name] = info.Mode().String() + " " + text
	}
	return out
}

// TestCommandOfSomebodyElse: whatever was in the place of the command is there again after
// uninstall, also after an upgrade, and with or without units.
func TestCommandOfSomebodyElse(t *testing.T) {
	for name, before := range map[string]func(t *testing.T, o install.Options){
		"none":    func(*testing.T, install.Options) {},
		"another": func(t *testing.T, o install.Options) { put(t, o.Root, commandPath, "mine") },
		"an earlier link": func(t *testing.T, o install.Options) {
			put(t, o.Root, "/opt/x/oomwitness", "x")
			link(t, o.Root, "/opt/x/oomwitness")
		},
		"a dangling link": func(t *testing.T, o install.Options) { link(t, o.Root, "/nowhere") },
		"the same": func(t *testing.T, o install.Options) {
			put(t, o.Root, commandPath, "\x7fELF command 1")
			require.NoError(t, os.Chmod(o.Root.Path(commandPath), 0o755))
		},
		"the same, and not executable": func(t *testing.T, o install.Options) { put(t, o.Root, commandPath, "\x7fELF command 1") },
		"a backup of its owner": func(t *testing.T, o install.Options) {
			put(t, o.Root, commandPath, "mine")
			put(t, o.Root, commandPath+".before-oomwitness", "older")
		},
	} {
		for _, units := range []string{"true", "false"} {
			t.Run(name+", units "+units, func(t *testing.T) {
				o := tree(t)
				o.SystemdUnit = units
				before(t, o)
				was := contents(t, o.Root)
				_, err := install.Install(t.Context(), o)
				require.NoError(t, err)
				require.Equal(t, "\x7fELF command 1", get(t, o.Root, commandPath))
				require.NoError(t, os.WriteFile(o.Command, []byte("\x7fELF command 2"), 0o755))
				_, err = install.Install(t.Context(), o)
				require.NoError(t, err)
				require.Equal(t, "\x7fELF command 2", get(t, o.Root, commandPath))
				again, err := install.Install(t.Context(), o)
				require.NoError(t, err)
				require.False(t, again.Changed(), "%v", again.Actions)

				dry := o
				dry.DryRun = true
				now := contents(t, o.Root)
				_, err = install.Uninstall(t.Context(), dry)
				require.NoError(t, err)
				require.Equal(t, now, contents(t, o.Root), "a dry run writes nothing")
				_, err = install.Uninstall(t.Context(), o)
				require.NoError(t, err)
				require.Equal(t, was, contents(t, o.Root))
			})
		}
	}
}

func link(t *testing.T, root rootfs.Dir, to string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(root.Entry(commandPath)), 0o755))
	require.NoError(t, os.Symlink(to, root.Entry(commandPath)))
}

// TestCommandReplacedSince: uninstall leaves a command that install did not write.
func TestCommandReplacedSince(t *testing.T) {
	o := tree(t)
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	put(t, o.Root, commandPath, "mine")
	result, err := install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, strings.Join(result.Notes, "\n"), commandPath+" is not the command that install wrote, and stays")
	require.Equal(t, []string{commandPath}, files(t, o.Root))
	require.Equal(t, "mine", get(t, o.Root, commandPath))
}

// TestCommandKilled: install was killed at each step of the copy. uninstall has the node
// as before, and so has another install with uninstall.
func TestCommandKilled(t *testing.T) {
	o := tree(t)
	put(t, o.Root, commandPath, "mine")
	was := contents(t, o.Root)
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	sign := get(t, o.Root, signPath)
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, was, contents(t, o.Root))
	for _, backup := range []bool{false, true} {
		for _, again := range []bool{false, true} {
			put(t, o.Root, signPath, sign)
			if backup {
				require.NoError(t, os.Link(o.Root.Path(commandPath), o.Root.Path(commandPath)+".before-oomwitness"))
			}
			if again {
				_, err := install.Install(t.Context(), o)
				require.NoError(t, err)
			}
			_, err := install.Uninstall(t.Context(), o)
			require.NoError(t, err)
			require.Equal(t, was, contents(t, o.Root), "backup %t, again %t", backup, again)
		}
	}
}

// TestInstalledCommandBesideAPackage: the installed command cannot install what a newer package
// brought, and says so.
func TestInstalledCommandBesideAPackage(t *testing.T) {
	o := tree(t)
	put(t, o.Root, "/usr/bin/oomwitness", "\x7fELF command 2")
	require.NoError(t, os.Chmod(o.Root.Path("/usr/bin/oomwitness"), 0o755))
	result, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.NotContains(t, strings.Join(result.Notes, "\n"), "package")
	o.Command = o.Root.Path(commandPath)
	result, err = install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, result.Notes, "/usr/local/bin/oomwitness is the installed command, and brings nothing new; "+
		"for the version of the package run: /usr/bin/oomwitness install")
}
