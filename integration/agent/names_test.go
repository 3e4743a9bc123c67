//go:build linux

package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// names are those that CRI-O (with its monitor's) and cri-dockerd give a container's cgroup
// in its pod's, under either driver, and containerd under the driver that is not the node's.
var names = []string{
	"crio-%s.scope", "crio-conmon-%s.scope", "docker-%s.scope", "crio-%s", "crio-conmon-%s", "cri-containerd-%s.scope", "%s",
}

var fullID = regexp.MustCompile(`[0-9a-f]{64}`)

// killIn has the OOM killer end a process in a cgroup, and returns its line of the log.
func (n *node) killIn(t *testing.T, dir string) Line {
	t.Helper()
	pid := oomtest.KillSmallIn(t, dir)
	require.NotZero(t, pid)
	line, err := n.agent.Find(t.Context(), dir, func(l *Line) bool { return int(l.Victims[0].PID) == pid })
	require.NoError(t, err)
	return line
}

// TestRuntimeNames: a kill in a cgroup of another runtime's name, in the cgroup that the
// real kubelet has made for a pod, has pod, container and an Event. CRI-O and Docker are
// not there: cgroups of their names are, with real kills.
func TestRuntimeNames(t *testing.T) {
	n := setUp(t)
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	m := n.pod(t, "names", limited(256<<20))
	own := n.cgroup(t, m)
	id := fullID.FindString(filepath.Base(own))
	require.NotEmpty(t, id, own)
	for _, name := range names {
		dir := filepath.Join(filepath.Dir(own), fmt.Sprintf(name, id))
		if dir == own {
			continue // containerd's
		}
		t.Run(name, func(t *testing.T) {
			oomtest.MakeCgroup(t, h, dir, 4<<20)
			line := n.killIn(t, dir)
			v := line.Victims[0]
			require.Equal(t, "container", line.Cause)
			require.NotNil(t, v.Pod, "%+v", v)
			require.Equal(t, m.pod, v.Pod.Name)
			require.Equal(t, []string{id, "app", faultkit.Image}, []string{v.Container.ID, v.Container.Name, v.Container.Image})
			n.event(t, m.pod, fmt.Sprintf("(pid %d)", v.PID))
		})
	}
}

// TestForgedCgroups: cgroups that a user of the node makes in a delegated unit, with the
// names of another's pod, a mode that keeps others out, names that are no text and a path
// above PATH_MAX, cost the pod nothing: it gets no report of the user's kills, and all of
// its own.
func TestForgedCgroups(t *testing.T) {
	n := setUp(t)
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	m := n.pod(t, "victim", nil)
	own := n.cgroup(t, m)
	const unit = "oomwitness-forger.service"
	require.NoError(t, faultkit.Run(t.Context(), "systemd-run", "--unit="+unit, "--collect", "-p", "User=nobody", "-p", "Delegate=yes", "sleep", "1000000"))
	t.Cleanup(func() { _ = exec.Command("systemctl", "stop", unit).Run() })
	top := filepath.Join(h.Mount, "system.slice", unit)
	// The kernel wants no process in a cgroup that has controllers for its children.
	require.NoError(t, os.Mkdir(filepath.Join(top, "own"), 0o755))
	pid, err := exec.CommandContext(t.Context(), "systemctl", "show", "--value", "-p", "MainPID", unit).Output()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(top, "own", "cgroup.procs"), pid, 0))
	path := strings.TrimPrefix(own, h.Mount)
	forged := []string{
		path,                                             // kubelet's, in another root
		"/" + filepath.Base(own),                         // the container's name alone
		"/" + fullID.FindString(path),                    // its ID alone
		"/kubepods/" + filepath.Base(path),               // at another depth
		"/\xff\x1b/" + filepath.Base(own),                // no text
		strings.Repeat("/"+strings.Repeat("d", 250), 16), // a child of it is above PATH_MAX
	}
	for _, f := range forged {
		dir := top
		for part := range strings.SplitSeq(strings.Trim(f, "/"), "/") {
			dir = filepath.Join(dir, part)
			if _, err := os.Stat(dir); err != nil {
				oomtest.MakeCgroup(t, h, dir, 0)
			}
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "memory.max"), []byte("4M"), 0))
		require.Nil(t, n.killIn(t, dir).Victims[0].Pod, "%q", dir)
	}
	makeLong(t, filepath.Join(top, forged[len(forged)-1]))
	shut := filepath.Join(top, "shut")
	oomtest.MakeCgroup(t, h, shut, 0)
	require.NoError(t, os.Chown(shut, 65534, 65534))
	require.NoError(t, os.Chmod(shut, 0o700))

	require.NoError(t, n.agent.End(syscall.SIGTERM))
	n.start(t) // beside all of these
	reports, err := n.EventCount(t.Context(), m.pod, "OOMKilling")
	require.NoError(t, err)
	require.Zero(t, reports, "the pod had no kill")
	m.run(t, "hog")
	line, err := n.agent.Find(t.Context(), m.pod, of(m.pod))
	require.NoError(t, err)
	require.Equal(t, "app", line.Victims[0].Container.Name)
	n.event(t, m.pod, "workload (pid ")
}

// makeLong makes a cgroup in dir whose path is longer than the kernel takes in one call.
func makeLong(t *testing.T, dir string) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	name := strings.Repeat("d", 250)
	require.Greater(t, len(dir)+1+len(name), unix.PathMax)
	require.NoError(t, root.Mkdir(name, 0o755))
	t.Cleanup(func() { require.NoError(t, errors.Join(root.Remove(name), root.Close())) })
}

// TestStaticClaimed: a pod of the API with kubelet's annotations of a static pod has none
// of the static pod's kills.
func TestStaticClaimed(t *testing.T) {
	n := setUp(t)
	require.NoError(t, withStatic(t.Context()))
	name := kinds[len(kinds)-1].make(t, n, "claimed")
	line, err := n.agent.Find(t.Context(), name, of(name))
	require.NoError(t, err)
	dir := line.Victims[0].Cgroup.Path
	hash := regexp.MustCompile(`pod([0-9a-f]{32})`).FindStringSubmatch(dir)
	require.NotNil(t, hash, dir)
	claim := sleeping("claims")
	claim.Annotations = map[string]string{"kubernetes.io/config.hash": hash[1], "kubernetes.io/config.source": "file"}
	n.made(t, claim)
	require.NoError(t, faultkit.Until(t.Context(), "the claim to run", func() error {
		pod, err := n.Get(t.Context(), claim.Name)
		if err == nil && pod.Status.Phase != corev1.PodRunning {
			err = fmt.Errorf("it is %s", pod.Status.Phase)
		}
		return err
	}))
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	// The static pod's other container runs still.
	again := filepath.Join(h.Mount, filepath.Dir(dir), strings.Repeat("ab", 32))
	oomtest.MakeCgroup(t, h, again, 4<<20)
	v := n.killIn(t, again).Victims[0]
	require.NotNil(t, v.Pod)
	require.Equal(t, name, v.Pod.Name)
	n.event(t, name, fmt.Sprintf("(pid %d)", v.PID))
	messages, err := n.Messages(t.Context(), claim.Name, "OOMKilling")
	require.NoError(t, err)
	require.Empty(t, messages)
}
