//go:build linux

package mix

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// spare is the memory of the node that fillNode leaves free: enough for a shim, runc and a
// container to start.
const spare = 256 * MiB

// ballastCommand is the workload as a process of the node, outside any container.
const ballastCommand = "oomwitness-workload"

// notChosen is the oom_score_adj of a process that the OOM killer never chooses.
const notChosen = -1000

// outsider is a process of the workload outside any container.
type outsider struct {
	cmd *exec.Cmd
	out io.Reader
}

func startOutside(ctx context.Context, score int, args ...string) (*outsider, error) {
	o := &outsider{cmd: exec.CommandContext(ctx, ballastCommand, args...)}
	var err error
	if o.out, err = o.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := o.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the %s outside: %w", args[0], err)
	}
	name := fmt.Sprintf("/proc/%d/oom_score_adj", o.cmd.Process.Pid)
	if err := os.WriteFile(name, []byte(strconv.Itoa(score)), 0o644); err != nil {
		o.end()
		return nil, err
	}
	return o, nil
}

// ready waits until the process prints that it is ready.
func (o *outsider) ready() error {
	if !bufio.NewScanner(o.out).Scan() {
		return errors.New("the process outside did not say that it is ready")
	}
	return nil
}

func (o *outsider) end() {
	_ = o.cmd.Process.Kill()
	_ = o.cmd.Wait()
}

// fillNode fills the node's memory with a process outside any container that the OOM killer
// never chooses. undo ends the process.
func fillNode(ctx context.Context) (undo func(), err error) {
	free, err := available()
	if err != nil {
		return nil, err
	}
	if free <= 2*spare {
		return nil, fmt.Errorf("%d MiB are available, need more than %d", free/MiB, 2*spare/MiB)
	}
	o, err := startOutside(ctx, notChosen, "gulp", strconv.FormatInt((free-spare)/MiB, 10))
	if err != nil {
		return nil, err
	}
	if err := o.ready(); err != nil {
		o.end()
		return nil, err
	}
	return o.end, nil
}

// fillUntilGone fills the node's memory in the same way, until the OOM killer has ended the
// process with that PID.
func fillUntilGone(ctx context.Context, pid int) error {
	o, err := startOutside(ctx, notChosen, "fill-until", strconv.Itoa(pid))
	if err != nil {
		return err
	}
	defer o.end()
	return o.ready()
}

// available returns MemAvailable of /proc/meminfo, in bytes.
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
