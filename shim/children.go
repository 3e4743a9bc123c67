//go:build linux

package shim

import (
	"context"
	"os"
	"slices"
	"time"
	"unsafe"

	runc "github.com/containerd/go-runc"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/internal/exit"
)

// reapWait is how long a child that has ended waits to be reaped while its exit is decided.
const reapWait = time.Millisecond

// Reap calls reap, upstream's reaper, at each signal that a child has ended. A shim has one
// processor, and upstream decodes the spec when upstream hears of an exit. So the exit gate
// first hears of an init that has ended, and has a millisecond for the verdict. Reap takes the
// place of upstream's own loop (containerd 2.4, pkg/shim/shim_unix.go, reap), and returns when
// children is closed.
func (s *Service) Reap(children <-chan os.Signal, reap func() error) {
	for range children {
		if e, ok := endedChild(); ok {
			s.reaped(e, reapWait)
		}
		if err := reap(); err != nil {
			log.G(s.ctx).WithError(err).Error("reap the shim's children")
		}
	}
}

// reaped notes the exit of an init before upstream lets anyone see the exit, and waits for the
// verdict for some time. A stop that the runtime has not answered is not waited for: the
// answer comes when the runtime's own process was reaped.
func (s *Service) reaped(e runc.Exit, patience time.Duration) {
	s.mu.Lock()
	c := s.byPid[e.Pid]
	delete(s.byPid, e.Pid)
	waits := c != nil && patience > 0 && !slices.ContainsFunc(c.stops, func(o *stop) bool { return !o.sent })
	s.mu.Unlock()
	if c == nil {
		return
	}
	c.exited(oom.Exit{Pid: e.Pid, Status: e.Status, At: e.Timestamp})
	if waits {
		ctx, cancel := context.WithTimeout(s.ctx, patience)
		defer cancel()
		_ = c.loop.Wait(ctx, func(st *exit.State) bool { return st.Released() || st.Record().Decided })
	}
}

// endedChild returns one of the children that have ended and were not reaped, and leaves it so.
func endedChild() (e runc.Exit, ok bool) {
	var info siginfo
	err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil || info.pid == 0 {
		return e, false
	}
	status := int(info.status)
	if info.code != cldExited {
		status += signalled
	}
	return runc.Exit{Timestamp: time.Now(), Pid: int(info.pid), Status: status}, true
}

// siginfo is siginfo_t of a child, on machines with 64 bits (include/uapi/asm-generic/siginfo.h).
type siginfo struct {
	_, _, code, _    int32
	pid, uid, status int32
	_                [100]byte
}

const (
	// cldExited is CLD_EXITED of the same file.
	cldExited = 1
	// signalled is added to a signal for an exit status (containerd 2.4, pkg/sys/reaper).
	signalled = 128
)
