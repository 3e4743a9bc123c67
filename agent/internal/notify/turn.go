package notify

import (
	"maps"
	"sync"
	"time"
)

const (
	// busyPause is how long another eviction is waited for, whose answer is due.
	busyPause = 100 * time.Millisecond
	// lateAsk is how long after its time a namespace may ask again and still be waiting.
	lateAsk = time.Second
)

// turn keeps evictions apart, and has namespaces take turns: of those that wait, the one
// whose last turn is longest ago is next. It is safe for concurrent use.
type turn struct {
	every time.Duration

	mu   sync.Mutex // guards what follows
	busy bool
	next time.Time
	// asked and last are when a namespace asked in vain, and when it had a turn.
	asked, last map[string]time.Time
}

func newTurn(every time.Duration) *turn {
	return &turn{every: every, asked: map[string]time.Time{}, last: map[string]time.Time{}}
}

// take takes the turn for a pod of a namespace, or returns how long there is none.
func (t *turn) take(namespace string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	wait := t.next.Sub(now)
	if wait <= 0 && (t.busy || t.othersFirst(namespace, now)) {
		wait = busyPause
	}
	if wait > 0 {
		t.asked[namespace] = now
		return wait
	}
	delete(t.asked, namespace)
	t.busy, t.last[namespace] = true, now
	return 0
}

// othersFirst reports whether a namespace waits whose last turn is longer ago.
func (t *turn) othersFirst(namespace string, now time.Time) bool {
	maps.DeleteFunc(t.asked, func(_ string, at time.Time) bool { return now.Sub(at) > t.every+lateAsk })
	maps.DeleteFunc(t.last, func(_ string, at time.Time) bool { return now.Sub(at) > evictPatience })
	for other := range t.asked {
		if t.last[other].Before(t.last[namespace]) {
			return true
		}
	}
	return false
}

// end ends the turn. The next one is at once if the API server has refused the eviction: a
// tenant's budget costs nobody else a turn.
func (t *turn) end(refused bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy = false
	if !refused {
		t.next = time.Now().Add(t.every)
	}
}
