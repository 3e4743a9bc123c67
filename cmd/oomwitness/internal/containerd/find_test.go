package containerd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// tree returns a root with a program that answers as the containerd of a version does. The
// answers of real ones are tested in integration/configs.
func tree(t *testing.T, version string) rootfs.Dir {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, for chroot(2)")
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs a static busybox")
	}
	program, err := os.ReadFile(busybox)
	require.NoError(t, err)
	root := rootfs.Dir(t.TempDir())
	for name, content := range map[string]string{
		"/bin/sh": string(program), "/etc/containerd/config.toml": "version = 2\n",
		"/usr/bin/containerd": fmt.Sprintf(`#!/bin/sh
case "$*" in
--version) echo containerd github.com/containerd/containerd %s 1234 ;;
"config default") echo 'root = "built in"' ;;
"--config /etc/containerd/config.toml config dump") echo 'root = "/x"' ;;
*) echo "what is $*" >&2; exit 3
esac
`, version),
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(root.Path(name)), 0o755))
		require.NoError(t, os.WriteFile(root.Path(name), []byte(content), 0o755))
	}
	return root
}

// find locates the containerd of a root, and finds its version.
func find(t *testing.T, root rootfs.Dir, version string, force bool) (Daemon, error) {
	t.Helper()
	located, err := Locate(t.Context(), root, Wanted{})
	require.NoError(t, err)
	return Finder{Root: root, Located: located, Version: version, Force: force}.Find(t.Context())
}

func TestFindInATree(t *testing.T) {
	root := tree(t, "1.7.24~ds1")
	d, err := find(t, root, "", false)
	require.NoError(t, err)
	require.Equal(t, "1.7.24~ds1", d.Version.Text)
	require.Empty(t, d.Unchecked)
	dump, err := d.Dump(t.Context(), "/etc/containerd/config.toml")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"root": "/x"}, dump)
	dump, err = d.Dump(t.Context(), "/etc/containerd/gone.toml")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"root": "built in"}, dump, "containerd starts without a file")
	dump, err = d.Dump(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"root": "built in"}, dump)
	require.NoError(t, os.WriteFile(root.Path("/etc/other.toml"), nil, 0o644))
	_, err = d.Dump(t.Context(), "/etc/other.toml")
	require.ErrorContains(t, err, "/usr/bin/containerd --config /etc/other.toml config dump: exit status 3: what is")

	d, err = find(t, root, "1.7", false)
	require.NoError(t, err)
	require.Equal(t, "1.7", d.Version.Text)
	require.True(t, d.Version.RuntimePath(), "the newest 1.7")
	require.NotNil(t, d.Dump)

	_, err = find(t, root, "2.2", false)
	require.EqualError(t, err, "--containerd-version names 2.2, and /usr/bin/containerd is 1.7.24~ds1: leave the flag out, or go on all the same with --force")
	d, err = find(t, root, "2.2", true)
	require.NoError(t, err)
	require.Nil(t, d.Dump)
	require.Equal(t, "/usr/bin/containerd is version 1.7.24~ds1", d.Unchecked)
}

// TestFindOfAnotherMachine: the program is for another CPU, and cannot be run.
func TestFindOfAnotherMachine(t *testing.T) {
	root := tree(t, "2.2.9")
	require.NoError(t, os.WriteFile(root.Path("/usr/bin/containerd"), []byte("\x7fELF of another CPU"), 0o755))
	_, err := find(t, root, "", false)
	require.ErrorContains(t, err, "exec format error; name it with --containerd-version")
	d, err := find(t, root, "2.2", false)
	require.NoError(t, err)
	require.Nil(t, d.Dump)
	require.Contains(t, d.Unchecked, "exec format error")
}

// TestFindWithoutLoader: a program whose loader is not in the tree can still print its version.
func TestFindWithoutLoader(t *testing.T) {
	root := tree(t, "1.6.20~ds1")
	require.NoError(t, os.Remove(root.Path("/bin/sh")))
	d, err := find(t, root, "", false)
	require.NoError(t, err)
	require.Equal(t, "1.6.20~ds1", d.Version.Text)
	require.Nil(t, d.Dump)
	require.Equal(t, "/usr/bin/containerd does not run inside of "+string(root)+", where its loader is missing", d.Unchecked)
}

func TestFindNothing(t *testing.T) {
	root := rootfs.Dir(t.TempDir())
	_, err := find(t, root, "", false)
	require.ErrorContains(t, err, "containerd does not answer at /run/containerd/containerd.sock: no such socket, "+
		"and there is no containerd program in /usr/local/sbin:")
	_, err = find(t, root, "two", false)
	require.ErrorContains(t, err, `--containerd-version: cannot read the version "two"`)
}

// TestFindByTheSocket: the operator names a socket, and the process that listens there is the
// node's containerd. Here that process is the test.
func TestFindByTheSocket(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, which the process that listens has to be")
	}
	socket := serve(t, func(s *grpc.Server) { versionapi.RegisterVersionServer(s, versionServer{}) })
	self, err := os.Executable()
	require.NoError(t, err)
	located, ok := listening(t.Context(), "/", socket)
	require.True(t, ok)
	require.Equal(t, self, located.Program.Path)
	require.Equal(t, os.Getpid(), located.PID)
	f := Finder{Located: Located{Instance: Instance{Address: socket}}, Version: "1.7"}
	_, err = f.Find(t.Context())
	require.EqualError(t, err, "--containerd-version names 1.7, and the containerd that answers at "+socket+
		" is v2.4.2: leave the flag out, or go on all the same with --force")
	f.Force = true
	d, err := f.Find(t.Context())
	require.NoError(t, err)
	require.Equal(t, "1.7", d.Version.Text)
}
