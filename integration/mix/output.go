//go:build linux

package mix

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
)

// output keeps what a container prints. A client can wait for a text.
type output struct {
	mu      sync.Mutex // guards what follows
	buf     bytes.Buffer
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.buf.Write(p)
}

func (o *output) wait(ctx context.Context, text string) error {
	for {
		o.mu.Lock()
		got, changed := o.buf.String(), o.changed
		o.mu.Unlock()
		if strings.Contains(got, text) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %q, got %q: %w", text, got, ctx.Err())
		}
	}
}
