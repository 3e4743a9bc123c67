//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"

	"github.com/oomwitness/oomwitness/integration/guest/wire"
)

// Shell is a root shell in a fresh guest.
type Shell struct {
	Files []File
	Env   []string
	First string // a command to run before the shell, "" for none
}

// Shell boots a guest with a root shell on this process's terminal. It
// returns when the shell ends.
func (m *Machine) Shell(ctx context.Context, s Shell) (err error) {
	use, err := useCache(m.config.Cache)
	if err != nil {
		return err
	}
	defer use.Close()
	dir, err := m.runDir()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	spec := wire.Spec{Env: s.Env, First: s.First, Out: GuestOut}
	if cols, rows, err := term.GetSize(int(os.Stdin.Fd())); err == nil {
		spec.Rows, spec.Cols = rows, cols
	}
	m.config.step(5, "payload: %d files", len(s.Files))
	payload, err := makePayload(ctx, dir, spec, s.Files)
	if err != nil {
		return err
	}
	m.config.step(6, "boot: %s, kernel %s, %s; leave with exit, or Ctrl-A X",
		m.config.guest(), m.kernel.version, m.accel)
	cmd := m.vm(payload).command(ctx, dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	state, stateErr := term.GetState(int(os.Stdin.Fd()))
	if err := cmd.Run(); err != nil {
		// A killed QEMU cannot restore the terminal.
		if stateErr == nil {
			err = errors.Join(err, term.Restore(int(os.Stdin.Fd()), state))
		}
		return fmt.Errorf("qemu: %w", err)
	}
	return nil
}
