package install_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

const (
	backupPath = criconf.DefaultPath + ".before-oomwitness"
	legacyMain = "version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'x/pause'\n" +
		"[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n" +
		"[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]\nSystemdCgroup = true\n"
)

// legacy returns a node with containerd 1.x.
func legacy(t *testing.T, version, main string) install.Options {
	t.Helper()
	o := tree(t)
	o.Find = found(&o, version)
	if main != "" {
		put(t, o.Root, criconf.DefaultPath, main)
	}
	return o
}

func TestBlock(t *testing.T) {
	for name, main := range map[string]string{
		"LF": legacyMain, "CR LF": strings.ReplaceAll(legacyMain, "\n", "\r\n"), "no line break at the end": strings.TrimSpace(legacyMain),
	} {
		t.Run(name, func(t *testing.T) {
			o := legacy(t, "1.7.35", main)
			require.NoError(t, os.Chmod(o.Root.Path(criconf.DefaultPath), 0o640))
			o.EditConfig = true

			dry := o
			dry.DryRun = true
			result, err := install.Install(t.Context(), dry)
			require.NoError(t, err)
			would := result.Actions
			require.Equal(t, []string{criconf.DefaultPath}, files(t, o.Root), "a dry run writes nothing")

			result, err = install.Install(t.Context(), o)
			require.NoError(t, err)
			require.Equal(t, slices.Concat(actions("create", shimPath, backupPath), actions("update", criconf.DefaultPath), actions("create", signPath, commandPath)), result.Actions)
			require.Equal(t, result.Actions, would, "a dry run names each file")
			require.Equal(t, main, get(t, o.Root, backupPath))
			require.True(t, strings.HasPrefix(get(t, o.Root, criconf.DefaultPath), main))
			info, err := os.Stat(o.Root.Path(criconf.DefaultPath))
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o640), info.Mode().Perm())

			result, err = install.Install(t.Context(), o)
			require.NoError(t, err)
			require.Equal(t, actions("unchanged", shimPath, criconf.DefaultPath, commandPath), result.Actions)
			o.EditConfig = false
			_, err = install.Install(t.Context(), o)
			require.NoError(t, err, "nothing has to be edited")

			_, err = install.Uninstall(t.Context(), o)
			require.NoError(t, err)
			require.Equal(t, main, get(t, o.Root, criconf.DefaultPath))
			require.Equal(t, []string{criconf.DefaultPath}, files(t, o.Root))
		})
	}
}

// TestBlockWithoutLeave: the printed block, pasted into the file, equals the block that install
// would have written.
func TestBlockWithoutLeave(t *testing.T) {
	for _, main := range []string{legacyMain, ""} {
		o := legacy(t, "1.7.35", main)
		dry := o
		dry.DryRun = true
		_, err := install.Install(t.Context(), dry)
		require.ErrorContains(t, err, "the shim would be in place")
		_, err = install.Install(t.Context(), o)
		missing, ok := errors.AsType[*install.MissingError](err)
		require.True(t, ok, "%v", err)
		require.ErrorContains(t, err, "--edit-config")
		require.Equal(t, criconf.DefaultPath, missing.File)
		require.True(t, o.Root.Exists(shimPath), "the shim is there ahead of its registration")
		if main != "" {
			require.Equal(t, main, get(t, o.Root, criconf.DefaultPath), "never edited")
		}
		put(t, o.Root, criconf.DefaultPath, main+"\n"+missing.Block)
		if main == "" {
			put(t, o.Root, criconf.DefaultPath, missing.Block)
		}
		_, err = install.Install(t.Context(), o)
		require.NoError(t, err)
	}
}

// TestRuncOfTheBlockChanged: without permission install changes not even a block of ours.
func TestRuncOfTheBlockChanged(t *testing.T) {
	o := legacy(t, "1.7.35", legacyMain)
	o.EditConfig = true
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	changed := strings.Replace(get(t, o.Root, criconf.DefaultPath), "SystemdCgroup = true", "SystemdCgroup = false", 1)
	put(t, o.Root, criconf.DefaultPath, changed)
	o.EditConfig = false
	_, err = install.Install(t.Context(), o)
	require.ErrorContains(t, err, "SystemdCgroup = false")
	require.ErrorContains(t, err, "replace the block of oomwitness in /etc/containerd/config.toml by this")
	require.Equal(t, changed, get(t, o.Root, criconf.DefaultPath))
	o.EditConfig = true
	_, err = install.Install(t.Context(), o)
	require.NoError(t, err)
	require.NotContains(t, get(t, o.Root, criconf.DefaultPath), "SystemdCgroup = true")
	require.Equal(t, 1, strings.Count(get(t, o.Root, criconf.DefaultPath), "runtimes.oomwitness]"))
}

