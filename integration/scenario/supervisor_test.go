//go:build linux

package scenario

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/mix"
	"github.com/oomwitness/oomwitness/oom"
)

// debian returns a root file system with Debian's supervisors and the workload.
func debian(t *testing.T) string {
	t.Helper()
	root := faultkit.DebianRoot(t)
	output(t, "cp", filepath.Join(guestRootfs, "workload"), root)
	put(t, root, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
	return root
}

// put writes a file, which is a program if it begins like a script.
func put(t *testing.T, root, name, text string) {
	t.Helper()
	file, mode := filepath.Join(root, name), os.FileMode(0o644)
	if strings.HasPrefix(text, "#!") {
		mode = 0o755
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(text), mode))
	require.NoError(t, os.Chmod(file, mode))
}

// s6-svscan ends by what .s6-svscan/finish ends with; a service's finish script has it do
// so, with the status that a container of one service passes on.
const (
	s6Run    = "#!/bin/busybox sh\nexec /workload hog\n"
	s6Finish = "#!/bin/busybox sh\ntest \"$1\" -ne 256 || echo $((128 + $2)) >/run/status\ns6-svscanctl -t /services\n"
	s6Exit   = "#!/bin/busybox sh\nexit $(/bin/busybox cat /run/status)\n"
)

// supervisordConf has a listener that ends supervisord when its program has ended, as
// containers have it. supervisord then exits 0: a container that is to fail has a shell
// above it.
const (
	supervisordConf = `[supervisord]
nodaemon=true
user=root
logfile=/dev/null
logfile_maxbytes=0
pidfile=/run/supervisord.pid
[program:hog]
command=/workload hog
autorestart=false
startsecs=0
[eventlistener:end]
command=/listener
events=PROCESS_STATE_EXITED
`
	supervisordListener = `#!/bin/busybox sh
printf 'READY\n'
read -r _
/bin/busybox kill -TERM "$(/bin/busybox cat /run/supervisord.pid)"
/bin/busybox sleep 60
`
)

// supervised is a container with a supervisor as process 1.
type supervised struct {
	program string
	args    []string
	limit   int64
	status  uint32
	rule    oom.Rule
}

// shell is a container whose process 1 is a shell.
func shell(script string, status uint32, rule oom.Rule) supervised {
	return supervised{"/bin/busybox", []string{"sh", "-c", script}, limit, status, rule}
}

// TestSupervisors has the child of a supervisor OOM-killed. The supervisor is process 1,
// and Debian's.
func TestSupervisors(t *testing.T) {
	r := runner(t)
	freshLedger(t)
	root := debian(t)
	put(t, root, "services/hog/run", s6Run)
	put(t, root, "services/hog/finish", s6Finish)
	put(t, root, "services/.s6-svscan/finish", s6Exit)
	put(t, root, "etc/supervisord.conf", supervisordConf)
	put(t, root, "listener", supervisordListener)
	for name, c := range map[string]supervised{
		"tini":      {"/usr/bin/tini", []string{"--", "/workload", "hog"}, limit, 137, oom.RulePassedOn},
		"dumb-init": {"/usr/bin/dumb-init", []string{"--", "/workload", "hog"}, limit, 137, oom.RulePassedOn},
		"s6":        {"/usr/bin/s6-svscan", []string{"/services"}, 2 * limit, 137, oom.RulePassedOn},
		"supervisord": {"/bin/busybox", []string{"sh", "-c", "supervisord -n -c /etc/supervisord.conf; exit 1"},
			4 * limit, 1, oom.RuleWithinGrace},
		"supervisord-alone": {"/usr/bin/supervisord", []string{"-n", "-c", "/etc/supervisord.conf"}, 4 * limit, 0, oom.RuleExitedZero},
		"python": {"/usr/bin/python3", []string{"-c", "import subprocess, sys; sys.exit(-subprocess.call(['/workload', 'hog']))"},
			4 * limit, 9, oom.RuleWithinGrace},
	} {
		t.Run(name, func(t *testing.T) {
			for range runs(t) {
				c.run(t, r, root, name)
			}
		})
	}
}

// TestShells has a process below a shell OOM-killed. The shell is process 1, and waits in one
// of the ways that scripts have.
func TestShells(t *testing.T) {
	r := runner(t)
	freshLedger(t)
	root := debian(t)
	for name, c := range map[string]supervised{
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
			c.run(t, r, root, name)
		})
	}
}

// run runs the container once.
func (c supervised) run(t *testing.T, r *mix.Runner, root, name string) {
	t.Helper()
	one := worker("by-"+name, c.status, c.rule, c.args...)
	one.Binary, one.Limit, one.Rootfs, one.Writable, one.Path = c.program, c.limit, root, true, "/usr/bin:/bin"
	one.Mounts = []specs.Mount{{Destination: "/run", Type: "tmpfs", Source: "tmpfs"}}
	o, err := r.Run(t.Context(), mix.Ours, one.Case, mix.ByWait)
	require.NoError(t, err)
	checkCausal(t, one, o)
}
