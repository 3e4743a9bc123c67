package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/oom/oomtest"
	"github.com/oomwitness/oomwitness/why"
)

// victimOf returns the victim with a PID.
func (a *agentProcess) victimOf(t *testing.T, pid int) *agenttest.Victim {
	t.Helper()
	for {
		line, ok := a.next(t)
		require.True(t, ok)
		if v := &line.Victims[0]; int(v.PID) == pid {
			return v
		}
	}
}

// TestAgentBelievesNoName: a cgroup that is named as kubelet names a pod's, and is not
// in kubelet's root, is no pod's.
func TestAgentBelievesNoName(t *testing.T) {
	pins := loaded(t)
	s := newScene(t)
	a := startAgent(t, append(pins, "--state-dir", filepath.Join(t.TempDir(), "state"))...)
	v := a.victimOf(t, s.kill(t))
	require.Nil(t, v.Pod)
	require.Equal(t, s.container[len(s.h.Mount):], v.Cgroup.Path)
	a.end(t, syscall.SIGTERM)
}

// TestAgentLearnsRoot: the agent finds kubelet's cgroup root by its own pod, else in
// kubelet's configuration, unless a flag says the root; it believes no other file. Kills
// below that root are the pod's, kills below another are not.
func TestAgentLearnsRoot(t *testing.T) {
	pins := loaded(t)
	s := newScene(t)
	own := filepath.Join(s.pod, "agent")
	oomtest.MakeCgroup(t, s.h, own, 0)
	config := func(mode os.FileMode, root string) []string {
		file := filepath.Join(t.TempDir(), "config.yaml")
		require.NoError(t, os.WriteFile(file, []byte("kind: KubeletConfiguration\ncgroupRoot: "+root+"\n"), mode))
		return []string{"--kubelet-config", file}
	}
	inPod := []string{cgroupEnv + "=" + own, "POD_UID=" + s.uid}
	for name, c := range map[string]struct {
		env, flags []string
		source     string
		warning    string // of the log
		named      bool
	}{
		"own pod":                     {env: inPod, flags: config(0o600, "/other"), source: "own pod", named: true},
		"own pod, and a flag":         {env: inPod, flags: []string{"--kubelet-cgroup-root", "/other"}, source: "flag"},
		"own pod of another name":     {env: []string{cgroupEnv + "=" + own, "POD_UID=" + s.uid[1:]}, source: "default", warning: "kubelet has the pod " + s.uid[1:]},
		"the name of another's pod":   {env: []string{"POD_UID=" + s.uid}, source: "default", warning: "has this process"},
		"configuration":               {flags: config(0o600, s.root), source: "kubelet configuration", named: true},
		"configuration of no root":    {flags: config(0o600, "kubelet"), source: "default", warning: `cgroupRoot "kubelet": has to be an absolute path`},
		"configuration for everybody": {flags: config(0o600, s.root), source: "default", warning: "nobody else can write"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "configuration for everybody" {
				require.NoError(t, os.Chmod(c.flags[1], 0o666)) // beside the umask
			}
			a := startAgentIn(t, asInPod, c.env, append(append(pins, "--state-dir", filepath.Join(t.TempDir(), "state"),
				"--metrics-address", "127.0.0.1:0"), c.flags...)...)
			address := fmt.Sprint(a.nextLine(t, "serves metrics")["address"])
			if c.warning != "" {
				require.Contains(t, a.nextLine(t, "kubelet's cgroup root is not taken from there")["error"], c.warning)
			}
			require.Equal(t, c.source, a.nextLine(t, "pods are looked for below kubepods")["source"])
			v := a.victimOf(t, s.kill(t))
			require.Equal(t, c.named, v.Pod != nil && v.Pod.UID == s.uid && v.Container.ID == s.id, "%+v", v)
			code, body := a.get(t, address, why.PathStatus)
			require.Equal(t, http.StatusOK, code)
			var status why.Status
			require.NoError(t, json.Unmarshal([]byte(body), &status))
			require.Equal(t, c.source, status.KubeletCgroupRootSource)
			require.Equal(t, c.named, status.KubeletCgroupRoot[0] == s.root)
			a.end(t, syscall.SIGTERM)
		})
	}
	_, err := execute(t, "agent", "--kubelet-cgroup-root", "kubelet")
	require.ErrorContains(t, err, `--kubelet-cgroup-root: "kubelet": has to be an absolute path`)
	_, err = execute(t, "trace", "--kubelet-config", "config.yaml")
	require.ErrorContains(t, err, `--kubelet-config "config.yaml": has to be an absolute path`)
}
