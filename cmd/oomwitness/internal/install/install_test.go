package install_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

func TestInstallTwiceAndUninstallTwice(t *testing.T) {
	o := tree(t)
	put(t, o.Root, criconf.DefaultPath, "version = 2\nimports = [\"conf.d/*.toml\"]\n")
	put(t, o.Root, "/etc/containerd/conf.d/other.toml", "version = 2\n")
	before := files(t, o.Root)

	dry := o
	dry.DryRun = true
	result, err := install.Install(t.Context(), dry)
	require.NoError(t, err)
	require.Equal(t, actions("create", shimPath, dropinPath, signPath, commandPath), result.Actions)
	require.Equal(t, before, files(t, o.Root), "a dry run writes nothing")

	result, err = install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, actions("create", shimPath, dropinPath, signPath, commandPath), result.Actions)
	require.Equal(t, shimText, get(t, o.Root, shimPath))
	info, err := os.Stat(o.Root.Path(shimPath))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode().Perm())
	require.Contains(t, get(t, o.Root, dropinPath), "version = 2\n", "the main file's version")
	require.Contains(t, get(t, o.Root, dropinPath), "runtime_path = '"+shimPath+"'", "the path as seen from inside")

	result, err = install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, actions("unchanged", shimPath, dropinPath, commandPath), result.Actions)
	require.False(t, result.Changed())

	require.NoError(t, os.WriteFile(o.Shim, []byte(shimText+"x"), 0o600))
	o.SystemdCgroup = "true"
	result, err = install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, append(actions("update", shimPath, dropinPath), actions("unchanged", commandPath)...), result.Actions)

	dry.SystemdCgroup = "true"
	result, err = install.Uninstall(t.Context(), dry)
	require.NoError(t, err)
	require.Equal(t, actions("remove", dropinPath, shimPath, commandPath, signPath), result.Actions)
	require.Len(t, files(t, o.Root), len(before)+4)

	result, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, actions("remove", dropinPath, shimPath, commandPath, signPath), result.Actions)
	require.Equal(t, before, files(t, o.Root), "nothing else is touched")

	result, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, actions("absent", dropinPath, shimPath), result.Actions)
}

func TestInstallSaysWhichLineIsMissing(t *testing.T) {
	for main, want := range map[string]string{
		"":                            "create /etc/containerd/config.toml",
		"version = 3":                 "add this line",
		"imports = [\"/x/*.toml\"]\n": "replace imports and its list by this line:\n    imports = [\"/etc/containerd/conf.d/*.toml\", \"/x/*.toml\"]",
	} {
		o := tree(t)
		if main != "" {
			put(t, o.Root, criconf.DefaultPath, main)
		}
		result, err := install.Install(t.Context(), o)
		require.NoError(t, err)
		require.Contains(t, result.Notes[len(result.Notes)-1], want)
		if main != "" {
			require.Equal(t, main, get(t, o.Root, criconf.DefaultPath), "never edited")
		}
	}
}

func TestSystemdCgroupAuto(t *testing.T) {
	const runc = "imports = ['conf.d/*.toml']\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n"
	const options = "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\n"
	for name, test := range map[string]struct {
		main    string
		systemd bool
		want    string
		notes   int
	}{
		"the handler says true":            {runc + options + "SystemdCgroup = true", false, "true", 0},
		"the handler says false":           {runc + options + "SystemdCgroup = false", true, "false", 0},
		"a handler without it means false": {runc, true, "false", 0},
		"no handler, systemd":              {"imports = ['conf.d/*.toml']", true, "true", 1},
		"no handler, no systemd":           {"imports = ['conf.d/*.toml']", false, "false", 1},
	} {
		t.Run(name, func(t *testing.T) {
			o := tree(t)
			put(t, o.Root, criconf.DefaultPath, test.main)
			if test.systemd {
				put(t, o.Root, "/usr/lib/systemd/systemd", "")
			}
			result, err := install.Install(t.Context(), o)
			require.NoError(t, err)
			require.Contains(t, get(t, o.Root, dropinPath), "SystemdCgroup = "+test.want)
			require.Len(t, result.Notes, test.notes)
		})
	}
}

func TestLinksStayInsideTheRoot(t *testing.T) {
	o := tree(t)
	outside := t.TempDir()
	require.NoError(t, os.MkdirAll(o.Root.Path("/usr"), 0o755))
	require.NoError(t, os.Symlink("/var/usrlocal", o.Root.Path("/usr")+"/local"))
	// A link at the shim's own place is replaced, not written through.
	require.NoError(t, os.MkdirAll(o.Root.Path("/var/usrlocal/bin"), 0o755))
	victim := filepath.Join(outside, "victim")
	require.NoError(t, os.WriteFile(victim, []byte(shimText), 0o755))
	require.NoError(t, os.Symlink(victim, o.Root.Entry(shimPath)))

	result, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, "update", result.Actions[0].Verb)
	info, err := os.Lstat(filepath.Join(string(o.Root), "var/usrlocal/bin", criconf.ShimName))
	require.NoError(t, err)
	require.True(t, info.Mode().IsRegular())
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.FileExists(t, victim)
}

