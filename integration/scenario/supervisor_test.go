//go:build linux

package scenario

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/mix"
	"github.com/oomwitness/oomwitness/oom"
)

// shell is a container whose process 1 is a shell.
func shell(script string, status uint32, rule oom.Rule) faultkit.Supervisor {
	return faultkit.Supervisor{Args: []string{"/bin/busybox", "sh", "-c", script}, Limit: limit, Status: status, Rule: rule}
}

// TestSupervisors has the child of a supervisor OOM-killed. The supervisor is process 1,
// and Debian's.
func TestSupervisors(t *testing.T) {
	r := runner(t)
	freshLedger(t)
	root := faultkit.SupervisorRoot(t)
	for name, c := range faultkit.Supervisors {
		t.Run(name, func(t *testing.T) {
			for range runs(t) {
				supervise(t, r, c, root, name)
			}
		})
	}
}

// TestShells has a process below a shell OOM-killed. The shell is process 1, and waits in one
// of the ways that scripts have.
func TestShells(t *testing.T) {
	r := runner(t)
	freshLedger(t)
	root := faultkit.SupervisorRoot(t)
	for name, c := range map[string]faultkit.Supervisor{
		"sh":       shell("/workload hog; exit $?", 137, oom.RulePassedOn),
		"sh-in-sh": shell(`/bin/busybox sh -c '/bin/busybox sh -c "/workload hog; exit \$?"; exit $?'; exit $?`, 137, oom.RulePassedOn),
		"sh-e":     shell("set -e; /workload hog; true", 137, oom.RulePassedOn),
		"sh-wait":  shell("/workload hog & wait $!", 137, oom.RulePassedOn),
		"sh-trap":  shell("trap 'exit 4' EXIT; /workload hog", 4, oom.RuleWithinGrace),
		"sh-xargs": shell("/bin/busybox true | /bin/busybox xargs /workload hog", 125, oom.RuleWithinGrace),
		"sh-true":  shell("/workload hog || true", 0, oom.RuleExitedZero),
		"sh-pipe":  shell("/workload hog | /bin/busybox cat", 0, oom.RuleExitedZero),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			supervise(t, r, c, root, name)
		})
	}
}

// supervise runs the container once.
func supervise(t *testing.T, r *mix.Runner, c faultkit.Supervisor, root, name string) {
	t.Helper()
	one := worker("by-"+name, c.Status, c.Rule, c.Args[1:]...)
	one.Binary, one.Limit, one.Rootfs, one.Writable, one.Path = c.Args[0], c.Limit, root, true, "/usr/bin:/bin"
	one.Mounts = []specs.Mount{{Destination: "/run", Type: "tmpfs", Source: "tmpfs"}}
	o, err := r.Run(t.Context(), mix.Ours, one.Case, mix.ByWait)
	require.NoError(t, err)
	checkCausal(t, one, o)
}
