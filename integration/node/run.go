//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/oomwitness/oomwitness/integration/guest/wire"
)

// GuestOut is the folder of the guest whose files are copied back.
const GuestOut = "/var/log/oomwitness"

// stopGrace is the time in which the guest must end the command and send its files, once the
// time of the run is over.
const stopGrace = 20 * time.Second

// Run is one command in a fresh guest.
type Run struct {
	Args  []string
	Env   []string // added to the command's environment
	Files []File
	// Out is a folder of the host for the files of GuestOut; empty for none.
	Out string
	// Reboots says that the guest may reboot on the same disk. The command then runs again,
	// with wire.BootEnv.
	Reboots bool
	Timeout time.Duration
	Stdout  io.Writer
	Stderr  io.Writer
}

// Result is how a run ended.
type Result struct {
	// Status is the exit status of the command, or wire.StatusTimeout or wire.StatusNode.
	Status int
	// Kept is the folder with the logs of a failed run.
	Kept string
}

// Run boots a guest and runs the command. The error is nil if the command ran to an end,
// whatever its status.
func (m *Machine) Run(ctx context.Context, r Run) (Result, error) {
	use, err := useCache(m.config.Cache)
	if err != nil {
		return Result{Status: wire.StatusNode}, err
	}
	defer use.Close()
	dir, err := m.runDir()
	if err != nil {
		return Result{Status: wire.StatusNode}, err
	}
	status, err := m.boot(ctx, r, dir)
	if ctx.Err() != nil {
		return Result{Status: status}, errors.Join(ctx.Err(), os.RemoveAll(dir))
	}
	if status == 0 && err == nil {
		return Result{}, os.RemoveAll(dir)
	}
	return Result{Status: status, Kept: dir}, errors.Join(err, os.RemoveAll(filepath.Join(dir, "payload.img")))
}

// runDir makes a folder for this run alone.
func (m *Machine) runDir() (string, error) {
	runs := filepath.Join(m.config.Cache, "runs")
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return "", fmt.Errorf("make run folder: %w", err)
	}
	dir, err := os.MkdirTemp(runs, time.Now().Format("20060102-150405-"))
	if err != nil {
		return "", fmt.Errorf("make run folder: %w", err)
	}
	return dir, nil
}

func (m *Machine) boot(ctx context.Context, r Run, dir string) (status int, err error) {
	c := m.config
	c.step(5, "payload: %d files", len(r.Files))
	spec := wire.Spec{Args: r.Args, Env: r.Env, Out: GuestOut}
	payload, err := makePayload(ctx, dir, spec, r.Files)
	if err != nil {
		return wire.StatusNode, err
	}
	sink, err := newSink(dir, r, func(note string) { c.step(6, "guest: %s", note) })
	if err != nil {
		return wire.StatusNode, err
	}
	defer func() { err = errors.Join(err, sink.close()) }()

	v := m.vm(payload)
	v.console, v.port, v.reboots = filepath.Join(dir, "console.log"), true, r.Reboots
	c.step(6, "boot: %s, kernel %s, %s", c.guest(), m.kernel.version, m.accel)
	process, err := start(ctx, v, dir)
	if err != nil {
		return wire.StatusNode, err
	}
	defer func() { err = errors.Join(err, process.end()) }()
	if r.Timeout > 0 {
		defer c.limit(process, r.Timeout)()
	}
	began := time.Now()
	status, err = sink.receive(process.port)
	if err != nil && r.Timeout > 0 && time.Since(began) > r.Timeout {
		return wire.StatusTimeout, err
	}
	return status, err
}

// limit asks the guest to stop when its time is over, and kills a guest that does not. off
// cancels the limit.
func (c Config) limit(p *process, timeout time.Duration) (off func()) {
	soft := time.AfterFunc(timeout, func() {
		c.step(6, "guest: time limit of %s is over", timeout)
		// A guest that cannot read the frame is killed below.
		_ = wire.Write(p.port, wire.Stop, nil)
	})
	hard := time.AfterFunc(timeout+stopGrace, p.kill)
	return func() {
		soft.Stop()
		hard.Stop()
	}
}

// sink handles what the guest sends.
type sink struct {
	run   Run
	notes func(string)
	log   *os.File
	files *unpacker
}

func newSink(dir string, r Run, notes func(string)) (*sink, error) {
	log, err := os.Create(filepath.Join(dir, "containerd.log"))
	if err != nil {
		return nil, fmt.Errorf("make log: %w", err)
	}
	targets := map[string]string{wire.LogsDir: dir}
	if r.Out != "" {
		targets[wire.OutDir] = r.Out
	}
	return &sink{run: r, notes: notes, log: log, files: newUnpacker(targets)}, nil
}

func (s *sink) close() error { return errors.Join(s.log.Close(), s.files.close()) }

// receive handles frames until the guest sends the exit status. A guest that ends without a
// status has crashed.
func (s *sink) receive(port io.Reader) (int, error) {
	for {
		kind, payload, err := wire.Read(port)
		if err != nil {
			return wire.StatusNode, fmt.Errorf("guest ended without a status: %w", err)
		}
		switch kind {
		case wire.Stdout:
			_, err = s.run.Stdout.Write(payload)
		case wire.Stderr:
			_, err = s.run.Stderr.Write(payload)
		case wire.Log:
			_, err = s.log.Write(payload)
		case wire.Tar:
			_, err = s.files.Write(payload)
		case wire.Note:
			s.notes(string(payload))
		case wire.Exit:
			status, err := strconv.Atoi(string(payload))
			if err != nil {
				return wire.StatusNode, fmt.Errorf("parse status: %w", err)
			}
			return status, nil
		}
		if err != nil {
			return wire.StatusNode, fmt.Errorf("take output of guest: %w", err)
		}
	}
}
