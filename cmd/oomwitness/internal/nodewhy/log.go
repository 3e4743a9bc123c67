package nodewhy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom/exits"
)

const (
	// maxLog is how much of the end of a log is read.
	maxLog = 32 << 20
	// maxLogLine bounds a line of the log.
	maxLogLine = 64 << 10
	// maxVerdicts is how many verdicts the journal is asked for, and logTimeout for how
	// long.
	maxVerdicts = 20000
	logTimeout  = 15 * time.Second
)

// Log is where containerd's log is: a file, or the journal of a unit.
type Log struct{ File, Unit string }

// String names the log.
func (l Log) String() string {
	if l.File != "" {
		return l.File
	}
	return "the journal of " + l.Unit
}

// ofDistributions are the files to which k3s and RKE2 write the log of their containerd.
var ofDistributions = []string{"/var/lib/rancher/k3s/agent/containerd/containerd.log", "/var/lib/rancher/rke2/agent/containerd/containerd.log"}

// FindLog finds the log of the containerd that runs as pid, in unit: the file that is its
// standard error, else the file of a distribution, else the journal.
func FindLog(pid int, unit string) (Log, error) {
	if pid == 0 {
		return Log{}, errors.New("no containerd runs")
	}
	target, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "fd/2"))
	if err != nil {
		return Log{}, fmt.Errorf("where containerd writes the log: %w", err)
	}
	if fi, err := os.Stat(target); err == nil && path.IsAbs(target) && fi.Mode().IsRegular() {
		return Log{File: target}, nil
	}
	for _, file := range ofDistributions {
		if _, err := os.Stat(file); err == nil {
			return Log{File: file}, nil
		}
	}
	if unit == "" {
		return Log{}, fmt.Errorf("containerd writes the log to %s, and belongs to no systemd unit", target)
	}
	return Log{Unit: unit}, nil
}

// Verdicts returns the exits whose verdicts are in the log, the newest 20,000 at most.
func (l Log) Verdicts(ctx context.Context) ([]exits.Exit, error) {
	if l.File == "" {
		return l.journal(ctx)
	}
	f, err := os.OpenFile(l.File, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO without a writer would block
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: allowed is a regular file", l.File)
	}
	if _, err := f.Seek(max(fi.Size()-maxLog, 0), io.SeekStart); err != nil {
		return nil, err
	}
	var list []exits.Exit
	err = eachLine(io.LimitReader(f, min(fi.Size(), maxLog)), func(line []byte) {
		if x, ok := verdictIn(string(line)); ok {
			list = append(list, x)
		}
	})
	return list, err
}

// journal asks journalctl for the lines of the unit.
func (l Log) journal(ctx context.Context) ([]exits.Exit, error) {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "journalctl", "--no-pager", "--quiet", "--output=json", "--output-fields=MESSAGE",
		"--lines="+strconv.Itoa(maxVerdicts), "--grep=msg=verdict", "--unit="+l.Unit).Output()
	var failed *exec.ExitError
	switch {
	case errors.As(err, &failed) && len(out) == 0 && len(failed.Stderr) == 0:
		return nil, nil // journalctl ends with 1 if no line matches
	case errors.As(err, &failed):
		return nil, fmt.Errorf("journalctl: %w: %s", err, bytes.TrimSpace(failed.Stderr))
	case err != nil:
		return nil, fmt.Errorf("journalctl: %w", err)
	}
	var list []exits.Exit
	err = eachLine(bytes.NewReader(out), func(line []byte) {
		var entry struct{ MESSAGE string }
		if json.Unmarshal(line, &entry) != nil {
			return // a message that is no text
		}
		if x, ok := verdictIn(entry.MESSAGE); ok {
			list = append(list, x)
		}
	})
	return list, err
}

// eachLine calls do for each line that is not too long.
func eachLine(from io.Reader, do func([]byte)) error {
	lines := bufio.NewReaderSize(from, maxLogLine)
	for {
		line, long, err := lines.ReadLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !long {
			do(line)
			continue
		}
		for long && err == nil { // the rest of a line that is too long
			_, long, err = lines.ReadLine()
		}
	}
}
