//go:build linux

package docker

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// TestInstall registers the shim with a real dockerd (newStack does that), makes it the default
// runtime, and removes it again.
func TestInstall(t *testing.T) {
	s := newStack(t, pairs()[0], true)
	bin := t.TempDir()
	install := []string{"install", "--docker", "--bin-dir", bin, "--shim", shimtest.Ours(t), "--systemd-unit", "false"}
	registered := s.daemonJSON()
	require.Contains(t, registered, `"live-restore": true`)

	require.Contains(t, s.oomwitness(append(install, "--dry-run")...), "(dry run)")
	require.Equal(t, registered, s.daemonJSON())

	out := s.oomwitness(append(install, "--docker-default", "--reload-docker")...)
	require.Contains(t, out, "reload    dockerd")
	require.Contains(t, s.check(), `the runtime "oomwitness" in `+s.file("daemon.json")+" is "+bin)
	out = s.oomwitness(append(install, "--docker-default")...)
	require.Contains(t, out, "unchanged "+s.file("daemon.json"))
	require.NotContains(t, out, "reload", "dockerd has it")

	s.runtime = "" // the default runtime
	id, o, err := s.run(t.Context(), cases()[1])
	require.NoError(t, err)
	require.False(t, o.state.OOMKilled, "the stock shim says true here")
	require.NoError(t, s.api.remove(t.Context(), id))

	// The flag --force is needed: on some machines not even root may read which shims run.
	out = s.oomwitness("uninstall", "--bin-dir", bin, "--reload-docker", "--force")
	require.Contains(t, out, "was dockerd's default runtime")
	require.Contains(t, out, "until it is restarted")
	require.Equal(t, daemonJSON, s.daemonJSON(), "byte for byte")
	require.NoFileExists(t, s.file("daemon.json.before-oomwitness"))
	require.Contains(t, s.check(), `has no runtime "oomwitness"`)
}

// TestInstallRefused tries settings that dockerd itself would refuse. install refuses them and
// changes nothing.
func TestInstallRefused(t *testing.T) {
	s := newStack(t, pairs()[0], false)
	install := []string{"install", "--docker", "--bin-dir", t.TempDir(), "--shim", shimtest.Ours(t), "--systemd-unit", "false"}

	broken := []byte(`{"no-such-key": true}`)
	require.NoError(t, os.WriteFile(s.file("daemon.json"), broken, 0o600))
	require.Contains(t, s.refused(install...), "as it is, and nothing was changed")
	require.Equal(t, string(broken), s.daemonJSON())

	// dockerd refuses a default runtime on its command line together with one in the file.
	require.NoError(t, os.WriteFile(s.file("daemon.json"), []byte(daemonJSON), 0o600))
	s.kill(s.dockerd)
	s.flags = []string{"--default-runtime", "runc"}
	s.startDockerd()
	require.Contains(t, s.refused(append(install, "--docker-default")...), "dockerd refuses the change to "+s.file("daemon.json")+", and nothing was changed")
	require.Equal(t, daemonJSON, s.daemonJSON())
}

// TestInstallByLink has a Docker version that knows no shim by name.
func TestInstallByLink(t *testing.T) {
	s := newStack(t, pairs()[1], false)
	out := s.refused("install", "--docker", "--shim", shimtest.Ours(t))
	require.Contains(t, out, "found Docker 20.10")
	require.Contains(t, out, "Docker before 23.0 cannot take a shim by name")
	require.Equal(t, daemonJSON, s.daemonJSON())
	require.Contains(t, s.check(), "Docker before 23.0 cannot take a shim by name")
}

func (s *stack) daemonJSON() string {
	s.t.Helper()
	text, err := os.ReadFile(s.file("daemon.json"))
	require.NoError(s.t, err)
	return string(text)
}

// refused runs the command on this stack's dockerd. The command must fail; refused returns the
// output.
func (s *stack) refused(args ...string) string {
	s.t.Helper()
	out, err := s.command(args...)
	var exit *exec.ExitError
	require.ErrorAs(s.t, err, &exit, "%s", out)
	return out
}

// check returns the part of the report that is about this stack's Docker. Other rows may fail
// on this machine.
func (s *stack) check() string {
	s.t.Helper()
	out, err := s.command("check")
	if err != nil {
		var exit *exec.ExitError
		require.ErrorAs(s.t, err, &exit)
	}
	return out
}
