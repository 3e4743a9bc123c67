//go:build linux

package mix

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// spare is how much of the node's memory fillNode leaves: enough for a shim, runc
// and a container to start.
const spare = 256 * MiB

// ballastCommand is the workload as a process of the node, outside any container.
const ballastCommand = "oomwitness-workload"

// fillNode fills the node's memory with a process outside any container that the
// OOM killer will not choose, and gives the function that ends it.
func fillNode(ctx context.Context) (undo func(), err error) {
	free, err := available()
	if err != nil {
		return nil, err
	}
	if free <= 2*spare {
		return nil, fmt.Errorf("%d MiB are available, need more than %d", free/MiB, 2*spare/MiB)
	}
	cmd := exec.CommandContext(ctx, ballastCommand, "hog", strconv.FormatInt((free-spare)/MiB, 10))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the ballast: %w", err)
	}
	undo = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	score := fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid)
	err = os.WriteFile(score, []byte("-1000"), 0o644)
	if err == nil && !bufio.NewScanner(out).Scan() {
		err = errors.New("the ballast did not say that it is ready")
	}
	if err != nil {
		undo()
		return nil, err
	}
	return undo, nil
}

// available reads MemAvailable of /proc/meminfo, in bytes.
func available() (int64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "MemAvailable:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/meminfo: no MemAvailable: %w", syscall.ENOENT)
}
