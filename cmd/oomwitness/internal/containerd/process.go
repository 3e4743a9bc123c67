package containerd

import (
	"context"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/procs"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// SearchPath returns the directories where the containerd with a process ID looks for
// programs: its PATH, or what systemd gives it. The operator's own PATH says nothing.
func SearchPath(root rootfs.Dir, pid string) []string {
	if pid != "" {
		for entry := range strings.SplitSeq(root.Text("/proc/"+pid+"/environ"), "\x00") {
			if value, found := strings.CutPrefix(entry, "PATH="); found && value != "" {
				return strings.Split(value, ":")
			}
		}
	}
	return []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
}

// Process returns the process ID of the containerd that answers at a socket, else of
// one that runs below the root; "" where none does.
func Process(ctx context.Context, root rootfs.Dir, address string) string {
	if pid := peer(ctx, root.Path(address)); pid != "" && root.Exists("/proc/"+pid) {
		return pid
	}
	pids, err := procs.Daemons(root.Path("/proc"), "containerd")
	if err != nil || len(pids) == 0 {
		return ""
	}
	return strconv.Itoa(pids[0])
}

// Config returns the configuration file that the containerd that answers at a socket was
// told to read, "" where none answers or it was told nothing.
func Config(ctx context.Context, root rootfs.Dir, address string) string {
	pid := peer(ctx, root.Path(address))
	if pid == "" {
		return ""
	}
	return configIn(strings.Split(root.Text("/proc/"+pid+"/cmdline"), "\x00"))
}

// configIn returns the value of the flag -c or --config in containerd's command line
// (app.Flags in cmd/containerd/command/main.go).
func configIn(words []string) string {
	for i, word := range words {
		flag, value, has := strings.Cut(word, "=")
		if i == 0 || !slices.Contains([]string{"-c", "--c", "-config", "--config"}, flag) {
			continue
		}
		if !has && i+1 < len(words) {
			value = words[i+1]
		}
		if path.IsAbs(value) {
			return path.Clean(value)
		}
	}
	return ""
}
