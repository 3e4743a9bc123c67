package containerd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// tree is a root with a program that answers as containerd of a version does. What
// real ones answer is in integration/configs.
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

func TestFindInATree(t *testing.T) {
	root := tree(t, "1.7.24~ds1")
	d, err := Finder{Root: root, Address: DefaultAddress}.Find(t.Context())
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

	d, err = Finder{Root: root, Address: DefaultAddress, Version: "1.7"}.Find(t.Context())
	require.NoError(t, err)
	require.Equal(t, "1.7", d.Version.Text)
	require.True(t, d.Version.RuntimePath(), "the newest 1.7")
	require.NotNil(t, d.Dump)

	d, err = Finder{Root: root, Address: DefaultAddress, Version: "2.2"}.Find(t.Context())
	require.NoError(t, err)
	require.Nil(t, d.Dump)
	require.Equal(t, "/usr/bin/containerd is version 1.7.24~ds1", d.Unchecked)
}

// TestFindOfAnotherMachine: the program cannot be run, as one for another CPU.
func TestFindOfAnotherMachine(t *testing.T) {
	root := tree(t, "2.2.9")
	require.NoError(t, os.WriteFile(root.Path("/usr/bin/containerd"), []byte("\x7fELF of another CPU"), 0o755))
	_, err := Finder{Root: root, Address: DefaultAddress}.Find(t.Context())
	require.ErrorContains(t, err, "exec format error; name it with --containerd-version")
	d, err := Finder{Root: root, Address: DefaultAddress, Version: "2.2"}.Find(t.Context())
	require.NoError(t, err)
	require.Nil(t, d.Dump)
	require.Contains(t, d.Unchecked, "exec format error")
}

func TestFindNothing(t *testing.T) {
	root := rootfs.Dir(t.TempDir())
	_, err := Finder{Root: root, Address: DefaultAddress}.Find(t.Context())
	require.ErrorContains(t, err, "containerd does not answer at /run/containerd/containerd.sock: no such socket, "+
		"and there is no containerd program in /usr/local/sbin:")
	_, err = Finder{Root: root, Address: DefaultAddress, Version: "two"}.Find(t.Context())
	require.ErrorContains(t, err, `--containerd-version: cannot read the version "two"`)
}

// TestFindByTheSocket: the one who listens there is the node's containerd, and here
// that is this test.
func TestFindByTheSocket(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, which the one who listens has to be")
	}
	socket := serve(t, func(s *grpc.Server) { versionapi.RegisterVersionServer(s, versionServer{}) })
	self, err := os.Executable()
	require.NoError(t, err)
	f := Finder{Address: socket}
	require.Equal(t, self, f.binary(t.Context()))
	require.Equal(t, strconv.Itoa(os.Getpid()), Process(t.Context(), "/", socket))
	d, err := Finder{Address: socket, Version: "1.7"}.Find(t.Context())
	require.NoError(t, err)
	require.Equal(t, "containerd v2.4.2 answers at "+socket+", and --containerd-version names 1.7: the configuration is written for the latter",
		d.Contradicts)
	version, err := f.running(t.Context())
	require.NoError(t, err)
	require.Equal(t, "v2.4.2", version.Text)
}
