package install

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOtherName: the kernel truncates the shim's name.
func TestOtherName(t *testing.T) {
	for comm, want := range map[string]bool{"containerd-shim\n": false, "containerd\n": true, "sh\n": true} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "comm"), []byte(comm), 0o644))
		require.Equal(t, want, otherName(dir), comm)
	}
	require.False(t, otherName(t.TempDir()), "nobody knows")
}

// TestRemoveStale: files of a killed install are removed by the next install or by uninstall.
func TestRemoveStale(t *testing.T) {
	dir := t.TempDir()
	for name, stays := range map[string]bool{".shim.1.tmp": false, ".other.1.tmp": true, ".shim.tmp": true} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		removeStale(filepath.Join(dir, "shim"))
		_, err := os.Stat(file)
		require.Equal(t, stays, err == nil, name)
	}
}

// TestShimReplacedWhileItRuns: install replaces the file of a shim that runs, forwards and back.
// The process goes on with its old file, and uninstall refuses while the process runs.
func TestShimReplacedWhileItRuns(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "shim")
	sleep, err := exec.LookPath("sleep")
	require.NoError(t, err)
	require.NoError(t, replace(target, fileSource(sleep), 0o755))
	cmd := exec.CommandContext(t.Context(), target, "1000")
	require.NoError(t, cmd.Start())
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	pid := strconv.Itoa(cmd.Process.Pid)
	o := Options{Root: "/", BinDir: dir}
	require.NoError(t, os.Rename(target, o.shimPath()))
	pids, err := o.running()
	require.NoError(t, err)
	require.Equal(t, []string{pid}, pids)
	for _, text := range []string{"\x7fELF newer", "\x7fELF older"} {
		require.NoError(t, replace(o.shimPath(), bytesSource([]byte(text)), 0o755), "no ETXTBSY")
		pids, err = o.running()
		require.NoError(t, err)
		require.Equal(t, []string{pid}, pids, "also of a file that was replaced")
		require.NoError(t, syscall.Kill(cmd.Process.Pid, 0))
	}
	err = o.refuseRunning()
	require.EqualError(t, err, "1 shim runs (pid "+pid+") from "+o.shimPath()+": delete the pods first; "+
		"--force removes the binary all the same, and containerd then cannot clean up after them")
}

// TestRootlessDockerd: a dockerd of an ordinary user reads no file that install edits, and is
// named.
func TestRootlessDockerd(t *testing.T) {
	proc := t.TempDir()
	dir := filepath.Join(proc, "8")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "comm"), []byte("dockerd\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "status"), []byte("Uid:\t1000\t1000\t1000\t1000\n"), 0o644))
	var result Result
	o := Options{
		Root: "/", Proc: proc, BinDir: t.TempDir(), ConfDir: "/etc/containerd/conf.d", MainConfig: "/etc/containerd/config.toml",
		Handler: "oomwitness", Docker: DockerOptions{Wanted: true, Socket: filepath.Join(proc, "no.sock")}, Shim: proc, Force: true,
	}
	_, err := o.planDocker(t.Context(), &result)
	require.ErrorContains(t, err, "--shim")
	require.Equal(t, "passed over: dockerd with pid 8 is not root's: user IDs 1000 1000 1000 1000", result.Notes[0])
}

// TestDockerdReadsAnotherFile: a registration in a file that the running dockerd does not read is
// refused, unless forced.
func TestDockerdReadsAnotherFile(t *testing.T) {
	proc := t.TempDir()
	socket := filepath.Join(proc, "docker.sock")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"Version": "29.0.1"}`))
	}))
	server.Listener = listener
	server.Start()
	defer server.Close()
	link := filepath.Join(proc, "link.json")
	require.NoError(t, os.Symlink("/data/daemon.json", link))
	process := func(cmdline string) {
		dir := filepath.Join(proc, "8")
		require.NoError(t, os.MkdirAll(dir, 0o755))
		for name, text := range map[string]string{"comm": "dockerd\n", "status": "Uid:\t0\t0\t0\t0\n", "cmdline": cmdline} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
	}
	plan := func(config string, force bool) error {
		o := Options{
			Root: "/", Proc: proc, BinDir: t.TempDir(), ConfDir: "/etc/containerd/conf.d", MainConfig: "/etc/containerd/config.toml",
			Handler: "oomwitness", Docker: DockerOptions{Wanted: true, Socket: socket, Config: config}, Shim: proc, Force: force,
		}
		_, err := o.planDocker(t.Context(), &Result{})
		return err
	}
	require.ErrorContains(t, plan("", false), "no process of the node's own is that dockerd", "a snap, or a container")
	require.ErrorContains(t, plan("/data/daemon.json", false), "--shim", "it goes on")
	process("dockerd\x00--config-file=/data/daemon.json\x00")
	require.ErrorContains(t, plan("/etc/docker/daemon.json", false), "dockerd (pid 8) reads /data/daemon.json: use --docker-config /data/daemon.json")
	other := socket
	socket = filepath.Join(proc, "no.sock")
	require.ErrorContains(t, plan("/etc/docker/daemon.json", false), "version is not known", "another dockerd, which does not run")
	socket = other
	for _, goesOn := range []error{plan("/etc/docker/daemon.json", true), plan("/data/daemon.json", false), plan(link, false), plan("", false)} {
		require.ErrorContains(t, goesOn, "--shim")
	}
}

// TestDockerdDoesNotRun: the flags of a dockerd that does not run are unknown, and can contradict
// the file.
func TestDockerdDoesNotRun(t *testing.T) {
	dir := t.TempDir()
	o := Options{
		Root: "/", Proc: dir, BinDir: dir, ConfDir: "/etc/containerd/conf.d", MainConfig: "/etc/containerd/config.toml",
		Handler: "oomwitness", SystemdUnit: "false", Shim: os.Args[0], Force: true,
		Docker: DockerOptions{Wanted: true, Socket: filepath.Join(dir, "no.sock"), Config: filepath.Join(dir, "daemon.json")},
	}
	var result Result
	_, err := o.planDocker(t.Context(), &result)
	require.NoError(t, err)
	require.Contains(t, result.Notes[len(result.Notes)-1], "no dockerd runs, and its flags were not checked")
}
