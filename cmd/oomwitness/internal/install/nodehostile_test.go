package install_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

// namesake makes this program one that has the name of a daemon, and does nothing.
const namesake = "OOMWITNESS_TEST_NAMESAKE"

func TestMain(m *testing.M) {
	if os.Getenv(namesake) == "" {
		os.Exit(m.Run())
	}
	if os.Geteuid() == 0 && os.Getuid() != 0 {
		if err := syscall.Setresuid(0, 0, 0); err != nil { // as sudo does
			panic(err)
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// namesake starts a process with the name containerd and a configuration of its own.
func (n *liveNode) namesake(dir string, mode os.FileMode, as *syscall.SysProcAttr) (pid int) {
	n.Helper()
	program := dir + "/containerd"
	n.link(program, os.Args[0])
	require.NoError(n, os.Chmod(program, mode))
	n.write(dir+"/config.toml", "version = 3\nimports = ['"+dir+"/*.toml']\n")
	cmd := exec.CommandContext(n.Context(), program)
	cmd.Args = []string{"containerd", "--config=" + dir + "/config.toml", "--address=" + n.address}
	cmd.Env = []string{namesake + "=1", "PATH=" + dir, "LD_LIBRARY_PATH=" + dir}
	cmd.SysProcAttr = as
	_, err := cmd.StdinPipe()
	require.NoError(n, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(n, err)
	require.NoError(n, cmd.Start())
	n.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(n, err)
	require.Equal(n, "ready\n", line)
	return cmd.Process.Pid
}

// TestOtherContainerds: Docker's containerd runs beside the node's, and processes of an
// ordinary user and of a container have the name containerd and a configuration.
func TestOtherContainerds(t *testing.T) {
	needNodes(t)
	inNode(t, "k3s/2.2", "TestOtherContainerdsInNode")
}

func TestOtherContainerdsInNode(t *testing.T) {
	n := here(t)
	const config, socket = "/run/docker/containerd.toml", "/run/docker/containerd.sock"
	n.write(config, "version = 3\nroot = '/var/lib/docker/containerd'\nstate = '/run/docker/containerd'\n"+
		"disabled_plugins = ['io.containerd.grpc.v1.cri']\n[grpc]\naddress = '"+socket+"'\n")
	dockers := exec.CommandContext(t.Context(), containerdOf("2.2"), "--config", config)
	require.NoError(t, dockers.Start())
	t.Cleanup(func() { _, _ = dockers.Process.Kill(), dockers.Wait() })
	user := &syscall.Credential{Uid: 65534, Gid: 65534}
	own := n.namesake("/run/own", 0o755, &syscall.SysProcAttr{Credential: user})
	setUID := n.namesake("/run/set-user-id", 0o755|os.ModeSetuid, &syscall.SysProcAttr{Credential: user})
	inside := n.namesake("/run/inside", 0o755, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS})

	before, handlers, meant := n.kept(), n.handlers(), n.cmd.Process.Pid
	result, err := install.Install(t.Context(), n.options())
	require.NoError(t, err)
	notes := strings.Join(result.Notes, "\n")
	for _, want := range []string{
		fmt.Sprintf("this containerd is meant: pid %d, unit k3s-agent.service", meant),
		fmt.Sprintf("this one is left alone: pid %d, unit unknown, --config %s, --address %s, CRI disabled", dockers.Process.Pid, config, socket),
		fmt.Sprintf("passed over: containerd with pid %d is not root's: user IDs 65534", own),
		fmt.Sprintf("passed over: containerd with pid %d is of another user: a set-user-ID program", setUID),
		fmt.Sprintf("passed over: containerd with pid %d is in a container", inside),
	} {
		require.Contains(t, notes, want)
	}
	require.Contains(t, n.handlers(), "oomwitness")
	_, err = install.Uninstall(t.Context(), n.options())
	require.NoError(t, err)
	require.ElementsMatch(t, handlers, n.handlers())
	n.same(before, "byte for byte as before")

	o := n.options()
	o.Address = socket
	o, err = o.Locate(t.Context())
	require.NoError(t, err)
	require.Equal(t, config, o.MainConfig, "a flag decides")
	t.Logf("node=%q containerd=%s beside Docker's and three processes of the same name", n.name, n.version)
}
