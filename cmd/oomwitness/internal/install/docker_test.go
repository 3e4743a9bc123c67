package install_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/docker"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

const daemonBackup = docker.DefaultConfig + ".before-oomwitness"

// TestDockerTwiceAndAway installs twice and uninstalls twice, for a daemon.json that exists, is
// empty, or is missing. At the end each file is byte for byte as before.
func TestDockerTwiceAndAway(t *testing.T) {
	for name, before := range map[string]*string{
		"there": text("{\r\n\t\"mtu\": 1500,\r\n\t\"runtimes\": { \"crun\": {\"path\": \"crun\"} }\r\n}"), "empty": text(""), "missing": nil,
	} {
		t.Run(name, func(t *testing.T) {
			o := tree(t)
			o.Docker.Wanted, o.Docker.Default = true, name == "there"
			if before != nil {
				put(t, o.Root, docker.DefaultConfig, *before)
			}
			dry := o
			dry.DryRun = true
			untouched := files(t, o.Root)
			_, err := install.InstallDocker(t.Context(), dry)
			require.NoError(t, err)
			require.Equal(t, untouched, files(t, o.Root), "a dry run writes nothing")

			result, err := install.InstallDocker(t.Context(), o)
			require.NoError(t, err)
			require.Equal(t, actions("create", shimPath), result.Actions[:1])
			require.Contains(t, result.Notes, "docker run --runtime oomwitness starts a container under the shim if Docker is 24.0 or later")
			have, err := docker.Read([]byte(get(t, o.Root, docker.DefaultConfig)), o.Handler)
			require.NoError(t, err)
			require.True(t, have.Ours)
			require.Equal(t, shimPath, have.Type)
			require.NoFileExists(t, o.Root.Path(dropinPath), "the CRI plugin is left alone")
			if before != nil {
				require.Equal(t, *before, get(t, o.Root, daemonBackup))
			}

			result, err = install.InstallDocker(t.Context(), o)
			require.NoError(t, err)
			require.Equal(t, actions("unchanged", shimPath, docker.DefaultConfig, commandPath), result.Actions)

			_, err = install.Uninstall(t.Context(), o)
			require.NoError(t, err)
			require.Equal(t, untouched, files(t, o.Root))
			if before != nil {
				require.Equal(t, *before, get(t, o.Root, docker.DefaultConfig))
			}
			_, err = install.Uninstall(t.Context(), o)
			require.NoError(t, err)
		})
	}
}

func text(s string) *string { return &s }

// TestDockerBesideCRI removes one registration and keeps the other.
func TestDockerBesideCRI(t *testing.T) {
	o := tree(t)
	put(t, o.Root, criconf.DefaultPath, "version = 2\nimports = [\"conf.d/*.toml\"]\n")
	put(t, o.Root, docker.DefaultConfig, "{}")
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	_, err = install.InstallDocker(t.Context(), o)
	require.NoError(t, err)

	o.Docker.Wanted = true
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, "{}", get(t, o.Root, docker.DefaultConfig))
	require.FileExists(t, o.Root.Path(shimPath))
	require.FileExists(t, o.Root.Path(dropinPath))

	_, err = install.InstallDocker(t.Context(), o)
	require.NoError(t, err)
	o.Docker.Wanted = false
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, "{}", get(t, o.Root, docker.DefaultConfig))
	require.NoFileExists(t, o.Root.Path(shimPath))
}

