package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// TestAgentNamesSender: of a container that no shim of ours has, the agent says who has
// killed its init, and the ledger forgets the signal. The agent needs for that neither the
// node's PIDs, nor containerd's socket, nor any capability but CAP_BPF.
func TestAgentNamesSender(t *testing.T) {
	t.Run("on the node", func(t *testing.T) { namesSender(t, &syscall.SysProcAttr{}) })
	t.Run("in a pod", func(t *testing.T) { namesSender(t, asInPod, capsEnv+"="+strconv.Itoa(unix.CAP_BPF)) })
}

func namesSender(t *testing.T, attr *syscall.SysProcAttr, env ...string) {
	t.Helper()
	s := newScene(t)
	pins := loaded(t)
	init := exec.Command("sleep", "600")
	init.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	require.NoError(t, init.Start())
	t.Cleanup(func() { _ = init.Process.Kill() })
	oomtest.Join(t, s.container, init.Process.Pid)
	a := startAgentIn(t, attr, env, append(pins, "--state-dir", filepath.Join(t.TempDir(), "state"), "--kubelet-cgroup-root", s.root)...)
	pid := s.kill(t) // of another process: the agent is at work
	for {
		line, ok := a.next(t)
		require.True(t, ok, "the log has ended")
		if int(line.Victims[0].PID) == pid {
			break
		}
	}
	require.NoError(t, init.Process.Kill())
	_ = init.Wait()
	said := false
	for !said && a.log.Scan() {
		var line struct {
			Msg, Container, Sender string
			Pid                    int
		}
		require.NoError(t, json.Unmarshal(a.log.Bytes(), &line), "%s", a.log.Bytes())
		if line.Msg != agenttest.KilledMessage || line.Pid != init.Process.Pid {
			continue
		}
		t.Logf("%s", a.log.Bytes())
		require.Equal(t, s.id, line.Container)
		require.Contains(t, line.Sender, filepath.Base(os.Args[0])[:10])
		said = true
	}
	require.True(t, said, "the log has ended")
	l, err := bpf.Open(pins[1])
	require.NoError(t, err)
	defer l.Close()
	require.Eventually(t, func() bool {
		list, err := l.Senders()
		require.NoError(t, err)
		for _, sender := range list {
			if sender.Init.TGID == uint32(init.Process.Pid) {
				return false
			}
		}
		return true
	}, time.Minute, 100*time.Millisecond, "the ledger keeps the signal")
	a.end(t, syscall.SIGTERM)
}
