package install_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
	"github.com/oomwitness/oomwitness/oom/exits"
)

const (
	kata     = "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.kata]\nruntime_type = 'io.containerd.kata.v2'\n"
	blockEnd = "# <<< oomwitness <<<\n"
	minePath = "/etc/containerd/conf.d/mine.toml"
)

// TestUninstallRefuses: uninstall removes nothing of the owner's, and names what would be lost.
func TestUninstallRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		version, main string
		// edit is the owner's change after install.
		edit func(text string) string
		want string
		// lost is what --force removes.
		lost string
	}{
		"a handler in the block": {"1.7.35", legacyMain, func(text string) string {
			return strings.Replace(text, blockEnd, kata+blockEnd, 1)
		}, "\n  [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.kata]\n  runtime_type = 'io.containerd.kata.v2'\n(uninstall --force", "kata"},
		"an option in the block": {"1.7.35", legacyMain, func(text string) string {
			return strings.Replace(text, blockEnd, "BinaryName = '/opt/r'\n"+blockEnd, 1)
		}, "\n  BinaryName = '/opt/r'\n(uninstall --force", "/opt/r"},
		"a setting in the block is changed": {"1.7.35", legacyMain, func(text string) string {
			at := strings.Index(text, "# >>>")
			return text[:at] + strings.Replace(text[at:], "SystemdCgroup = true", "SystemdCgroup = false", 1)
		}, "was altered", "SystemdCgroup = false"},
		"a key behind the block": {"1.7.35", legacyMain, func(text string) string {
			return text + "BinaryName = '/opt/r'\n"
		}, "runtimes.runc.options.BinaryName: was not there, is '/opt/r'", ""},
		"the node would have no runc": {"1.7.35", "version = 2\n", func(text string) string {
			return text + kata
		}, "runtimes.runc.runtime_type: was 'io.containerd.runc.v2', is gone", ""},
		"an import that cannot be read": {"1.7.35", "version = 2\nimports = []\n" + legacyMain[len("version = 2\n"):], func(text string) string {
			return strings.Replace(text, "imports = []", "imports = ['/etc/gone.toml']", 1)
		}, "/etc/gone.toml", ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := legacy(t, test.version, test.main)
			o.EditConfig = true
			_, err := install.Install(t.Context(), o)
			require.NoError(t, err)
			put(t, o.Root, criconf.DefaultPath, test.edit(get(t, o.Root, criconf.DefaultPath)))
			edited, before := get(t, o.Root, criconf.DefaultPath), files(t, o.Root)

			if test.lost != "" {
				_, err = install.Install(t.Context(), o)
				require.ErrorContains(t, err, strings.TrimSuffix(test.want, "\n(uninstall --force"), "install drops it neither")
			}
			_, err = install.Uninstall(t.Context(), o)
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, "--force")
			require.NotContains(t, err.Error(), "runtime_type = 'io.containerd.runc.v2'", "a line as install wrote it")
			require.Equal(t, edited, get(t, o.Root, criconf.DefaultPath))
			require.Equal(t, before, files(t, o.Root), "nothing is removed, neither the shim")

			o.Force = true
			result, err := install.Uninstall(t.Context(), o)
			require.NoError(t, err)
			require.Contains(t, strings.Join(result.Notes, "\n"), strings.TrimSuffix(test.want, "\n(uninstall --force"), "what is lost is said")
			require.Contains(t, strings.Join(result.Notes, "\n"), test.lost)
			require.NotContains(t, strings.Join(result.Notes, "\n"), "Move these lines")
			require.NotContains(t, get(t, o.Root, criconf.DefaultPath), "oomwitness")
			require.False(t, o.Root.Exists(shimPath))
			if test.lost != "" {
				require.NotContains(t, get(t, o.Root, criconf.DefaultPath), test.lost)
			}
		})
	}
}

// TestUninstallKeepsImports: a file that install created may import files of the owner.
func TestUninstallKeepsImports(t *testing.T) {
	o := tree(t)
	o.EditConfig = true
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	put(t, o.Root, minePath, "version = 2\n"+kata)
	before := files(t, o.Root)
	result, err := install.Uninstall(t.Context(), o)
	require.ErrorContains(t, err, "runtimes.kata.runtime_type: was 'io.containerd.kata.v2', is gone")
	require.Contains(t, result.Actions, install.Action{Verb: "undo", Path: criconf.DefaultPath})
	require.Equal(t, before, files(t, o.Root))

	require.NoError(t, os.Remove(o.Root.Path(minePath)))
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Empty(t, files(t, o.Root))
}