func TestBadInput(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*install.Options)
		want   string
	}{
		"bin dir":          {func(o *install.Options) { o.BinDir = "bin" }, `--bin-dir "bin"`},
		"conf dir":         {func(o *install.Options) { o.ConfDir = "x" }, `--conf-dir "x"`},
		"main config":      {func(o *install.Options) { o.MainConfig = "x" }, "--containerd-config"},
		"handler":          {func(o *install.Options) { o.Handler = "Bad_Name" }, `runtime name "Bad_Name"`},
		"version":          {func(o *install.Options) { o.ConfigVersion = "4" }, "allowed are auto, 2 and 3"},
		"unit":             {func(o *install.Options) { o.SystemdUnit = "" }, `--systemd-unit ""`},
		"containerd unit":  {func(o *install.Options) { o.Unit = "a.service\nExecStart=/x" }, `--containerd-unit "a.service\nExecStart=/x"`},
		"a unit elsewhere": {func(o *install.Options) { o.Unit = "../x" }, `--containerd-unit "../x": has to be the name of a systemd unit`},
		"cgroup":           {func(o *install.Options) { o.SystemdCgroup = "yes" }, `--systemd-cgroup "yes"`},
		"no shim":          {func(o *install.Options) { o.Shim = "/nowhere/shim" }, "/nowhere/shim"},
		"no shim beside":   {func(o *install.Options) { o.Shim = "" }, "--shim PATH"},
		"shim is a dir":    {func(o *install.Options) { o.Shim = "/" }, "has to be a file"},
		"not ELF":          {func(o *install.Options) { o.Shim = "/proc/self/status" }, "not an ELF executable"},
		"no root":          {func(o *install.Options) { o.Root = "/nowhere" }, "--root"},
		"root and restart": {func(o *install.Options) { o.Restart = true }, "cannot be used with --root"},
	} {
		t.Run(name, func(t *testing.T) {
			o := tree(t)
			root := o.Root
			test.change(&o)
			_, err := install.Install(t.Context(), o)
			require.ErrorContains(t, err, test.want)
			require.Empty(t, files(t, root), "nothing is written")
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Run("a runtime of that name", func(t *testing.T) {
		o := tree(t)
		put(t, o.Root, criconf.DefaultPath, "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.oomwitness]\nruntime_type = 'x'")
		_, err := install.Install(t.Context(), o)
		require.ErrorContains(t, err, "--runtime-name")
	})
	t.Run("a drop-in of somebody else", func(t *testing.T) {
		o := tree(t)
		put(t, o.Root, dropinPath, "version = 3\n")
		_, err := install.Install(t.Context(), o)
		require.ErrorContains(t, err, "not written by oomwitness install")
		_, err = install.Uninstall(t.Context(), o)
		require.ErrorContains(t, err, "not written by oomwitness install")
		require.Equal(t, []string{dropinPath}, files(t, o.Root))
		o.Force = true
		_, err = install.Uninstall(t.Context(), o)
		require.NoError(t, err)
		require.Empty(t, files(t, o.Root))
	})
	t.Run("running shims", func(t *testing.T) {
		o := tree(t)
		_, err := install.Install(t.Context(), o)
		require.NoError(t, err)
		for pid, exe := range map[string]string{
			"42": o.Root.Path(shimPath), "7": o.Root.Path(shimPath) + " (deleted)", "8": "/bin/sh",
		} {
			require.NoError(t, os.Mkdir(filepath.Join(o.Proc, pid), 0o755))
			require.NoError(t, os.Symlink(exe, filepath.Join(o.Proc, pid, "exe")))
		}
		_, err = install.Uninstall(t.Context(), o)
		require.ErrorContains(t, err, "pids 7, 42")
		require.Len(t, files(t, o.Root), 4)
		o.Force = true
		_, err = install.Uninstall(t.Context(), o)
		require.NoError(t, err)
		require.Empty(t, files(t, o.Root))
	})
	t.Run("a process that cannot be looked at", func(t *testing.T) {
		o := tree(t)
		_, err := install.Install(t.Context(), o)
		require.NoError(t, err)
		put(t, rootfs.Dir(o.Proc), "42/exe", "no link: readlink fails")
		_, err = install.Uninstall(t.Context(), o)
		require.ErrorContains(t, err, "see which shims run: ")
		require.ErrorContains(t, err, "--force goes on without")
		require.Len(t, files(t, o.Root), 4)
		o.Force = true
		_, err = install.Uninstall(t.Context(), o)
		require.NoError(t, err)
	})
}

func TestUninstallNamesAShimElsewhere(t *testing.T) {
	o := tree(t)
	o.BinDir = "/opt/bin"
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	o.BinDir = install.DefaultBinDir
	result, err := install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, result.Notes[0], "/opt/bin/"+criconf.ShimName)
}

func TestDamagedDropinIsRepaired(t *testing.T) {
	o := tree(t)
	put(t, o.Root, criconf.DefaultPath, "imports = ['conf.d/*.toml']")
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	put(t, o.Root, dropinPath, get(t, o.Root, dropinPath)+"\n[[[")
	result, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, "update", result.Actions[1].Verb)
}

// TestMisspeltConfig: a note says who reads a named file that is not there.
func TestMisspeltConfig(t *testing.T) {
	for name, want := range map[string]bool{"/etc/nothere.toml": true, criconf.DefaultPath: false} {
		o := tree(t)
		o.MainConfig, o.ConfDir, o.ContainerdVersion, o.DryRun = name, "", "2.2", true
		result, err := install.Install(t.Context(), o)
		require.NoError(t, err)
		notes := strings.Join(result.Notes, "\n")
		require.Equal(t, want, strings.Contains(notes, "no file is at "+name), notes)
	}
}
