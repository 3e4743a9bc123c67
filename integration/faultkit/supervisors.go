//go:build linux

package faultkit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
)

// workloadFile is the workload in the guest.
const workloadFile = "/opt/oomwitness/rootfs/workload"

// s6-svscan ends by what .s6-svscan/finish ends with; a service's finish script has it do
// so, with the status that a container of one service passes on.
const (
	s6Run    = "#!/bin/busybox sh\nexec /workload hog\n"
	s6Finish = "#!/bin/busybox sh\ntest \"$1\" -ne 256 || echo $((128 + $2)) >/run/status\ns6-svscanctl -t /run/services\n"
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

// supervisorFiles are the files of Debian's supervisors, each of which runs a hog.
var supervisorFiles = map[string]string{
	"etc/passwd":                 "root:x:0:0:root:/root:/bin/sh\n",
	"services/hog/run":           s6Run,
	"services/hog/finish":        s6Finish,
	"services/.s6-svscan/finish": s6Exit,
	"etc/supervisord.conf":       supervisordConf,
	"listener":                   supervisordListener,
}

// SupervisorRoot returns a root file system with Debian's supervisors, the workload, and
// the files by which s6 and supervisord run a hog. /run is to be a tmpfs.
func SupervisorRoot(t *testing.T) string {
	t.Helper()
	root := DebianRoot(t)
	require.NoError(t, Run(t.Context(), "cp", workloadFile, root))
	for name, text := range supervisorFiles {
		file, mode := filepath.Join(root, name), os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), mode))
	}
	return root
}

// Supervisor is a command whose process 1 waits for a hog, and how that process ends when the
// hog was OOM-killed.
type Supervisor struct {
	Args []string
	// Limit is the memory limit that the supervisor needs, in bytes.
	Limit  int64
	Status uint32
	// Rule is that of the verdict.
	Rule oom.Rule
}

// Supervisors are Debian's supervisors by name, in a root of SupervisorRoot.
var Supervisors = map[string]Supervisor{
	"tini":      {[]string{"/usr/bin/tini", "--", "/workload", "hog"}, Limit, 137, oom.RulePassedOn},
	"dumb-init": {[]string{"/usr/bin/dumb-init", "--", "/workload", "hog"}, Limit, 137, oom.RulePassedOn},
	"s6": {[]string{"/bin/busybox", "sh", "-c", "cp -r /services /run && exec s6-svscan /run/services"}, // it writes there
		2 * Limit, 137, oom.RulePassedOn},
	"supervisord": {[]string{"/bin/busybox", "sh", "-c", "supervisord -n -c /etc/supervisord.conf; exit 1"},
		4 * Limit, 1, oom.RuleWithinGrace},
	"supervisord-alone": {[]string{"/usr/bin/supervisord", "-n", "-c", "/etc/supervisord.conf"}, 4 * Limit, 0, oom.RuleExitedZero},
	"python": {[]string{"/usr/bin/python3", "-c", "import subprocess, sys; sys.exit(-subprocess.call(['/workload', 'hog']))"},
		4 * Limit, 9, oom.RuleWithinGrace},
}
