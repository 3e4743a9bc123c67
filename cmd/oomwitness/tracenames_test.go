package main

import (
	"encoding/json"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/trace"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// TestTraceAsksTheAgent: the agent knows the names of a removed cgroup and its pod. The table,
// the JSON form and --container use them.
func TestTraceAsksTheAgent(t *testing.T) {
	s := newScene(t)
	pins := loaded(t)
	a := startAgent(t, append(pins, "--state-dir", filepath.Join(t.TempDir(), "state"), "--kubelet-cgroup-root", s.root, "--metrics-address", "127.0.0.1:0")...)
	address := ""
	for address == "" {
		require.True(t, a.log.Scan(), "the log has ended")
		var line struct{ Msg, Address string }
		require.NoError(t, json.Unmarshal(a.log.Bytes(), &line))
		if line.Msg == "serves metrics" {
			address = line.Address
		}
	}
	pid := s.kill(t)
	for {
		line, ok := a.next(t)
		require.True(t, ok, "the log has ended")
		if line.Victims[0].Container != nil && line.Victims[0].Container.ID == s.id {
			break
		}
	}
	for _, dir := range []string{s.container, s.pod} {
		oomtest.RemoveCgroup(t, dir)
	}
	with := func(args ...string) string {
		t.Helper()
		out, err := execute(t, append(append([]string{"trace", "--follow=false", "--address", "", "--kubelet-cgroup-root", s.root}, pins...), args...)...)
		require.NoError(t, err)
		t.Logf("%v:\n%s", args, out)
		return out
	}
	alone := with("--comm", "tail", "--agent", "")
	require.Contains(t, alone, "(removed)")
	require.NotContains(t, alone, "/"+s.id[:12])
	require.Contains(t, with("--comm", "tail", "--agent", address), "pod 0f7a…")
	require.NotContains(t, with("--container", s.id, "--agent", address), "(removed)")
	require.Contains(t, with("-o", "wide", "--agent", address), "pod "+s.uid+"/"+s.id[:12])
	var e trace.Line
	require.NoError(t, json.Unmarshal([]byte(with("-o", "json", "--agent", address, "--container", s.id)), &e))
	require.EqualValues(t, pid, e.Victim.PID)
	require.Equal(t, s.uid, e.Pod.UID)
	a.end(t, syscall.SIGTERM)
}
