//go:build linux

package faultkit

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// debian has Debian's packages of supervisors and of earlyoom.
const debian = "/opt/oomwitness/debian"

// DebianRoot returns a root file system with Debian's supervisors and earlyoom, which the
// test may change.
func DebianRoot(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat(debian); err != nil {
		t.Skip("needs Debian's supervisors in " + debian + ", which the guest has for amd64")
	}
	root := filepath.Join(t.TempDir(), "debian")
	require.NoError(t, Run(t.Context(), "cp", "-a", debian, root))
	for _, dir := range []string{"proc", "dev", "sys", "tmp", "run"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	return root
}

// EarlyOOM starts Debian's earlyoom in a root file system, with the node's processes, until
// the test's end. earlyoom sends a signal to the process with the highest oom_score when the
// processes of the node have taken half of so many bytes.
func EarlyOOM(t *testing.T, root string, hold int64) {
	t.Helper()
	total, available := meminfo(t, "MemTotal"), meminfo(t, "MemAvailable")
	least := 100 * (available - hold/2) / total // percent
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "unshare",
		"--mount", "sh", "-c", `mount -t proc proc "$0/proc" && exec chroot "$0" "$@"`, root,
		"/usr/bin/earlyoom", "-r", "0", "-s", "100,100",
		"-m", strconv.FormatInt(least+1, 10)+","+strconv.FormatInt(least, 10))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Log(out.String())
	})
}

// meminfo reads a line of /proc/meminfo, in bytes.
func meminfo(t *testing.T, name string) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/meminfo")
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == name+":" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			require.NoError(t, err)
			return kib << 10
		}
	}
	t.Fatalf("/proc/meminfo has no %s", name)
	return 0
}
