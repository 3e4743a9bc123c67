package bpf_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// swapOn adds a swap file of so many bytes to the machine, until the end of the test.
func swapOn(t *testing.T, size int) {
	t.Helper()
	needGuest(t)
	page := os.Getpagesize()
	data := make([]byte, size)
	// union swap_header of include/linux/swap.h, at 1024: version and last page.
	binary.NativeEndian.PutUint32(data[1024:], 1)
	binary.NativeEndian.PutUint32(data[1028:], uint32(size/page-1))
	copy(data[page-10:], "SWAPSPACE2")
	file := filepath.Join(t.TempDir(), "swap")
	require.NoError(t, os.WriteFile(file, data, 0o600))
	name, err := unix.BytePtrFromString(file)
	require.NoError(t, err)
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(name)), 0, 0); errno != 0 {
		t.Skipf("needs a file system that can hold a swap file: %v", errno)
	}
	t.Cleanup(func() {
		_, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(name)), 0, 0)
		require.Zero(t, errno)
	})
}

// TestSwap: a victim's size has what is in swap.
func TestSwap(t *testing.T) {
	const swap = 2 * oomtest.RealLimit
	swapOn(t, swap)
	k := newKin(t)
	k.needV2(t, "limit of memory without swap by default")
	init := startIdle(t, k.dir)
	probe := k.arm(t, init)
	hog(t, k.dir)
	ev := k.evidence(t, probe)
	require.Len(t, ev.Victims, 1)
	t.Logf("%+v", ev.Victims[0])
	require.Greater(t, ev.Victims[0].Swap, uint64(swap/2))
	require.LessOrEqual(t, ev.Victims[0].Swap, uint64(swap))
	require.Equal(t, oom.No, ev.Init)
	if ev.Memory != nil {
		require.Greater(t, ev.Memory.Swap, uint64(swap/2))
	}
}