// TestUninstallOfAnAlteredDropin: uninstall names the lines that somebody added to the drop-in.
func TestUninstallOfAnAlteredDropin(t *testing.T) {
	o := tree(t)
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	put(t, o.Root, dropinPath, get(t, o.Root, dropinPath)+"\n[debug]\nlevel = 'debug'\n")
	altered := get(t, o.Root, dropinPath)
	result, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, strings.Join(result.Notes, "\n"), "written anew without:\n  \n  [debug]\n  level = 'debug'")
	put(t, o.Root, dropinPath, altered)
	_, err = install.Uninstall(t.Context(), o)
	require.ErrorContains(t, err, dropinPath)
	require.ErrorContains(t, err, "\n  [debug]\n  level = 'debug'\n(uninstall --force")
	require.True(t, o.Root.Exists(dropinPath))
	o.Force = true
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.False(t, o.Root.Exists(dropinPath))
}

// TestUninstallOfAnImportedFile: the edit is found although the file is no longer imported.
func TestUninstallOfAnImportedFile(t *testing.T) {
	const imported = "/etc/containerd/o/a.toml"
	o := legacy(t, "1.7.35", "version = 2\nimports = ['/etc/containerd/o/a.toml']\n")
	o.EditConfig = true
	put(t, o.Root, imported, legacyMain)
	_, err := install.Install(t.Context(), o)
	require.ErrorContains(t, err, "is missing", "the stand-in reads no imports")
	text, err := criconf.AppendBlock([]byte(legacyMain), []byte("[x]\ny = 1\n"))
	require.NoError(t, err)
	put(t, o.Root, imported, string(text))
	put(t, o.Root, imported+".before-oomwitness", legacyMain)
	put(t, o.Root, criconf.DefaultPath, "version = 2\n")
	o.Find, o.ContainerdVersion = nil, "1.7"
	o.Force = true
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, legacyMain, get(t, o.Root, imported))
	require.False(t, o.Root.Exists(imported+".before-oomwitness"))
}

// TestUninstallWithoutContainerd: if no containerd can be asked, a note says so.
func TestUninstallWithoutContainerd(t *testing.T) {
	o := legacy(t, "1.7.35", legacyMain)
	o.EditConfig = true
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	o.Find = nil
	result, err := install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, result.Notes[0], "not checked by \"containerd config dump\": containerd's version is unknown")
	require.Equal(t, legacyMain, get(t, o.Root, criconf.DefaultPath))
}

// TestUninstallRemovesTheSpool: what shims have written goes with the shim, and what is not
// there is not named.
func TestUninstallRemovesTheSpool(t *testing.T) {
	o := legacy(t, "2.2.1", legacyMain)
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	spool := exits.Files(exits.DefaultDir)
	const refused, lock = "/run/oomwitness/refused", "/run/oomwitness/ledger.lock"
	for _, name := range append([]string{refused, lock}, spool...) {
		put(t, o.Root, name, "{}\n")
	}
	result, err := install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	for _, name := range append([]string{refused}, spool...) {
		require.NoFileExists(t, o.Root.Path(name))
	}
	var removed []string
	for _, a := range result.Actions {
		if a.Verb == "remove" && strings.HasPrefix(a.Path, "/run/") {
			removed = append(removed, a.Path)
		}
	}
	require.Equal(t, []string{exits.DefaultDir + "/*", refused}, removed)
	require.FileExists(t, o.Root.Path(lock), "the ledger stays, and so does its lock")
}

// TestUninstallOfAnotherName: the registration under another name stays.
func TestUninstallOfAnotherName(t *testing.T) {
	for version, main := range map[string]string{"1.7.35": legacyMain, "2.2.9": "version = 2\n"} {
		o := legacy(t, version, main)
		o.EditConfig = true
		_, err := install.Install(t.Context(), o)
		require.NoError(t, err)
		before := files(t, o.Root)
		o.Handler = "other"
		_, err = install.Install(t.Context(), o)
		require.ErrorContains(t, err, "run first: oomwitness uninstall --runtime-name oomwitness")
		_, err = install.Uninstall(t.Context(), o)
		require.ErrorContains(t, err, "the shim is registered as oomwitness, and not as other: name it with --runtime-name")
		require.Equal(t, before, files(t, o.Root))
		o.Force = true
		_, err = install.Uninstall(t.Context(), o)
		require.NoError(t, err)
		require.Equal(t, []string{criconf.DefaultPath}, files(t, o.Root))
	}
}
