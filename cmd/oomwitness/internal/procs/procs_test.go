package procs

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
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
	add(25, "containerd-shim", root, "1")
	add(26, "containerd ", root, "1")
	require.NoError(t, os.Mkdir(filepath.Join(proc, "27"), 0o755))

	pids, passedOver, err := Daemons(proc, "containerd")
	require.NoError(t, err)
	require.Equal(t, []int{20, 300}, pids)
	require.Equal(t, []string{
		"containerd with pid 21 is not root's: user IDs 1000 1000 1000 1000",
		"containerd with pid 22 is not root's: user IDs 1000 0 0 0",
		"containerd with pid 23 is in a container: its namespaces are not the node's",
		"containerd with pid 24 is in a container: its namespaces are not the node's",
	}, passedOver)

	// Without the right to look at namespaces.
	require.NoError(t, os.Remove(filepath.Join(proc, "1", "ns", "mnt")))
	pids, _, err = Daemons(proc, "containerd")
	require.NoError(t, err)
	require.Equal(t, []int{20, 23, 24, 300}, pids)
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
