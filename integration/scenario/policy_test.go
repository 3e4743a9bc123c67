//go:build linux

package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/mix"
	"github.com/oomwitness/oomwitness/oom"
)

const (
	groupFile  = "memory.oom.group"
	survived   = "the OOM killer ended a process of the container"
	criName    = "io.kubernetes.cri.container-name"
	policyName = "oomwitness.io/"
)

// asKubelet is what kubelet asks for unless singleProcessOOMKill is set.
func asKubelet(group string) map[string]string { return map[string]string{groupFile: group} }

// workers has three idle processes under init, and one that hogs.
func workers(group string, annotations map[string]string) mix.Container {
	return mix.Container{
		Args: []string{"multi", "3"}, Limit: 24 * mix.MiB, Output: true,
		Unified: asKubelet(group), Annotations: annotations,
	}
}

func policy(pairs ...string) map[string]string {
	annotations := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		annotations[policyName+pairs[i]] = pairs[i+1]
	}
	return annotations
}

// cgroupFile reads a file of a running container's cgroup.
func cgroupFile(r *mix.Running, name string) (string, error) {
	dir, err := oom.Hierarchy{Version: 2, Mount: "/sys/fs/cgroup"}.PathOf(int(r.Task.Pid()))
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", dir, name))
	return strings.TrimSpace(string(data)), err
}

// steps does one thing after the other.
func steps(acts ...func(context.Context, *mix.Running) error) func(context.Context, *mix.Running) error {
	return func(ctx context.Context, r *mix.Running) error {
		for _, act := range acts {
			if err := act(ctx, r); err != nil {
				return err
			}
		}
		return nil
	}
}

// is wants a file of the container's cgroup to have that text.
func is(name, want string) func(context.Context, *mix.Running) error {
	return func(_ context.Context, r *mix.Running) error {
		got, err := cgroupFile(r, name)
		if err == nil && got != want {
			err = fmt.Errorf("%s is %q, want %q", name, got, want)
		}
		return err
	}
}

// update asks as CRI does when kubelet resizes a container.
func update(limit int64, group string) func(context.Context, *mix.Running) error {
	return func(ctx context.Context, r *mix.Running) error {
		return r.Task.Update(ctx, client.WithResources(&specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: &limit}, Unified: asKubelet(group),
		}))
	}
}

// lasts has systemd write what it knows of the container's cgroup again, by a
// reload and by another property, and wants the group to be as it was.
func lasts(t *testing.T, want string) func(context.Context, *mix.Running) error {
	return func(_ context.Context, r *mix.Running) error {
		if mix.DriverHere() != mix.Systemd {
			return nil
		}
		scope := "oomw-" + r.Task.ID() + ".scope"
		settled := func() bool {
			output(t, "systemctl", "show", scope) // answered when what was queued before is written
			got, err := cgroupFile(r, groupFile)
			return err == nil && got == want
		}
		output(t, "systemctl", "daemon-reload")
		require.Eventually(t, settled, time.Minute, 20*time.Millisecond, "after a reload")
		output(t, "systemctl", "set-property", "--runtime", scope, "MemoryHigh=1G")
		require.Eventually(t, func() bool {
			high, err := cgroupFile(r, "memory.high")
			return err == nil && high == "1073741824" && settled()
		}, time.Minute, 20*time.Millisecond, "after a change of a property")
		return nil
	}
}

// TestOneWorkerKilled has one of several processes killed, under a kubelet that
// asks for the whole group: the container runs on, and the kill can be seen.
func TestOneWorkerKilled(t *testing.T) {
	r := runner(t)
	c := mix.Case{
		Name: "one-worker", Container: workers("1", policy("oom-group", "false")),
		Want: mix.Want{Status: 143, Init: oom.No, Kills: 1},
	}
	c.Act = steps(is(groupFile, "0"), mix.ChildDied, lasts(t, "0"),
		func(_ context.Context, run *mix.Running) error {
			procs, err := cgroupFile(run, "cgroup.procs")
			require.Len(t, strings.Fields(procs), 4, "init and three workers")
			require.Equal(t, "1", logLine(t, survived, run.Task.ID())["kills"])
			kills := slices.DeleteFunc(traced(t), func(e event) bool {
				return e.Container == nil || e.Container.ID != run.Task.ID()
			})
			require.Len(t, kills, 1)
			require.False(t, kills[0].Victim.OOMGroup)
			return err
		}, mix.ClientKill(syscall.SIGTERM))
	o, err := r.Run(t.Context(), mix.Ours, c, mix.ByWait)
	require.NoError(t, err)
	checkWhole(t, c, o)
}

// TestAllWorkersKilled is the control, and the reverse: by kubelet's own setting,
// and by the annotation against it.
func TestAllWorkersKilled(t *testing.T) {
	r := runner(t)
	for name, container := range map[string]mix.Container{
		"by-kubelet":    workers("1", nil),
		"by-annotation": workers("0", policy("oom-group", "true")),
	} {
		t.Run(name, func(t *testing.T) {
			c := mix.Case{
				Name: name, Container: container,
				Want: mix.Want{OOM: true, Status: 137, Cause: "container", Init: oom.Yes},
			}
			o, err := r.Run(t.Context(), mix.Ours, c, mix.ByWait)
			require.NoError(t, err)
			checkWhole(t, c, o)
		})
	}
}

