//go:build linux

package fire

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// startAlone is a script that calls a shim's start as containerd 2.2 does, where no ledger is
// loaded and no load was refused: in namespaces of its own, which end with all their processes.
// It prints what is pinned then, and why a load was refused. With a second argument it copies
// that command beside the shim, and repeats all.
const startAlone = `set -e
mount -t proc proc /proc
mkdir -p /run/oomwitness
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs none /run/oomwitness
start() {
	"$1" -namespace loader -id "$2" -address /run/none.sock start </dev/null >/dev/null
	readlink /sys/fs/bpf/oomwitness/current || true
	cat /run/oomwitness/refused 2>/dev/null || true
}
start "$1" alone
[ -z "$2" ] || cp "$2" "$(dirname "$1")/oomwitness"
[ -z "$2" ] || start "$1" again`

// TestLoaderBeside starts a shim with the command that loads the ledger beside it, and a shim
// that was copied to the node alone. The shim alone starts too, and logs which file is missing
// and where to put it. With the file there, the next shim loads the ledger.
func TestLoaderBeside(t *testing.T) {
	const pinned = `g\d+_\d+_[ABC]_\d+\n$`
	for name, c := range map[string]struct {
		beside bool
		later  string
		want   string
	}{
		"both files": {true, "", `^` + pinned},
		"one file": {false, shimtest.Command(t), `^no OOM ledger is loaded, and the command oomwitness that loads it ` +
			`is neither /.+/oomwitness nor on PATH: copy it there.+\n` + pinned},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			shim := filepath.Join(dir, "containerd-shim-oomwitness-v2")
			copyFile(t, shimtest.Ours(t), shim)
			if c.beside {
				copyFile(t, shimtest.Command(t), filepath.Join(dir, "oomwitness"))
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o600))
			cmd := exec.CommandContext(deadline(t), "sh", "-c", startAlone, "sh", shim, c.later)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
			cmd.Dir = dir
			cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Regexp(t, c.want, string(out))
		})
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, data, 0o755))
}
