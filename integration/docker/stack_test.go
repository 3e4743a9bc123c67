//go:build linux

package docker

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/shimtest"
	"github.com/oomwitness/oomwitness/integration/workload"
)

// patience limits every wait for a daemon or a container.
const patience = 2 * time.Minute

// daemonJSON is dockerd's configuration before anything is installed.
const daemonJSON = "{\n    \"live-restore\": true\n}\n"

// stack is a containerd and a dockerd with folders, sockets and configuration of their own: the
// machine's daemons are not touched.
type stack struct {
	t     *testing.T
	pair  pair
	dir   string
	path  string   // PATH=...
	flags []string // further flags of dockerd
	// runtime is the runtime that containers name, "" for dockerd's default.
	runtime                    string
	containerdFile, dockerFile string // programs
	containerd, dockerd        *exec.Cmd
	api                        api
	events                     *recorder
	started                    time.Time
}

// newStack starts a pair. Under this project's shim the runtime is registered by `oomwitness
// install --docker`, or by the link if the dockerd knows no shim by name.
func newStack(t *testing.T, p pair, ours bool) *stack {
	t.Helper()
	programs := programs(t)
	s := &stack{
		t: t, pair: p, dir: t.TempDir(), events: newRecorder(), started: time.Now(),
		containerdFile: filepath.Join(programs, p.daemon), dockerFile: filepath.Join(programs, p.dockerd),
	}
	bin := binaries(t, ours && p.link)
	s.path = p.searchPath(programs, bin)
	s.api = newAPI(s.file("docker.sock"))
	t.Cleanup(s.stop)
	s.configure()
	s.startContainerd()
	s.startDockerd()
	if ours && !p.link {
		out := s.oomwitness("install", "--docker", "--reload-docker", "--bin-dir", bin, "--shim", shimtest.Ours(t), "--systemd-unit", "false")
		t.Log(out)
		s.runtime = "oomwitness"
	}
	require.NoError(t, s.api.importImage(t.Context(), image, map[string]string{workload.Path: shimtest.WorkloadBinary(t)}))
	s.events.record(t, s.api, strconv.FormatInt(s.started.Unix(), 10))
	return s
}

func (s *stack) file(name string) string { return filepath.Join(s.dir, name) }

// configure writes the configuration of both daemons.
func (s *stack) configure() {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(s.file("containerd.toml"), fmt.Appendf(nil, `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = %q
`, s.file("containerd"), s.file("run"), s.file("containerd.sock")), 0o600))
	require.NoError(s.t, os.WriteFile(s.file("daemon.json"), []byte(daemonJSON), 0o600))
}

// startContainerd starts containerd and waits for its socket.
func (s *stack) startContainerd() {
	s.t.Helper()
	s.containerd = s.start("containerd.log", s.containerdFile, "--config", s.file("containerd.toml"))
	s.await("containerd", func() error {
		conn, err := (&net.Dialer{}).DialContext(s.t.Context(), "unix", s.file("containerd.sock"))
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// startDockerd starts dockerd and waits until it answers.
func (s *stack) startDockerd() {
	s.t.Helper()
	s.dockerd = s.start("dockerd.log", s.dockerFile, append(slices.Clone(s.flags), "--config-file", s.file("daemon.json"),
		"--data-root", s.file("docker"), "--exec-root", s.file("exec"), "--pidfile", s.file("docker.pid"),
		"--host", "unix://"+s.file("docker.sock"), "--containerd", s.file("containerd.sock"),
		"--iptables=false", "--ip6tables=false", "--bridge=none", "--userland-proxy=false",
		"--storage-driver=vfs", "--exec-opt=native.cgroupdriver=cgroupfs")...)
	s.await("dockerd", func() error {
		return s.api.call(s.t.Context(), "GET", "/_ping", nil, nil)
	})
}

// start starts a daemon, and appends its output to a file.
func (s *stack) start(log, program string, args ...string) *exec.Cmd {
	s.t.Helper()
	out, err := os.OpenFile(s.file(log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(s.t, err)
	defer out.Close()
	cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), program, args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PATH=") }), s.path)
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(s.t, cmd.Start())
	return cmd
}

// await calls try until try returns no error: a daemon does not announce that it is up.
func (s *stack) await(what string, try func() error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			require.FailNow(s.t, what+" did not come up", "%v\n%s", err, s.tail(what+".log"))
		}
	}
}

// kill ends a daemon by SIGKILL and reaps it.
func (s *stack) kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// restartDockerd starts dockerd again and reads its events from the beginning.
func (s *stack) restartDockerd() {
	s.t.Helper()
	since := strconv.FormatInt(time.Now().Unix(), 10)
	s.startDockerd()
	s.events.record(s.t, s.api, since)
}

// oomwitness runs the command on this stack's dockerd and returns what it printed.
func (s *stack) oomwitness(args ...string) string {
	s.t.Helper()
	out, err := s.command(args...)
	require.NoError(s.t, err, "oomwitness %v: %s", args, out)
	return out
}

func (s *stack) command(args ...string) (string, error) {
	args = append(args, "--docker-config", s.file("daemon.json"), "--docker-socket", s.file("docker.sock"))
	out, err := exec.CommandContext(s.t.Context(), shimtest.Command(s.t), args...).CombinedOutput()
	return string(out), err
}

// stop ends both daemons and everything that they have started.
func (s *stack) stop() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), notice)
	defer cancel()
	var all []struct{ ID string }
	if s.dockerd != nil && s.api.call(ctx, "GET", "/containers/json?all=1", nil, &all) == nil {
		for _, c := range all {
			_ = s.api.remove(ctx, c.ID)
		}
	}
	if s.t.Failed() {
		s.t.Logf("dockerd: %s\ncontainerd: %s", s.tail("dockerd.log"), s.tail("containerd.log"))
	}
	for _, daemon := range []*exec.Cmd{s.dockerd, s.containerd} {
		if daemon != nil {
			s.kill(daemon)
		}
	}
	s.killShims()
	s.unmount()
}

// killShims ends the shims that were started for this containerd.
func (s *stack) killShims() {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(s.t, err)
	for _, line := range lines {
		text, err := os.ReadFile(line)
		if err != nil || !strings.Contains(string(text), s.file("containerd.sock")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line))); err == nil {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// unmount unmounts what the daemons mounted in the folder.
func (s *stack) unmount() {
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(s.t, err)
	lines := strings.Split(string(mounts), "\n")
	slices.Reverse(lines)
	for _, line := range lines {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], s.dir+"/") {
			_ = unix.Unmount(fields[1], unix.MNT_DETACH)
		}
	}
}

// tail returns the end of a log.
func (s *stack) tail(name string) string {
	const most = 4000
	text, err := os.ReadFile(s.file(name))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}
