//go:build linux

package faultkit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// Patience limits every wait: emulated machines are slow.
	Patience = 3 * time.Minute
	// Poll is the pause between two questions to a process that sends no event.
	Poll = 50 * time.Millisecond

	figures = "/var/log/oomwitness/figures"
)

// Until calls ask until ask returns no error, for at most Patience.
func Until(ctx context.Context, what string, ask func() error) error {
	late := time.Now().Add(Patience)
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if time.Now().After(late) {
			return fmt.Errorf("wait %s for %s: %w", Patience, what, err)
		}
		select {
		case <-time.After(Poll):
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, ctx.Err(), err)
		}
	}
}

// Pause waits. It is for tests whose subject is the moment at which something happens.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commandTime is more than any program here needs, stops by systemd included.
const commandTime = 3 * time.Minute

// Run runs a program. If the program does not end in time, the error shows the kernel stacks of
// its threads.
func Run(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stacks []byte
	cmd.Cancel = func() error {
		stacks = kernelStacks(cmd.Process.Pid)
		return cmd.Process.Kill()
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, bytes.TrimSpace(append(out, stacks...)))
	}
	return nil
}

// kernelStacks returns the kernel stack of each thread of a process.
func kernelStacks(pid int) []byte {
	var all []byte
	stacks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stack", pid))
	for _, file := range stacks {
		stack, err := os.ReadFile(file) // only root may read it, and it goes with the thread
		if err == nil {
			all = fmt.Appendf(all, "\n%s:\n%s", file, stack)
		}
	}
	return all
}

// Get returns the answer of an HTTP server, and an error if its status is not OK.
func Get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, getTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, response.Status, body)
	}
	return string(body), err
}

// getTime limits Get.
const getTime = 30 * time.Second

// Keep adds a line to the figures that the host prints at the end.
func Keep(t *testing.T, line string) {
	t.Helper()
	t.Log(line)
	require.NoError(t, os.MkdirAll(filepath.Dir(figures), 0o755))
	f, err := os.OpenFile(figures, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	_, err = f.WriteString(line + "\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// KeepFile leaves a file beside the figures.
func KeepFile(t *testing.T, name string, data []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(figures), name), data, 0o644))
}
