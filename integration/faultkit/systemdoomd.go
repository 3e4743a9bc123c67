//go:build linux

package faultkit

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// SystemdOOMD starts Debian's systemd-oomd, from a root file system that has it, until the
// test's end. systemd-oomd kills what a unit names (ManagedOOMMemoryPressure) when that has
// been under pressure for two seconds: it looks for the cgroup from which most was reclaimed,
// so the node gets swap. systemd answers a systemd-oomd of its own unit alone
// (src/core/core-varlink.c), so the node gets the unit.
func SystemdOOMD(t *testing.T, root string) {
	t.Helper()
	if _, err := os.Stat("/proc/pressure/memory"); err != nil {
		t.Skip("needs a kernel that counts the pressure of memory: ", err)
	}
	SwapOn(t, 256<<20)
	for _, name := range []string{
		"lib/systemd/systemd-oomd", "lib/systemd/system/systemd-oomd.service", "lib/systemd/system/systemd-oomd.socket",
		"usr/lib/sysusers.d/systemd-oom.conf", "usr/share/dbus-1/system.d/org.freedesktop.oom1.conf",
	} {
		require.NoError(t, Run(t.Context(), "cp", filepath.Join(root, name), filepath.Join("/", name)))
	}
	require.NoError(t, os.WriteFile("/etc/systemd/oomd.conf", []byte("[OOM]\nDefaultMemoryPressureDurationSec=2s\n"), 0o644))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		out, err := exec.CommandContext(ctx, "journalctl", "-u", "systemd-oomd", "--no-pager").CombinedOutput()
		t.Logf("%s%v", out, err)
		require.NoError(t, Run(ctx, "systemctl", "stop", "systemd-oomd.socket", "systemd-oomd.service"))
	})
	for _, command := range [][]string{
		{"systemd-sysusers"}, {"systemctl", "daemon-reload"}, {"systemctl", "reload", "dbus.service"},
		{"systemctl", "start", "systemd-oomd.service"},
	} {
		require.NoError(t, Run(t.Context(), command[0], command[1:]...))
	}
}

// SwapOn adds a swap file of so many bytes to the node until the test's end. The file is on
// the node's disk: the kernel swaps to no file on tmpfs.
func SwapOn(t *testing.T, size int64) {
	t.Helper()
	f, err := os.CreateTemp("/var/lib", "swap")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.Remove(f.Name())) })
	require.NoError(t, syscall.Fallocate(int(f.Fd()), 0, 0, size))
	require.NoError(t, f.Close())
	require.NoError(t, Run(t.Context(), "mkswap", f.Name()))
	require.NoError(t, Run(t.Context(), "swapon", f.Name()))
	t.Cleanup(func() { require.NoError(t, Run(context.WithoutCancel(t.Context()), "swapoff", f.Name())) })
}
