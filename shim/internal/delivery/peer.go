//go:build linux

package delivery

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
)

// peer is the process at the other end of a connection. Equal ones are the same
// process with the same socket.
type peer struct {
	pid        int32  // 0 where it is not in our PID namespace
	startTicks uint64 // 0 where it could not be read
	dev, inode uint64 // of the socket's file, which every containerd makes anew
	made       int64
}

// alive reports whether the process still runs. It returns false for a process whose start
// time is not known.
func (p peer) alive() bool {
	return p.pid != 0 && p.startTicks != 0 && bpf.Running(int(p.pid), p.startTicks)
}

func peerOf(conn net.Conn, path string) (p peer) {
	_ = control(conn, func(fd int) {
		if c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			p.pid = c.Pid
		}
	})
	if p.pid != 0 {
		p.startTicks, _ = bpf.StartTicks(int(p.pid))
	}
	fi, err := os.Stat(path)
	if err != nil {
		return p
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		p.dev, p.inode, p.made = st.Dev, st.Ino, st.Mtim.Nano()
	}
	return p
}

// hungUp reports whether the other end of a connection is closed. What it sent
// before that may still be unread.
func hungUp(conn net.Conn) bool {
	gone := false
	err := control(conn, func(fd int) {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(poll, 0) // no EINTR without a wait
		gone = err == nil && n > 0
	})
	return gone || err != nil // closed at this end, since the reader saw it
}

func control(conn net.Conn, f func(fd int)) error {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return os.ErrInvalid
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}
