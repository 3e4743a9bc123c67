//go:build linux

package shimtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/fifo"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Bundle is a container's bundle with the files that containerd writes.
type Bundle struct {
	// ID is the ID of the container.
	ID string
	// Path is the path of the bundle.
	Path string

	node    *Node
	log     buffer
	logFifo io.ReadCloser
	logDone chan struct{}
}

// NewBundle writes a bundle with the default spec and the given changes to it.
func (n *Node) NewBundle(id string, changes ...func(*specs.Spec)) *Bundle {
	n.t.Helper()
	spec := n.Spec(id)
	for _, change := range changes {
		change(spec)
	}
	b, err := n.writeBundle(id, spec)
	if err != nil {
		n.t.Fatalf("bundle %s: %v", id, err)
	}
	return b
}

func (n *Node) writeBundle(id string, spec *specs.Spec) (*Bundle, error) {
	b := &Bundle{ID: id, Path: filepath.Join(n.Dir, "state", n.cfg.Namespace, id), node: n}
	work := filepath.Join(n.Dir, "root", n.cfg.Namespace, id)
	for _, dir := range []string{filepath.Join(b.Path, "rootfs"), work} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, err
		}
	}
	if err := os.Symlink(work, filepath.Join(b.Path, "work")); err != nil {
		return nil, err
	}
	config, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(b.File("config.json"), config, 0o644); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.bundles = append(n.bundles, b)
	return b, nil
}

// File returns the path of a file in the bundle.
func (b *Bundle) File(name string) string { return filepath.Join(b.Path, name) }

// CreateRequest returns the Create request that containerd would send.
func (b *Bundle) CreateRequest() *task.CreateTaskRequest {
	return &task.CreateTaskRequest{ID: b.ID, Bundle: b.Path, Options: b.node.RuntimeOptions()}
}

// Remove deletes the bundle, as containerd does after Delete.
func (b *Bundle) Remove() error {
	b.closeLog()
	return os.RemoveAll(b.Path)
}

// openLog makes the fifo to which the shim logs, and reads it from then on.
func (b *Bundle) openLog() error {
	if b.logFifo != nil {
		return nil
	}
	// The fifo is opened for writing too: it then stays open while shims come and go.
	f, err := fifo.OpenFifo(context.Background(), b.File("log"), unix.O_RDWR|unix.O_CREAT|unix.O_NONBLOCK, 0o700)
	if err != nil {
		return fmt.Errorf("open shim log: %w", err)
	}
	b.logFifo, b.logDone = f, make(chan struct{})
	go func() {
		defer close(b.logDone)
		_, _ = io.Copy(&b.log, f)
	}()
	return nil
}

func (b *Bundle) closeLog() {
	if b.logFifo == nil {
		return
	}
	_ = b.logFifo.Close()
	<-b.logDone
	b.logFifo = nil
}

func marshalAny(m proto.Message) *anypb.Any {
	value, err := proto.Marshal(m)
	if err != nil {
		panic(err) // the harness made the message, so that it must be valid
	}
	// containerd's type URLs have no host.
	return &anypb.Any{TypeUrl: string(m.ProtoReflect().Descriptor().FullName()), Value: value}
}

// buffer collects output. It wakes those who wait at every write.
type buffer struct {
	mu      sync.Mutex
	data    bytes.Buffer  // guarded by mu
	changed chan struct{} // guarded by mu
}

// Write implements io.Writer.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
	return b.data.Write(p)
}

// String returns what was written so far.
func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

// wait returns the contents as soon as ok returns true for them.
func (b *buffer) wait(ctx context.Context, ok func(string) bool) (string, error) {
	for {
		b.mu.Lock()
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		text, changed := b.data.String(), b.changed
		b.mu.Unlock()
		if ok(text) {
			return text, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return text, ctx.Err()
		}
	}
}
