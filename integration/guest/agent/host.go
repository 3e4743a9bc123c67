//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/oomwitness/oomwitness/integration/guest/wire"
)

// host is the connection to the host, over a virtio-serial port.
type host struct {
	port *os.File

	mu sync.Mutex // one frame at a time
}

// openHost finds the port by name: without udev there are no links in
// /dev/virtio-ports.
func openHost() (*host, error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, fmt.Errorf("list virtio ports: %w", err)
		}
		for _, file := range names {
			name, err := os.ReadFile(file)
			if err != nil || strings.TrimSpace(string(name)) != wire.PortName {
				continue
			}
			device := filepath.Join("/dev", filepath.Base(filepath.Dir(file)))
			port, err := os.OpenFile(device, os.O_RDWR, 0)
			if err != nil {
				return nil, fmt.Errorf("open port %s: %w", wire.PortName, err)
			}
			return &host{port: port}, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.New("no virtio port " + wire.PortName)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// send writes one message.
func (h *host) send(kind wire.Kind, payload []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return wire.Write(h.port, kind, payload)
}

// note reports a step to the host's user.
func (h *host) note(format string, args ...any) {
	// If this fails the host is gone, and the next message shows that.
	_ = h.send(wire.Note, fmt.Appendf(nil, format, args...))
}

// writer returns a writer that sends what it gets as messages of the kind.
func (h *host) writer(kind wire.Kind) io.Writer { return writer{h, kind} }

// stops calls stop for each Stop frame, until the port ends.
func (h *host) stops(stop func()) {
	for {
		kind, _, err := wire.Read(h.port)
		if err != nil {
			return
		}
		if kind == wire.Stop {
			stop()
		}
	}
}

type writer struct {
	host *host
	kind wire.Kind
}

func (w writer) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := w.host.send(w.kind, p); err != nil {
		return 0, err
	}
	return len(p), nil
}
