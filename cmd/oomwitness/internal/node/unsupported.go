package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/preflight"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// UnsupportedError is of a node that cannot carry the shim. Its files are as before.
type UnsupportedError struct{ Reason error }

// Error is the reason's.
func (e *UnsupportedError) Error() string { return e.Reason.Error() }

// Unwrap returns the reason.
func (e *UnsupportedError) Unwrap() error { return e.Reason }

// laterError is of a node that may pass its checks a moment later: kubelet tries again.
type laterError struct{ reason string }

func (e *laterError) Error() string { return e.reason }

// Unsupported returns an error as that of a node that cannot carry the shim, unless a later try
// may go well: a busy node may need too long for the programs of containerd.
func Unsupported(err error) error {
	if _, later := errors.AsType[*laterError](err); later || errors.Is(err, rootfs.ErrSlow) {
		return err
	}
	return &UnsupportedError{Reason: err}
}

// passes runs all checks but those left out.
func (n *Node) passes(ctx context.Context, without []string) error {
	var failed []string
	transient := true
	for _, f := range n.Check(ctx).Findings {
		if slices.Contains(without, f.Name) {
			continue
		}
		switch f.Status {
		case preflight.Fail:
			failed = append(failed, fmt.Sprintf("%s: %s; %s", f.Name, f.Found, f.Do))
			transient = transient && f.Transient
		case preflight.Warn:
			if without == nil {
				n.Say("note: %s: %s", f.Name, f.Found)
			}
		}
	}
	switch text := strings.Join(failed, "\n"); {
	case len(failed) == 0:
		return nil
	case transient:
		return &laterError{"this node cannot be set up now: " + text}
	default:
		return errors.New("this node cannot run the shim: " + text)
	}
}
