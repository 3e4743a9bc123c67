package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/agent/agenttest"
)

// nextLine returns the next line of the log with a message.
func (a *agentProcess) nextLine(t *testing.T, message string) map[string]any {
	t.Helper()
	for a.log.Scan() {
		var line map[string]any
		require.NoError(t, json.Unmarshal(a.log.Bytes(), &line), "%s", a.log.Bytes())
		if text, _ := line["msg"].(string); strings.HasPrefix(text, message) {
			return line
		}
	}
	require.FailNow(t, "the log has ended", message)
	return nil
}

// get asks the agent at the address of its log.
func (a *agentProcess) get(t *testing.T, address, path string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(body)
}

// TestAgentStartsAlways: the agent works without a missing part, reports the missing part in
// its log and in /readyz, and uses the part when it is back.
func TestAgentStartsAlways(t *testing.T) {
	pins := loaded(t)
	for name, test := range map[string]struct {
		spoil func(t *testing.T, disk string) (heal func())
		why   string
	}{
		"full disk":      {agenttest.Fill, "no space left on device"},
		"read-only disk": {agenttest.ReadOnly, "read-only file system"},
		"a file in the directory's place": {why: "not a directory", spoil: func(t *testing.T, disk string) func() {
			state := filepath.Join(disk, "state")
			require.NoError(t, os.WriteFile(state, nil, 0o600))
			return func() { require.NoError(t, os.Remove(state)) }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			disk := agenttest.Disk(t)
			heal := test.spoil(t, disk)
			args := append(pins, "--state-dir", filepath.Join(disk, "state"), "--kubelet-cgroup-root", s.root,
				"--address", "/nowhere/containerd.sock", "--metrics-address", "127.0.0.1:0")
			a := startAgent(t, args...)
			address := fmt.Sprint(a.nextLine(t, "serves metrics")["address"])
			require.Contains(t, fmt.Sprint(a.nextLine(t, "the agent runs without its journal")["error"]), test.why)
			pid := s.kill(t)
			for {
				line, ok := a.next(t)
				require.True(t, ok)
				if int(line.Victims[0].PID) == pid {
					require.Equal(t, s.uid, line.Victims[0].Pod.UID)
					break
				}
			}
			status, body := a.get(t, address, "/readyz")
			require.Equal(t, http.StatusOK, status, body)
			require.Contains(t, body, "without journal: ")
			require.Contains(t, body, test.why)
			require.Contains(t, body, "without names from containerd: ")
			heal()
			a.nextLine(t, "the journal is written again")
			_, body = a.get(t, address, "/readyz")
			require.NotContains(t, body, "journal")
			_, body = a.get(t, address, "/metrics")
			require.Contains(t, body, "\noomwitness_journal_up 1\n")
			for _, line := range a.end(t, syscall.SIGTERM) {
				require.NotEqual(t, pid, int(line.Victims[0].PID))
			}
		})
	}
}

// TestAgentWithoutLedger: the agent waits for a ledger.
func TestAgentWithoutLedger(t *testing.T) {
	pins := pinned(t)
	s := newScene(t)
	a := startAgent(t, append(pins, "--state-dir", filepath.Join(t.TempDir(), "state"), "--metrics-address", "127.0.0.1:0")...)
	address := fmt.Sprint(a.nextLine(t, "serves metrics")["address"])
	require.Eventually(t, func() bool {
		status, body := a.get(t, address, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "ledger")
	}, 20*time.Second, 10*time.Millisecond)
	_, err := execute(t, append([]string{"load"}, pins...)...)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := execute(t, append([]string{"unload"}, pins...)...)
		require.True(t, err == nil || errors.Is(err, os.ErrNotExist), "%v", err)
	})
	require.Eventually(t, func() bool {
		status, _ := a.get(t, address, "/readyz")
		return status == http.StatusOK
	}, 20*time.Second, 10*time.Millisecond)
	pid := s.kill(t)
	for {
		line, ok := a.next(t)
		require.True(t, ok)
		if int(line.Victims[0].PID) == pid {
			break
		}
	}
	a.end(t, syscall.SIGTERM)
}

// TestAgentBesideCgroupsItCannotRead: the agent has the capability of chart and unit alone. A
// cgroup of mode 0700, and one whose name is not UTF-8, lose their own names, and no other
// cgroup does.
func TestAgentBesideCgroupsItCannotRead(t *testing.T) {
	pins := loaded(t)
	s := newScene(t)
	shut := filepath.Join(s.h.Mount, s.root+"-shut")
	for _, dir := range []string{shut, filepath.Join(s.h.Mount, s.root+"-\xff\x1b")} {
		require.NoError(t, os.Mkdir(dir, 0o700))
		t.Cleanup(func() { require.NoError(t, unix.Rmdir(dir)) })
	}
	require.NoError(t, os.Chown(shut, 65534, 65534))
	a := startAgentIn(t, &syscall.SysProcAttr{}, []string{capsEnv + "=" + strconv.Itoa(unix.CAP_BPF)}, append(pins,
		"--state-dir", filepath.Join(t.TempDir(), "state"), "--kubelet-cgroup-root", s.root, "--metrics-address", "127.0.0.1:0")...)
	address := fmt.Sprint(a.nextLine(t, "serves metrics")["address"])
	pid := s.kill(t)
	for {
		line, ok := a.next(t)
		require.True(t, ok)
		if v := line.Victims[0]; int(v.PID) == pid {
			require.Equal(t, s.id, v.Container.ID)
			require.Equal(t, s.uid, v.Pod.UID)
			break
		}
	}
	_, body := a.get(t, address, "/metrics")
	require.Regexp(t, `\noomwitness_cgroups_skipped [1-9]`, body)
	a.end(t, syscall.SIGTERM)
}