// TestOneOfTwo has a policy for one of two containers of a pod.
func TestOneOfTwo(t *testing.T) {
	r := runner(t)
	pod := policy("oom-group.first", "false", "oom-exit-code.second", "217")
	hold(t, r, "podoftwo")
	for name, want := range map[string]mix.Want{
		"first":  {Status: 143, Init: oom.No, Kills: 1},
		"second": {OOM: true, Status: 217, Cause: "container", Init: oom.Yes},
	} {
		t.Run(name, func(t *testing.T) {
			c := mix.Case{Name: name, Pod: "podoftwo", Container: workers("1", pod), Want: want}
			c.Annotations = map[string]string{criName: name}
			for k, v := range pod {
				c.Annotations[k] = v
			}
			if !want.OOM {
				c.Act = steps(mix.ChildDied, mix.ClientKill(syscall.SIGTERM))
			}
			o, err := r.Run(t.Context(), mix.Ours, c, mix.ByWait)
			require.NoError(t, err)
			check(t, c, o)
		})
	}
}

// TestPolicyHoldsAtAnUpdate changes the limit while kubelet asks otherwise, and
// has a process killed at the new one.
func TestPolicyHoldsAtAnUpdate(t *testing.T) {
	r := runner(t)
	output(t, oomwitness, "load")
	const limit = 40 * mix.MiB
	for name, test := range map[string]struct {
		policy, kubelet, want string
		outcome               mix.Want
	}{
		"single": {"false", "1", "0", mix.Want{Status: 143, Init: oom.No, Kills: 1}},
		"group":  {"true", "0", "1", mix.Want{OOM: true, Status: 137, Cause: "container", Init: oom.Yes, Kills: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			before := meta(t)
			c := mix.Case{Name: "resized-" + name, Want: test.outcome, Container: mix.Container{
				Args: []string{"trap-term", "143"}, Limit: 24 * mix.MiB, Output: true,
				Unified: asKubelet(test.kubelet), Annotations: policy("oom-group", test.policy),
			}}
			c.Act = mix.Then(is(groupFile, test.want), update(limit, test.kubelet), is(groupFile, test.want),
				is("memory.max", fmt.Sprint(limit)), lasts(t, test.want), mix.ExecKilled,
				func(ctx context.Context, r *mix.Running) error {
					if test.outcome.OOM {
						return nil
					}
					return r.Task.Kill(ctx, syscall.SIGTERM)
				})
			o, err := r.Run(t.Context(), mix.Ours, c, mix.ByWait)
			require.NoError(t, err)
			checkWhole(t, c, o)
			records := recordsAfter(t, before.Seq)
			require.NotEmpty(t, records)
			if records[0].TotalPages != 0 { // tier C does not know it
				require.EqualValues(t, limit/os.Getpagesize(), records[0].TotalPages, "pages of the limit that fired")
			}
		})
	}
}

// TestExitCode has a status of the pod's choice for an OOM and nothing else, by
// each API path. The verdict keeps the true one.
func TestExitCode(t *testing.T) {
	r := runner(t)
	paths := map[string]mix.APIPath{"": mix.ByWait, "-by-state": mix.ByState, "-by-delete": mix.ByDelete}
	for _, test := range []struct {
		name string
		mix.Container
		act   func(context.Context, *mix.Running) error
		true  string
		want  mix.Want
		paths []string
	}{
		{"hog", mix.Container{Args: []string{"hog"}, Limit: 24 * mix.MiB}, nil, "137",
			mix.Want{OOM: true, Status: 217, Init: oom.Yes}, []string{"", "-by-state", "-by-delete"}},
		{"parent", mix.Container{Args: []string{"child-oom-exit", "1"}, Limit: 24 * mix.MiB}, nil, "1",
			mix.Want{OOM: true, Status: 217, Init: oom.No}, []string{""}},
		{"killed", mix.Container{Args: []string{"trap-term", "0"}, Output: true}, mix.Then(mix.KillFromHost(syscall.SIGKILL)), "137",
			mix.Want{Status: 137}, []string{""}},
		{"fails", mix.Container{Args: []string{"exit", "1"}}, nil, "1", mix.Want{Status: 1}, []string{""}},
		{"stopped", mix.Container{Args: []string{"child-oom-sleep"}, Limit: 24 * mix.MiB, Output: true},
			steps(mix.ChildDied, mix.ClientKill(syscall.SIGTERM)), "143", mix.Want{Status: 143, Init: oom.No}, []string{""}},
	} {
		for _, path := range test.paths {
			t.Run(test.name+path, func(t *testing.T) {
				c := mix.Case{Name: test.name + path, Container: test.Container, Act: test.act, Want: test.want}
				c.Annotations = policy("oom-exit-code", "217")
				o, err := r.Run(t.Context(), mix.Ours, c, paths[path])
				require.NoError(t, err)
				check(t, c, o)
				line := logLine(t, "verdict", o.ID)
				require.Equal(t, test.true, line["status"])
				require.Equal(t, map[bool]string{true: "217"}[test.want.OOM], line["reported_status"])
			})
		}
	}
}
