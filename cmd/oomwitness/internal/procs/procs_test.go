package procs

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestDaemons(t *testing.T) {
	proc := t.TempDir()
	add := func(pid int, comm, uids, mounts string) {
		dir := filepath.Join(proc, strconv.Itoa(pid))
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "ns"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "comm"), []byte(comm+"\n"), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "status"), []byte("Name:\t"+comm+"\nUid:\t"+uids+"\nGid:\t0\t0\t0\t0\n"), 0o600))
		if mounts != "" {
			require.NoError(t, os.Symlink("mnt:["+mounts+"]", filepath.Join(dir, "ns", "mnt")))
		}
	}
	const root = "0\t0\t0\t0"
	add(1, "systemd", root, "1")
	add(300, "containerd", root, "1")
	add(20, "containerd", root, "1")
	add(21, "containerd", "1000\t1000\t1000\t1000", "1")
	add(22, "containerd", "1000\t0\t0\t0", "1") // a program with the set-user-ID bit
	add(23, "containerd", root, "2")            // in a container
	add(24, "containerd", root, "")             // has ended
	add(28, "containerd", root, "1")
	add(29, "containerd", root, "1")
	for pid, vector := range map[string][]byte{ // AT_SYSINFO_EHDR, then AT_SECURE
		"20": vector64(33, 0x7ffc00001000, 23, 0), "28": vector64(33, 0x7ffc00001000, 23, 1),
		"29": vector32(33, 0xf7f00000, 23, 1), "300": vector32(33, 0xf7f00000, 23, 0),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(proc, pid, "auxv"), vector, 0o600))
	}
	add(25, "containerd-shim", root, "1")
	add(26, "containerd ", root, "1")
	require.NoError(t, os.Mkdir(filepath.Join(proc, "27"), 0o755))

	// A child of 20 that has not yet executed its program.
	add(30, "containerd", root, "1")
	require.NoError(t, os.WriteFile(filepath.Join(proc, "30", "status"), []byte("PPid:\t20\nUid:\t"+root+"\n"), 0o600))

	pids, passedOver, err := Daemons(proc, "containerd")
	require.NoError(t, err)
	require.Equal(t, []int{20, 300}, pids)
	require.Equal(t, []string{
		"containerd with pid 21 is not root's: user IDs 1000 1000 1000 1000",
		"containerd with pid 22 is not root's: user IDs 1000 0 0 0",
		"containerd with pid 23 is in a container: its namespaces are not the node's",
		"containerd with pid 24 is in a container: its namespaces are not the node's",
		"containerd with pid 28 is of another user: a set-user-ID program",
		"containerd with pid 29 is of another user: a set-user-ID program",
	}, passedOver)

	// Without the right to look at namespaces.
	require.NoError(t, os.Remove(filepath.Join(proc, "1", "ns", "mnt")))
	pids, _, err = Daemons(proc, "containerd")
	require.NoError(t, err)
	require.Equal(t, []int{20, 23, 24, 300}, pids)
}

func vector64(words ...uint64) (out []byte) {
	for _, word := range words {
		out = binary.NativeEndian.AppendUint64(out, word)
	}
	return out
}

func vector32(words ...uint32) (out []byte) {
	for _, word := range words {
		out = binary.NativeEndian.AppendUint32(out, word)
	}
	return out
}

// The test itself is a process of this machine.
func TestDaemonsOfThisMachine(t *testing.T) {
	comm, err := os.ReadFile("/proc/self/comm")
	require.NoError(t, err)
	pids, _, err := Daemons("/proc", string(comm[:len(comm)-1]))
	require.NoError(t, err)
	mine, err1 := os.Readlink("/proc/self/ns/mnt")
	first, err2 := os.Readlink("/proc/1/ns/mnt")
	if os.Geteuid() == 0 && err1 == nil && err2 == nil {
		require.Equal(t, mine == first, slices.Contains(pids, os.Getpid()))
	}
}

// TestZombie: a daemon that has ended, and that its parent has not waited for, is no daemon.
func TestZombie(t *testing.T) {
	program := filepath.Join(t.TempDir(), "zombie-of-test")
	require.NoError(t, os.Symlink("/bin/true", program))
	cmd := exec.CommandContext(t.Context(), program)
	require.NoError(t, cmd.Start())
	defer func() { require.NoError(t, cmd.Wait()) }()
	var info unix.Siginfo
	require.NoError(t, unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil))
	pids, passedOver, err := Daemons("/proc", "zombie-of-test")
	require.NoError(t, err)
	require.Empty(t, pids)
	require.Empty(t, passedOver)
}

// setUserID makes this process a set-user-ID program that takes all user IDs of root.
const setUserID = "OOMWITNESS_TEST_SET_USER_ID"

func TestMain(m *testing.M) {
	if os.Getenv(setUserID) == "" {
		os.Exit(m.Run())
	}
	if err := syscall.Setresuid(0, 0, 0); err != nil {
		panic(err)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// TestSetUserID: an ordinary user starts a set-user-ID program under the name of a daemon,
// and chooses its PATH and its libraries.
func TestSetUserID(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a set-user-ID program of root's")
	}
	dir, err := os.MkdirTemp("", "procs")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, os.Chmod(dir, 0o755))
	self, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	program := filepath.Join(dir, "kubelet-of-test")
	require.NoError(t, os.WriteFile(program, self, 0o755))
	require.NoError(t, os.Chmod(program, 0o755|os.ModeSetuid))

	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = []string{setUserID + "=1", "PATH=/tmp/mine", "LD_LIBRARY_PATH=/tmp/mine"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Wait() }() // the program ends with its input
	defer stdin.Close()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	own := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid))
	ids, _ := owner(own)
	require.Equal(t, []string{"0", "0", "0", "0"}, ids)
	pids, passedOver, err := Daemons("/proc", "kubelet-of-test")
	require.NoError(t, err)
	require.Empty(t, pids)
	require.Equal(t, []string{fmt.Sprintf("kubelet-of-test with pid %d is of another user: a set-user-ID program", cmd.Process.Pid)}, passedOver)
	require.False(t, IsRoot(own))
	require.True(t, IsRoot("/proc/self"))
}
