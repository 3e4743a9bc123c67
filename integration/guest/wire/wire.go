// Package wire is the protocol between the guest's agent and the host: a stream of frames over
// one virtio-serial port.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// PortName names the virtio-serial port of the agent.
const PortName = "oomwitness.agent"

// MaxPayload is the largest payload of a frame, bytes: the kernel's console driver splits
// larger writes at 32 KiB.
const MaxPayload = 32 << 10

const headerSize = 5

// Kind is the kind of a frame's payload.
type Kind byte

// The kinds of frames. The host sends Stop, and the guest sends all others. Exit is the last
// frame.
const (
	Stdout Kind = 'o' // output of the command
	Stderr Kind = 'e' // errors of the command
	Log    Kind = 'l' // containerd's log, live
	Tar    Kind = 't' // part of the archive of files to keep
	Note   Kind = 'n' // progress of the agent, text
	Exit   Kind = 'x' // exit status, decimal text
	Stop   Kind = 's' // end the command: its time is up
)

// Top-level folders of the archive sent in Tar frames.
const (
	OutDir  = "out"  // files of Spec.Out
	LogsDir = "logs" // the guest's own logs
)

// Exit statuses of the node itself, as timeout(1) and docker(1) use them.
const (
	StatusTimeout = 124
	StatusNode    = 125
)

// ErrFrame reports a stream that is not frames.
var ErrFrame = errors.New("bad frame")

// BootEnv is the command's environment variable with the number of the boot, from 1.
const BootEnv = "NODE_BOOT"

// Spec is the agent's task. It is on the payload disk, in SpecFile.
type Spec struct {
	// Args is the command; none means an interactive shell on the console.
	Args []string `json:"args,omitempty"`
	// First is a command that is run before the shell, empty for none.
	First string `json:"first,omitempty"`
	// Env is added to the environment of the command.
	Env []string `json:"env,omitempty"`
	// Out is the folder whose files are copied back.
	Out string `json:"out,omitempty"`
	// Rows and Cols are the size of the host's terminal.
	Rows int `json:"rows,omitempty"`
	Cols int `json:"cols,omitempty"`
}

// SpecFile is the path of the Spec, JSON, below PayloadDir.
const SpecFile = "node.json"

// PayloadDir is where the payload disk is mounted in the guest.
const PayloadDir = "/opt/oomwitness"

// Write sends payload in as many frames as it needs, at least one.
func Write(w io.Writer, kind Kind, payload []byte) error {
	for {
		part := payload[:min(len(payload), MaxPayload-headerSize)]
		frame := make([]byte, headerSize, headerSize+len(part))
		frame[0] = byte(kind)
		binary.BigEndian.PutUint32(frame[1:], uint32(len(part)))
		if _, err := w.Write(append(frame, part...)); err != nil {
			return fmt.Errorf("write frame: %w", err)
		}
		if payload = payload[len(part):]; len(payload) == 0 {
			return nil
		}
	}
}

// Read receives one frame. It returns io.EOF if the stream ends between frames.
func Read(r io.Reader) (Kind, []byte, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return 0, nil, io.EOF
		}
		return 0, nil, fmt.Errorf("read frame: %w", err)
	}
	n := binary.BigEndian.Uint32(header[1:])
	if n > MaxPayload {
		return 0, nil, fmt.Errorf("%w: %d bytes of kind %q", ErrFrame, n, header[0])
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, fmt.Errorf("read frame of %d bytes: %w", n, err)
	}
	return Kind(header[0]), payload, nil
}
