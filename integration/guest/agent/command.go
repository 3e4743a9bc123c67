//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/oomwitness/oomwitness/integration/guest/wire"
)

const (
	containerdSocket = "/run/containerd/containerd.sock"
	containerdLog    = "/var/log/containerd.log"
	containerdWait   = 90 * time.Second

	// readyScript is there in flavours that must wait for more than containerd.
	readyScript = "/usr/local/lib/node/ready"
	readyWait   = 15 * time.Minute
	// kubeconfig is the administrator's file, in flavours with a cluster.
	kubeconfig = "/etc/kubernetes/admin.conf"

	// stopGrace is the time between SIGTERM and SIGKILL for a command.
	stopGrace = 3 * time.Second

	// searchPath has the payload first: containerd and the command find binaries under test
	// before the stock ones.
	searchPath = wire.PayloadDir + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

func readSpec() (wire.Spec, error) {
	var spec wire.Spec
	text, err := os.ReadFile(filepath.Join(wire.PayloadDir, wire.SpecFile))
	if err != nil {
		return spec, fmt.Errorf("read spec: %w", err)
	}
	if err := json.Unmarshal(text, &spec); err != nil {
		return spec, fmt.Errorf("parse spec: %w", err)
	}
	if spec.Out != "" {
		if err := os.MkdirAll(spec.Out, 0o755); err != nil {
			return spec, fmt.Errorf("make out folder: %w", err)
		}
	}
	return spec, nil
}

// serve runs the command and sends its output, the files and, as the last message, the exit
// status.
func serve(h *host, spec wire.Spec) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var stopped atomic.Bool
	go h.stops(func() { stopped.Store(true); cancel() })
	logDone := make(chan struct{})
	logCtx, endLog := context.WithCancel(context.Background())
	go func() {
		defer close(logDone)
		follow(logCtx, containerdLog, h.writer(wire.Log))
	}()

	status := runCommand(ctx, h, spec)
	if stopped.Load() {
		status = wire.StatusTimeout
	}
	endLog()
	<-logDone
	if err := sendFiles(h, spec.Out, status != 0); err != nil {
		h.note("files lost: %v", err)
		if status == 0 {
			status = wire.StatusNode
		}
	}
	return h.send(wire.Exit, []byte(strconv.Itoa(status)))
}

func runCommand(ctx context.Context, h *host, spec wire.Spec) int {
	if err := waitReady(ctx, h.note); err != nil {
		h.note("%v", err)
		return wire.StatusNode
	}
	h.note("running %s", spec.Args[0])
	cmd := command(ctx, spec)
	cmd.Stdout, cmd.Stderr = h.writer(wire.Stdout), h.writer(wire.Stderr)
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return cmd.ProcessState.ExitCode()
	case errors.As(err, &exit):
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return exit.ExitCode()
	default:
		h.note("start command: %v", err)
		return wire.StatusNode
	}
}

// command returns the command of the spec, in a process group of its own. The OOM killer must
// not choose the agent, and children inherit the score: the command first resets its own.
func command(ctx context.Context, spec wire.Spec) *exec.Cmd {
	const unprotect = `echo 0 >/proc/self/oom_score_adj; exec "$@"`
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", unprotect, "sh"}, spec.Args...)...)
	cmd.Dir = "/root"
	cmd.Env = append(environment(), spec.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		pgid := -cmd.Process.Pid
		time.AfterFunc(stopGrace, func() { _ = syscall.Kill(pgid, syscall.SIGKILL) })
		return syscall.Kill(pgid, syscall.SIGTERM)
	}
	// Children that the command has left may hold the output open.
	cmd.WaitDelay = stopGrace + time.Second
	return cmd
}

func environment() []string {
	env := []string{"PATH=" + searchPath, "HOME=/root", "USER=root", "TERM=linux", "LANG=C.UTF-8", "TMPDIR=/tmp"}
	if _, err := os.Stat(kubeconfig); err == nil {
		env = append(env, "KUBECONFIG="+kubeconfig)
	}
	return env
}

// waitReady waits until the parts of the node are up.
func waitReady(ctx context.Context, note func(string, ...any)) error {
	note("waiting for containerd")
	if err := waitContainerd(ctx); err != nil {
		return err
	}
	if _, err := os.Stat(readyScript); err != nil {
		return nil // most flavours have no script
	}
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, readyScript)
	cmd.Env = environment()
	cmd.Stdout = noteWriter(note)
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", readyScript, errors.Join(err, ctx.Err()))
	}
	return nil
}

// noteWriter sends each line of a program's output as a note.
type noteWriter func(string, ...any)

func (w noteWriter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		w("%s", strings.TrimSpace(line))
	}
	return len(p), nil
}

// waitContainerd waits until containerd accepts connections.
func waitContainerd(ctx context.Context) error {
	deadline := time.Now().Add(containerdWait)
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", containerdSocket)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("containerd did not start in %s: %w", containerdWait, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for containerd: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// shell runs a login shell on the console until it ends.
func shell(spec wire.Spec) error {
	console, err := os.OpenFile("/dev/ttyS0", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open console: %w", err)
	}
	defer console.Close()
	note := func(format string, args ...any) { fmt.Fprintf(console, format+"\r\n", args...) }
	if err := waitReady(context.Background(), note); err != nil {
		note("%v", err)
	}
	if spec.First != "" {
		note("running %s", spec.First)
	}
	const script = `echo 0 >/proc/self/oom_score_adj; stty sane; stty rows "$1" cols "$2"; $3; exec $(command -v bash || command -v sh) -il`
	rows, cols := max(spec.Rows, 24), max(spec.Cols, 80)
	//nolint:noctx // the user at the console ends it
	cmd := exec.Command("/bin/sh", "-c", script, "sh", strconv.Itoa(rows), strconv.Itoa(cols), spec.First)
	cmd.Dir = "/root"
	cmd.Env = append(environment(), spec.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = console, console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	return cmd.Run()
}