func TestCreatedMain(t *testing.T) {
	for version, shim := range map[string]string{"1.7.35": "runtime_path", "1.6.20": "runtime_type"} {
		o := legacy(t, version, "")
		o.EditConfig = true
		_, err := install.Install(t.Context(), o)
		require.NoError(t, err)
		require.Contains(t, get(t, o.Root, criconf.DefaultPath), shim+" = '"+shimPath+"'")
		_, err = install.Uninstall(t.Context(), o)
		require.NoError(t, err)
		require.Empty(t, files(t, o.Root))
	}
	o := tree(t)
	o.EditConfig = true
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	put(t, o.Root, criconf.DefaultPath, get(t, o.Root, criconf.DefaultPath)+"root = '/x'\n")
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, string(criconf.NewMain(2))+"root = '/x'\n", get(t, o.Root, criconf.DefaultPath), "the owner has taken it over")
}

func TestImportIsAdded(t *testing.T) {
	o := tree(t)
	main := "version = 3\nimports = ['/etc/own/*.toml']\n"
	put(t, o.Root, "/var/conf", main)
	require.NoError(t, os.MkdirAll(o.Root.Path("/etc/containerd"), 0o755))
	require.NoError(t, os.Symlink("/var/conf", o.Root.Entry(criconf.DefaultPath)))
	o.EditConfig = true
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, get(t, o.Root, criconf.DefaultPath), "/etc/containerd/conf.d/*.toml")
	target, err := os.Readlink(o.Root.Entry(criconf.DefaultPath))
	require.NoError(t, err)
	require.Equal(t, "/var/conf", target, "written through the link")

	// The owner's later change stays, and so does the backup, which differs.
	put(t, o.Root, "/var/conf", get(t, o.Root, "/var/conf")+"root = '/x'\n")
	result, err := install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, main+"root = '/x'\n", get(t, o.Root, criconf.DefaultPath))
	require.Contains(t, result.Notes[0], "differs from /var/conf.before-oomwitness")
	require.Equal(t, main, get(t, o.Root, "/var/conf.before-oomwitness"))
}

// TestUndo: a change that containerd refuses is undone, and named.
func TestUndo(t *testing.T) {
	for name, test := range map[string]struct {
		version, main string
		after         func(dump map[string]any) (map[string]any, error)
		want          string
	}{
		"does not start": {"1.7.35", legacyMain, func(map[string]any) (map[string]any, error) {
			return nil, errors.New("cannot unmarshal")
		}, "containerd 1.7.35 would not start with the new configuration, which was undone: cannot unmarshal"},
		"a setting is lost": {"1.7.35", legacyMain, func(dump map[string]any) (map[string]any, error) {
			delete(dump["plugins"].(map[string]any)["io.containerd.grpc.v1.cri"].(map[string]any), "sandbox_image")
			return dump, nil
		}, "plugins.\"io.containerd.grpc.v1.cri\".sandbox_image: was 'x/pause', is gone"},
		"a setting appears": {"2.2.9", "version = 2\n", func(dump map[string]any) (map[string]any, error) {
			dump["oom_score"] = int64(1)
			return dump, nil
		}, "oom_score: was not there, is 1"},
		"no handler": {"2.2.9", "version = 2\n", func(map[string]any) (map[string]any, error) {
			return map[string]any{}, nil
		}, `the handler "oomwitness" is missing`},
		"of a new file": {"1.7.35", "", func(map[string]any) (map[string]any, error) {
			return map[string]any{}, nil
		}, `the handler "oomwitness" is missing`},
	} {
		t.Run(name, func(t *testing.T) {
			o := legacy(t, test.version, test.main)
			o.EditConfig = true
			find := o.Find
			dumps := 0
			o.Find = func(ctx context.Context) (containerd.Daemon, error) {
				d, err := find(ctx)
				dump := d.Dump
				d.Dump = func(ctx context.Context, main string) (map[string]any, error) {
					out, err := dump(ctx, main)
					if dumps++; dumps == 1 || err != nil {
						return out, err
					}
					return test.after(out)
				}
				return d, err
			}
			before := files(t, o.Root)
			result, err := install.Install(t.Context(), o)
			require.ErrorContains(t, err, test.want)
			require.Equal(t, 2, dumps)
			require.Contains(t, result.Actions, install.Action{Verb: "undo", Path: criconf.DefaultPath})
			require.ElementsMatch(t, before, files(t, o.Root), "the node is as it was")
			require.NoDirExists(t, o.Root.Path(criconf.DefaultDropinDir), "a folder that install made is undone too")
			if test.main != "" {
				require.Equal(t, test.main, get(t, o.Root, criconf.DefaultPath))
			}
		})
	}
}

