package main

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAgentBelievesNoName: a cgroup that is named as kubelet names a pod's, and is not
// in kubelet's root, is no pod's.
func TestAgentBelievesNoName(t *testing.T) {
	pins := loaded(t)
	s := newScene(t)
	a := startAgent(t, append(pins, "--state-dir", filepath.Join(t.TempDir(), "state"))...)
	pid := s.kill(t)
	for {
		line, ok := a.next(t)
		require.True(t, ok)
		if v := line.Victims[0]; int(v.PID) == pid {
			require.Nil(t, v.Pod)
			require.Equal(t, s.container[len(s.h.Mount):], v.Cgroup.Path)
			break
		}
	}
	a.end(t, syscall.SIGTERM)
}