// TestDockerOtherNames: uninstall does not take the shim away from a runtime of another name.
func TestDockerOtherNames(t *testing.T) {
	o := tree(t)
	o.Docker.Wanted = true
	before := files(t, o.Root)
	named := func(name string) install.Options { o := o; o.Handler = name; return o }
	_, err := install.InstallDocker(t.Context(), named("a"))
	require.NoError(t, err)
	cri := o
	cri.Docker.Wanted = false
	for _, o := range []install.Options{o, cri} {
		_, err = install.Uninstall(t.Context(), o)
		require.ErrorContains(t, err, "the shim is dockerd's runtime a: run first: oomwitness uninstall --docker --runtime-name a")
		require.FileExists(t, o.Root.Path(shimPath))
	}
	_, err = install.InstallDocker(t.Context(), named("b"))
	require.NoError(t, err)
	result, err := install.Uninstall(t.Context(), named("a"))
	require.NoError(t, err)
	require.Equal(t, []string{"the shim stays: it is dockerd's runtime b"}, result.Notes)
	require.FileExists(t, o.Root.Path(shimPath))
	_, err = install.Uninstall(t.Context(), named("b"))
	require.NoError(t, err)
	require.Equal(t, before, files(t, o.Root))
}

// TestDockerKeepsLinkAndMode edits the file at the target of a link.
func TestDockerKeepsLinkAndMode(t *testing.T) {
	o := tree(t)
	put(t, o.Root, "/srv/daemon.json", "{}\n")
	require.NoError(t, os.Chmod(o.Root.Path("/srv/daemon.json"), 0o640))
	link := o.Root.Entry(docker.DefaultConfig)
	require.NoError(t, os.MkdirAll(filepath.Dir(link), 0o755))
	require.NoError(t, os.Symlink("/srv/daemon.json", link))

	_, err := install.InstallDocker(t.Context(), o)
	require.NoError(t, err)
	target, err := os.Readlink(link)
	require.NoError(t, err)
	require.Equal(t, "/srv/daemon.json", target)
	require.Contains(t, get(t, o.Root, "/srv/daemon.json"), shimPath)
	info, err := os.Stat(o.Root.Path("/srv/daemon.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
}

// TestDockerChangesNothingWhereItRefuses: a refusal comes before any write.
func TestDockerChangesNothingWhereItRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"{\n  \"debug\": tru\n}":                               "/etc/docker/daemon.json: line 2: invalid JSON",
		`{"runtimes":{"oomwitness":{"path":"/usr/bin/crun"}}}`: "is not oomwitness",
		`{"runtimes":[]}`:                                      "runtimes has to be an object",
	} {
		o := tree(t)
		put(t, o.Root, docker.DefaultConfig, text)
		before := files(t, o.Root)
		_, err := install.InstallDocker(t.Context(), o)
		require.ErrorContains(t, err, want)
		require.Equal(t, before, files(t, o.Root))
		require.Equal(t, text, get(t, o.Root, docker.DefaultConfig))
	}
	o := tree(t)
	put(t, o.Root, docker.DefaultConfig, "{broken")
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	result, err := install.Uninstall(t.Context(), o)
	require.NoError(t, err, "a broken daemon.json is no reason to keep the drop-in")
	require.Contains(t, result.Notes[0], "the registration with dockerd was left")
	o.Docker.Reload = true
	_, err = install.InstallDocker(t.Context(), o)
	require.ErrorContains(t, err, "--reload-docker cannot be used with --root")
}

// TestDockerOfATree: the version of the Docker of an image comes from its program.
func TestDockerOfATree(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, for chroot(2)")
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs a static busybox")
	}
	shell, err := os.ReadFile(busybox)
	require.NoError(t, err)
	for text, want := range map[string]string{
		"#!/bin/sh\necho Docker version 20.10.24+dfsg1, build 297e128\n": "found Docker 20.10.24+dfsg1: a Docker before 23.0 cannot take a shim by name",
		"#!/bin/sh\necho Docker version 29.0.1, build 1234\n":            "",
		"\x7fELF of another CPU":                                         "dockerd's version is not known",
	} {
		o := tree(t)
		o.Docker.Wanted = true
		put(t, o.Root, "/bin/sh", string(shell))
		put(t, o.Root, "/usr/bin/dockerd", text)
		for _, name := range []string{"/bin/sh", "/usr/bin/dockerd"} {
			require.NoError(t, os.Chmod(o.Root.Path(name), 0o755))
		}
		before := files(t, o.Root)
		_, err := install.InstallDocker(t.Context(), o)
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want)
		require.Equal(t, before, files(t, o.Root))
	}
}