func TestNotChecked(t *testing.T) {
	o := legacy(t, "", legacyMain)
	o.EditConfig, o.Find, o.ContainerdVersion = true, nil, "1.7"
	result, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, result.Notes[0], `not checked by "containerd config dump": there is no containerd program`)

	// Without a dump install compares the files themselves.
	const inline = "version = 2\n[plugins]\n'io.containerd.grpc.v1.cri' = {sandbox_image = 'x'}\n"
	put(t, o.Root, criconf.DefaultPath, inline)
	_, err = install.Install(t.Context(), o)
	require.ErrorContains(t, err, "not as inline tables")
	require.Equal(t, inline, get(t, o.Root, criconf.DefaultPath))
}

func TestRefusedConfigurations(t *testing.T) {
	const ownHandler = "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.oomwitness]\nx = 1\n"
	binary := strings.Replace(legacyMain, "SystemdCgroup", "BinaryName = '/opt/runc'\nSystemdCgroup", 1)
	for name, test := range map[string]struct{ version, main, want string }{
		"too old":                   {"1.5.18", legacyMain, "containerd 1.5.18 cannot be served, 1.6 to 2.4 can"},
		"another runc on 1.6.20":    {"1.6.20", binary, "the runc handler in /etc/containerd/config.toml has BinaryName"},
		"another runc on 1.7.0":     {"1.7.0", binary, "1.7.1 and later do"},
		"version 3 on 1.7":          {"1.7.35", "version = 3", "reads versions up to 2"},
		"version 4 on 2.2":          {"2.2.9", "version = 4", "reads versions up to 3"},
		"a block without its end":   {"1.7.35", strings.Split(string(criconf.Block(nil)), "\n")[0] + "\n", "by hand"},
		"a half block":              {"1.7.35", strings.Split(string(criconf.Block(nil)), "\n")[0] + "\n" + legacyMain + ownHandler, "by hand"},
		"an asked version on 1.7":   {"1.7.35", "ask", "reads no drop-ins"},
		"a link to a missing file":  {"1.7.35", "link", "is a symbolic link to a file that is missing"},
		"a link, and an import":     {"2.2.9", "link", "is a symbolic link to a file that is missing"},
		"the handler of the owner":  {"1.7.35", legacyMain + ownHandler, "--runtime-name"},
		"not read by containerd":    {"1.7.35", "version = 2\n\n[[plugins]]\n", "config.toml"},
		"an address of another one": {"what", legacyMain, "cannot read the version"},
	} {
		t.Run(name, func(t *testing.T) {
			o := legacy(t, test.version, "")
			o.EditConfig = true
			switch test.main {
			case "ask":
				o.ConfigVersion = "2"
			case "link":
				require.NoError(t, os.MkdirAll(o.Root.Path("/etc/containerd"), 0o755))
				require.NoError(t, os.Symlink("/nowhere", o.Root.Entry(criconf.DefaultPath)))
			default:
				put(t, o.Root, criconf.DefaultPath, test.main)
			}
			before := files(t, o.Root)
			_, err := install.Install(t.Context(), o)
			require.ErrorContains(t, err, test.want)
			require.Equal(t, before, files(t, o.Root), "nothing is written")
		})
	}
}

func TestBinaryNameFrom1621On(t *testing.T) {
	o := legacy(t, "1.6.21", strings.Replace(legacyMain, "SystemdCgroup", "BinaryName = '/opt/runc'\nSystemdCgroup", 1))
	o.EditConfig = true
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(get(t, o.Root, criconf.DefaultPath), "BinaryName = '/opt/runc'"))
}

// TestCRIDisabled: 1.x with a disabled CRI plugin needs no handler, as on a node of Docker.
func TestCRIDisabled(t *testing.T) {
	o := legacy(t, "1.7.35", "disabled_plugins = ['cri']\n")
	result, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, result.Notes[0], "disables the CRI plugin")
	require.Equal(t, "disabled_plugins = ['cri']\n", get(t, o.Root, criconf.DefaultPath))
}
