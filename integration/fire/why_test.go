//go:build linux

package fire

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/shimtest"
	"github.com/oomwitness/oomwitness/why"
)

// whyCommand runs "oomwitness why" on a node without an agent.
type whyCommand struct{ path, state string }

func newWhy(t *testing.T, n *shimtest.Node) whyCommand {
	state := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(n.Dir, "state"), filepath.Join(state, "io.containerd.runtime.v2.task")))
	return whyCommand{shimtest.Command(t), state}
}

// run returns the output and the exit status.
func (w whyCommand) run(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), w.path, append([]string{"why", "--address", "", "--state", w.state}, args...)...)
	out, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// document returns the answer of -o json.
func (w whyCommand) document(t *testing.T, args ...string) (why.Document, int) {
	t.Helper()
	out, status := w.run(t, append(args, "-o", "json")...)
	var d why.Document
	require.NoError(t, json.Unmarshal([]byte(out), &d), out)
	return d, status
}

func inPod(pod, container string) func(*specs.Spec) {
	return func(s *specs.Spec) {
		for name, value := range map[string]string{
			"sandbox-name": pod, "sandbox-namespace": "shop", "sandbox-uid": "u", "container-name": container, "image-name": "example.com/web:1",
		} {
			s.Annotations["io.kubernetes.cri."+name] = value
		}
	}
}

// TestWhy asks for each way to end on a node without an agent, while the container exists and
// after its deletion.
func TestWhy(t *testing.T) {
	n := node(t, "", inKubernetes)
	command := newWhy(t, n)
	pod := strings.ToLower(n.Name())
	for name, test := range map[string]struct {
		args   []string
		end    func(t *testing.T, c *shimtest.Box)
		status uint32
		code   int
		ended  string
		says   []string
	}{
		"oom": {[]string{"hog"}, nil, 137, why.StatusOOM, why.EndedOOM,
			[]string{"OOMKilled", "the OOM killer: ", "victim", "workload (pid ", "limit 32.0Mi", "what to do"}},
		"child-oom": {[]string{"child-oom-exit", "1"}, nil, 1, why.StatusOOM, why.EndedOOM, []string{"OOMKilled", "exit status  1\n"}},
		"exit-3":    {[]string{"exit", "3"}, nil, 3, 0, why.EndedExited, []string{"exited by itself", "exit status  3\n"}},
		"stopped": {[]string{"trap-term", "0"}, func(t *testing.T, c *shimtest.Box) {
			require.NoError(t, c.Stdio.WaitOutput(deadline(t), "ready"))
			require.NoError(t, c.Kill(deadline(t), uint32(unix.SIGTERM)))
		}, 0, 0, why.EndedStopped, []string{"stopped as asked", "asked for    SIGTERM"}},
		"signal": {[]string{"sleep", "1000"}, func(t *testing.T, c *shimtest.Box) { kill(t, c, unix.SIGKILL) }, 137, 0, why.EndedSignal,
			[]string{"killed by a signal", "SIGKILL, which nobody asked containerd for", "sent by"}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			c := n.Run(n.Name()+"-"+name, shimtest.Args(test.args...), small, inPod(pod, name))
			if test.end != nil {
				d, status := command.document(t, c.ID)
				require.Zero(t, status)
				require.True(t, d.Runs[0].Running)
				require.Equal(t, c.Pid, d.Runs[0].PID)
				test.end(t, c)
			}
			get(t, watchWait(ctx, c), test.status)
			require.NoError(t, c.Shim.WaitLog(ctx, "msg=verdict"))
			before, status := command.document(t, c.ID)
			require.Equal(t, test.code, status)
			end(t, c)
			require.NoError(t, c.Remove())
			after, status := command.document(t, c.ID)
			require.Equal(t, test.code, status)
			require.Len(t, before.Runs, 1)
			require.Len(t, after.Runs, 1)
			require.Equal(t, test.ended, before.Runs[0].Verdict.Ended)
			require.Equal(t, test.ended, after.Runs[0].Verdict.Ended, "the container is gone")
			out, _ := command.run(t, "shop/"+pod+"/"+name)
			for _, text := range test.says {
				require.Contains(t, out, text)
			}
			t.Logf("\n%s", regexp.MustCompile(regexp.QuoteMeta(pod)).ReplaceAllString(out, "web-7d4b9c-x2x8v"))
		})
	}
}

// TestWhyRestarted: for a container that was restarted five times, the answer has the newest
// run in full and a line for each other run. --previous shows the run before the newest.
func TestWhyRestarted(t *testing.T) {
	n := node(t, "", inKubernetes)
	command := newWhy(t, n)
	pod := strings.ToLower(n.Name())
	for i, args := range [][]string{{"hog"}, {"exit", "0"}, {"exit", "3"}, {"hog"}, {"exit", "4"}} {
		c := n.Run(n.Name()+"-run-"+string(rune('a'+i)), shimtest.Args(args...), small, inPod(pod, "app"))
		<-watchWait(deadline(t), c)
		end(t, c)
	}
	d, status := command.document(t, "shop/"+pod)
	require.Zero(t, status)
	require.Len(t, d.Runs, 5)
	require.Equal(t, 4, *d.Runs[0].Status)
	require.Equal(t, &why.Recent{Hours: 24, Runs: 5, OOM: 2}, d.Runs[0].Recent)
	out, status := command.run(t, pod, "--previous")
	require.Equal(t, why.StatusOOM, status)
	require.Contains(t, out, "OOMKilled")
	require.Contains(t, out, "earlier runs")
}

// TestWhyUsage: bad use gives one line and the exit status.
func TestWhyUsage(t *testing.T) {
	n := node(t, "", inKubernetes)
	command := newWhy(t, n)
	for want, args := range map[string][]string{
		`0 arguments: allowed is one`:            {},
		`"a/b/c/d": allowed are`:                 {"a/b/c/d"},
		`"../x": allowed are`:                    {"../x"},
		`--output "yaml": allowed are text`:      {"x", "-o", "yaml"},
		`--container "A": allowed are`:           {"x", "-c", "A"},
		`--namespace "b" with "a/x": allowed is`: {"a/x", "-n", "b"},
		`--spool "x": has to be an absolute`:     {"x", "--spool", "x"},
		`unknown flag: --nope`:                   {"x", "--nope"},
	} {
		out, status := command.run(t, args...)
		require.Equal(t, why.StatusUsage, status, out)
		require.Equal(t, 1, strings.Count(out, "\n"), out)
		require.Contains(t, out, want)
	}
	out, status := command.run(t, "no-such-pod")
	require.Equal(t, why.StatusNotFound, status)
	require.Contains(t, out, `nothing is known of "no-such-pod"`)
	out, status = command.run(t, "no-such-pod", "--spool", "/nonexistent", "--state", "/nonexistent")
	require.Equal(t, why.StatusNotFound, status)
	require.Contains(t, out, "neither the spool of exits (/nonexistent) nor the bundles")
}
