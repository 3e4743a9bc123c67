//go:build linux

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// poll is the pause between two questions to another process.
const poll = 100 * time.Millisecond

// process is a program that runs until it is killed. Its output is in dir.
type process struct {
	dir, path string
	args      []string

	cmd   *exec.Cmd
	ended chan struct{} // closed when the program has ended
}

func startProcess(dir, path string, args ...string) (*process, error) {
	p := &process{dir: dir, path: path, args: args}
	return p, p.start()
}

func (p *process) start() error {
	log, err := os.OpenFile(filepath.Join(p.dir, filepath.Base(p.path)+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(p.path, p.args...) //nolint:noctx // kill ends it
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// A test that is killed must leave no programs behind.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(p.path), err)
	}
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(p.cmd, p.ended)
	return nil
}

// kill ends the program and waits for its end.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// until calls ask until ask returns no error, the program has ended, or ctx is over.
func until(ctx context.Context, p *process, ask func() error) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("%s has ended: %w", filepath.Base(p.path), err)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// showTail prints the end of a log.
func showTail(t testing.TB, path string) {
	const most = 4096
	text, err := os.ReadFile(path)
	if err != nil || len(text) == 0 {
		return
	}
	t.Logf("%s ends:\n%s", filepath.Base(path), text[max(0, len(text)-most):])
}
