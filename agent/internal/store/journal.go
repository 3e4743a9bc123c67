// Package store keeps over a restart of the agent, in its state directory, what was
// counted and delivered, and what runs on the node. Nobody else writes there: a link, or
// anything but a regular file, is refused all the same.
package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/bpf"
)

const (
	fileName = "journal"
	nextName = "journal.next"
	lockName = "lock"
	// unreadName is where a journal goes that could not be read.
	unreadName = "journal.unread"

	// maxFile is how much is added before the journal is written anew, in bytes.
	maxFile = 4 << 20
	// maxWrite is how much is written at once, in bytes, and a line more.
	maxWrite = 64 << 10
	// maxPast are the OOM events that are kept, for the page.
	maxPast = 500
	// maxOpen are the deliveries that are kept; the oldest goes first.
	maxOpen = 1000
	// maxVictims bounds those of the OOM events that are kept for each of the two.
	maxVictims = 4000
	// maxSeen are the victims that are known one by one: twice what the ledger's
	// map holds. An older one than all of them counts as seen.
	maxSeen = 8192
	// maxSeries bounds Totals.Series: of the namespace with the most, the one with the oldest
	// kill goes first.
	maxSeries = 2000
)

// Journal is the agent's position: which victims were counted, the
// counts, and what has not been delivered yet.
//
// It is a file of lines of JSON, each written before its OOM event is reported, those
// of OOM events that come together in one step, so that an agent that was killed at
// any moment goes on where it was. A victim is counted when its OOM event is in the
// journal, and then never again: it is known by its process, {pid, start}, for as long
// as the ledger may name it. A journal that has grown is written anew, shorter, and
// renamed over the old one.
//
// The methods may be called concurrently; they wait for a write to the file at most.
type Journal struct {
	dir string

	mu     sync.Mutex // guards what follows
	lock   *os.File   // nil where it could not be made
	file   *os.File   // nil where it could not be written
	unread bool       // what is there could not be read
	size   int64
	begun  int64 // size as the journal was begun
	state  state
	text   []byte // to be used again
	err    error  // of the last write

	closed bool
	fault  error // for tests: what every write gives
}

func (j *Journal) path(name string) string { return filepath.Join(j.dir, name) }

// Close ends writing.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.lock != nil {
		// A child that was just forked keeps a copy of the descriptor until its execve.
		_ = unix.Flock(int(j.lock.Fd()), unix.LOCK_UN)
	}
	var errs []error
	for _, f := range []*os.File{j.file, j.lock} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	j.file, j.lock, j.closed = nil, nil, true
	return errors.Join(errs...)
}

// Has reports whether a victim was counted.
func (j *Journal) Has(r *bpf.Record) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state.seen.has(r.Key(), r.BootNS)
}

// Add counts OOM events, before they are reported. open says that they stay so
// until Done. An error says that some will be counted again after a restart; they
// are counted in memory all the same.
func (j *Journal) Add(open bool, list ...events.OOMEvent) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := make([]line, len(list))
	for i := range list {
		j.state.add(list[i], open)
		lines[i] = line{Kind: kindOOMEvent, OOMEvent: &list[i], Open: open}
	}
	return j.writeLocked(lines...)
}

// Done ends a delivery. One that is not open is no error.
func (j *Journal) Done(id string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.state.done(id) {
		return nil
	}
	return j.writeLocked(line{Kind: kindDone, ID: id})
}

// Open are the OOM events whose delivery is open, oldest first.
func (j *Journal) Open() []events.OOMEvent {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state.openList()
}

// OpenCount is how many they are.
func (j *Journal) OpenCount() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.state.open)
}

// Dropped counts the deliveries that were given up since they were too many.
func (j *Journal) Dropped() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state.dropped
}

// Past are the last OOM events, oldest first.
func (j *Journal) Past() []events.OOMEvent {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]events.OOMEvent(nil), j.state.past...)
}

// Totals are a copy of the counts.
func (j *Journal) Totals() events.Totals {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state.copyTotals()
}

// Err is why the last write failed, nil if it did not.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// writeLocked appends lines, in one write unless they are long. Where it can't, the
// next write is of the journal anew, with all that the lines missed.
func (j *Journal) writeLocked(lines ...line) error {
	j.err = j.tryLocked(lines)
	return j.err
}

func (j *Journal) tryLocked(lines []line) error {
	if j.closed {
		return fmt.Errorf("journal: %w", os.ErrClosed)
	}
	if j.fault != nil {
		return j.dropLocked(j.fault)
	}
	if j.file == nil || j.size > j.begun+maxFile {
		return j.renewLocked()
	}
	text := j.text[:0]
	for i := range lines {
		next, err := lines[i].appendTo(text)
		if errors.Is(err, errLong) {
			return j.renewLocked() // all are counted there, and this one is left out itself
		}
		if err != nil {
			return err
		}
		if text = next; i+1 < len(lines) && len(text) < maxWrite {
			continue
		}
		n, err := j.file.Write(text)
		j.size += int64(n)
		if err != nil {
			return j.dropLocked(err)
		}
		text = text[:0]
	}
	if cap(text) <= 2*maxWrite {
		j.text = text
	}
	return nil
}

// dropLocked lets go of a file that takes no more.
func (j *Journal) dropLocked(err error) error {
	if j.file != nil {
		err = errors.Join(err, j.file.Close())
		j.file = nil
	}
	return fmt.Errorf("journal: %w", err)
}

// renewLocked writes the state to a new file and goes on in that. What was there and
// could not be read is kept beside.
func (j *Journal) renewLocked() error {
	if err := j.lockLocked(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if j.unread {
		if err := os.Rename(j.path(fileName), j.path(unreadName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("journal: set aside what can't be read: %w", err)
		}
		j.unread = false
	}
	f, size, err := renewFile(j.path(fileName), j.path(nextName), j.fillLocked)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	old := j.file
	j.file, j.size, j.begun = f, size, size
	if old == nil {
		return nil
	}
	if err := old.Close(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// fillLocked writes the state, and has it on disk before the old journal goes.
func (j *Journal) fillLocked(f *os.File) (int64, error) {
	size, err := j.state.writeTo(f)
	if err != nil {
		return size, err
	}
	return size, f.Sync()
}

// maxSize bounds what is read: a journal as large as this was not written here.
const maxSize = 64 << 20

func bounded(r io.Reader) io.Reader { return io.LimitReader(r, maxSize) }
