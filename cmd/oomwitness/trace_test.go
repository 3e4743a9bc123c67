package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/trace"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// pinned loads a ledger of the test's own, and returns the flags for it.
func pinned(t *testing.T) []string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to load BPF programs and make cgroups")
	}
	bpffs := filepath.Join(t.TempDir(), "bpf")
	require.NoError(t, os.Mkdir(bpffs, 0o700))
	if err := unix.Mount("bpf", bpffs, "bpf", 0, "mode=0700"); err != nil {
		t.Skipf("needs a BPF file system: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(bpffs, unix.MNT_DETACH)) })
	return []string{"--dir", filepath.Join(bpffs, "ledger"), "--lock-dir", t.TempDir()}
}

// scene is a pod with a limited container, as the cgroupfs driver makes it.
type scene struct {
	h              oom.Hierarchy
	pod, container string // directories
	id, uid        string
	root           string // kubelet's --cgroup-root
}

func newScene(t *testing.T) *scene {
	t.Helper()
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	s := &scene{h: h, id: fmt.Sprintf("%064x", time.Now().UnixNano()), uid: "0f7a2b1c-0000-4000-8000-000000000001"}
	dir := filepath.Join(h.Mount, fmt.Sprintf("oomwitness-cmd-%d", time.Now().UnixNano()))
	s.root = strings.TrimPrefix(dir, h.Mount)
	for _, name := range []string{"", "kubepods", "pod" + s.uid, s.id} {
		dir = filepath.Join(dir, name)
		limit := int64(0)
		if name == s.id {
			limit = oomtest.RealLimit
		}
		oomtest.MakeCgroup(t, h, dir, limit)
	}
	s.container, s.pod = dir, filepath.Dir(dir)
	return s
}

// kill has the OOM killer end process 1 of a PID namespace in the container, and returns its
// PID.
func (s *scene) kill(t *testing.T) int {
	t.Helper()
	return oomtest.KillIn(t, s.container, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID})
}

// check compares an event with the expected kill.
func (s *scene) check(t *testing.T, line []byte, pid int) {
	t.Helper()
	t.Logf("%s", line)
	var e trace.Line
	require.NoError(t, json.Unmarshal(line, &e))
	require.Equal(t, agenttest.Schema, e.Schema)
	require.EqualValues(t, pid, e.Victim.PID)
	require.True(t, e.Victim.Init)
	require.WithinDuration(t, time.Now(), e.Time, time.Minute)
	require.Equal(t, strings.TrimPrefix(s.container, s.h.Mount), e.Cgroup.Path)
	require.Equal(t, s.id, e.Container.ID)
	require.Equal(t, s.uid, e.Pod.UID)
	if e.Memory.RSS != nil {
		require.Greater(t, *e.Memory.RSS, uint64(oomtest.RealLimit/2))
	}
	if e.Tier == "C" {
		require.Equal(t, oom.CauseUnknown, e.Cause)
		require.Nil(t, e.Domain)
		return
	}
	require.Equal(t, oom.CauseContainer, e.Cause)
	require.Equal(t, e.Cgroup.ID, e.Domain.ID)
}

// TestLoadTraceUnload runs an operator's session on this machine's kernel.
func TestLoadTraceUnload(t *testing.T) {
	pins := pinned(t)
	with := func(args ...string) []string { return append(args, pins...) }
	_, err := execute(t, with("trace")...)
	require.ErrorContains(t, err, "load it with: oomwitness load")
	out, err := execute(t, with("load")...)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = execute(t, with("unload")...) })
	t.Log(out)
	require.Contains(t, out, "loaded the ledger: tier ")
	out, err = execute(t, with("load", "-o", "json")...)
	require.NoError(t, err)
	require.Contains(t, out, `"action":"unchanged"`)

	s := newScene(t)
	first := s.kill(t)
	past := with("trace", "--kubelet-cgroup-root", s.root, "--follow=false", "-o", "json", "--address", "", "--container", s.id[:20])
	out, err = execute(t, past...)
	require.NoError(t, err)
	s.check(t, []byte(out), first)
	out, err = execute(t, with("trace", "--follow=false", "--address", "", "--container", s.id)...)
	require.NoError(t, err)
	t.Log("\n" + out)
	require.Contains(t, out, s.id[:12])

	s.follow(t, with, first)

	out, err = execute(t, with("unload")...)
	require.NoError(t, err)
	require.Contains(t, out, "removed the ledger")
	out, err = execute(t, with("unload")...)
	require.NoError(t, err)
	require.Contains(t, out, "no ledger was loaded")
}

// follow reads past kills and a new one as it happens, and ends the trace by Ctrl-C.
func (s *scene) follow(t *testing.T, with func(...string) []string, first int) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	in, out := io.Pipe()
	ended := make(chan error, 1)
	var stderr bytes.Buffer
	go func() {
		err := run(ctx, with("trace", "--kubelet-cgroup-root", s.root, "-o", "json", "--address", "", "--container", s.id), out, &stderr)
		ended <- err
		out.CloseWithError(err)
	}()
	lines := bufio.NewScanner(in)
	require.True(t, lines.Scan(), "the kill before")
	s.check(t, lines.Bytes(), first)
	_, err := execute(t, with("trace")...)
	require.ErrorContains(t, err, "another trace follows the kills already")
	second := s.kill(t)
	require.True(t, lines.Scan(), "the kill meanwhile")
	s.check(t, lines.Bytes(), second)
	interrupt()
	require.False(t, lines.Scan())
	require.NoError(t, <-ended)
	require.Empty(t, stderr.String())
}
