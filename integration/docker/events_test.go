//go:build linux

package docker

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
)

// recorder keeps the events of each container in the order in which dockerd sent them.
type recorder struct {
	// mu guards seen and changed.
	mu      sync.Mutex
	seen    map[string][]string
	changed chan struct{}
}

func newRecorder() *recorder {
	return &recorder{seen: map[string][]string{}, changed: make(chan struct{})}
}

// record reads the events of a dockerd until the dockerd or the test ends. The dockerd must
// answer already.
func (r *recorder) record(t *testing.T, a api, since string) {
	t.Helper()
	stream, err := a.events(t.Context(), since)
	if err != nil {
		t.Fatalf("events: %v", err)
	}
	go func() {
		defer stream.Close()
		decoder := json.NewDecoder(stream)
		for {
			var event struct {
				Action string
				Actor  struct{ ID string }
			}
			if decoder.Decode(&event) != nil {
				return // dockerd or the test is over
			}
			r.add(event.Actor.ID, event.Action)
		}
	}()
}

func (r *recorder) add(id, status string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[id] = append(r.seen[id], status)
	close(r.changed)
	r.changed = make(chan struct{})
}

// await returns a container's events after that number of deaths. If the context ends first, it
// returns the events so far.
func (r *recorder) await(ctx context.Context, id string, deaths int) []string {
	for {
		r.mu.Lock()
		seen, changed := append([]string{}, r.seen[id]...), r.changed
		r.mu.Unlock()
		if count(seen, "die") >= deaths {
			return seen
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return seen
		}
	}
}

// count returns the number of events with that name.
func count(events []string, name string) int {
	n := 0
	for _, event := range events {
		if event == name {
			n++
		}
	}
	return n
}
