package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// capsEnv makes the command run with these capabilities alone, given by their numbers.
const capsEnv = "OOMWITNESS_TEST_CAPS"

// confined removes all other capabilities from the bounding set, and executes this program
// again: root then has no others.
func confined(list string) error {
	runtime.LockOSThread()
	keep := strings.Split(list, ",")
	for n := range unix.CAP_LAST_CAP + 1 {
		if slices.Contains(keep, strconv.Itoa(n)) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("drop capability %d: %w", n, err)
		}
	}
	if err := os.Unsetenv(capsEnv); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, os.Environ())
}

// TestAgentCapabilities: with CAP_BPF alone the agent does all of its work. Without CAP_BPF it
// does, too, if the kernel lets anybody open a pinned map (Linux 5.19 and later).
func TestAgentCapabilities(t *testing.T) {
	args := loaded(t)
	var name unix.Utsname
	require.NoError(t, unix.Uname(&name))
	release, _, _ := bytes.Cut(name.Release[:], []byte{0})
	var major, minor int
	_, err := fmt.Sscanf(string(release), "%d.%d", &major, &minor)
	require.NoError(t, err)
	free := major > 5 || major == 5 && minor >= 19
	for _, caps := range []string{strconv.Itoa(unix.CAP_BPF), ""} {
		t.Run("caps "+caps, func(t *testing.T) {
			s := newScene(t)
			a := startAgentIn(t, &syscall.SysProcAttr{}, []string{capsEnv + "=" + caps}, append(args, "--state-dir", filepath.Join(t.TempDir(), "state"))...)
			pid := s.kill(t)
			reported := func() bool {
				for {
					line, ok := a.next(t)
					if !ok {
						return false
					}
					if v := line.Victims[0]; int(v.PID) == pid {
						require.Equal(t, s.id, v.Container.ID)
						return true
					}
				}
			}
			if caps == "" && !free {
				require.NoError(t, a.cmd.Process.Signal(syscall.SIGTERM))
				require.False(t, reported(), "it could not open the maps")
				require.NoError(t, a.cmd.Wait())
				return
			}
			require.True(t, reported())
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.cmd.Process.Pid))
			require.NoError(t, err)
			_, effective, _ := strings.Cut(string(status), "CapEff:\t")
			want := uint64(0)
			if caps != "" {
				want = 1 << unix.CAP_BPF
			}
			require.Equal(t, fmt.Sprintf("%016x", want), effective[:16], "the control: it has no others")
			a.end(t, syscall.SIGTERM)
		})
	}
}
