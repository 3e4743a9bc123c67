package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	spool "github.com/oomwitness/oomwitness/oom/exits"
)

const (
	// MaxExits is how many exits are kept. When there are more, the oldest of the
	// Kubernetes namespace with the most goes.
	MaxExits = 1000
	// maxExitsFile bounds the file, in bytes: a file that is larger is written anew, with what
	// is kept.
	maxExitsFile = 4 << 20
	// spoolEvery is how often the spool is read. A spool holds the ends of many seconds.
	spoolEvery = time.Second

	exitsName = "exits"
)

// Exits keeps the ends of the node's container runs, as the shims have decided them, over
// restarts of the agent and of the node. Its methods may be called concurrently, Run once.
type Exits struct {
	path string
	tail spool.Tail
	warn func(error)
	out  func(*spool.Exit)

	// mu guards what follows. It is held for a look at memory only.
	mu      sync.Mutex
	exits   []spool.Exit // oldest first, by when they were read
	known   map[spool.Key]bool
	owners  map[string]int
	missing time.Time // see Missing
	err     error     // why the file can't be written, or the spool not be read

	again func(*spool.Exit)
	found chan spool.Exit

	file   *os.File // Run's own; nil where it could not be opened
	size   int64
	marked time.Time // the newest mark in the file
}

// ExitsOptions are those of OpenExits.
type ExitsOptions struct {
	// Dir is the agent's state directory, Spool the folder of the shims' exits.
	Dir, Spool string
	// Warn is called once for each kind of trouble.
	Warn func(error)
	// Out, if not nil, gets each exit that no agent has read before. Out must not block.
	Out func(*spool.Exit)
	// Again, if not nil, gets at Start each exit of the last minutes: an agent
	// before this one may have reported it or not. Again must not block.
	Again func(*spool.Exit)
}

// OpenExits returns the Exits that an agent before this one has kept.
func OpenExits(o ExitsOptions) *Exits {
	s := &Exits{
		path: filepath.Join(o.Dir, exitsName), tail: spool.Tail{Dir: o.Spool}, warn: o.Warn, out: o.Out,
		known: map[spool.Key]bool{}, owners: map[string]int{}, again: o.Again, found: make(chan spool.Exit, maxFound),
	}
	list, damaged, err := s.load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.trouble(fmt.Errorf("the exits of an earlier agent are not known: %w", err))
	}
	if damaged > 0 {
		s.warn(fmt.Errorf("%s: %d lines are damaged, and left out", s.path, damaged))
	}
	s.add(list)
	return s
}

func (s *Exits) load() ([]spool.Exit, int, error) {
	f, err := openFile(s.path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 2*maxExitsFile))
	list, damaged := spool.ParseAll(s.takeMarks(text))
	return list, damaged, err
}

// Start reports again the exits that an earlier agent may not have reported, and reads the
// spool: all of it, which makes some 10 MB of garbage from a full spool.
func (s *Exits) Start() {
	if s.again != nil {
		for _, e := range s.since(time.Now().Add(-unreported)) {
			s.again(&e)
		}
	}
	s.read()
}

// Run follows the spool until ctx ends, after Start.
func (s *Exits) Run(ctx context.Context) {
	ticker := time.NewTicker(spoolEvery)
	defer ticker.Stop()
	defer func() {
		if s.file != nil {
			_ = s.file.Close() // each write has said what was wrong
		}
	}()
	for {
		select {
		case <-ticker.C:
			s.read()
		case <-ctx.Done():
			s.read()
			return
		}
	}
}

// unreported is how long before the start of an agent an exit may be to be reported.
const unreported = 10 * time.Minute

// since returns the exits that are kept and no older than a time.
func (s *Exits) since(at time.Time) []spool.Exit {
	return slices.DeleteFunc(s.All(), func(e spool.Exit) bool { return e.At.Before(at) })
}

// maxFound bounds the exits that wait for Run.
const maxFound = 1024

// Found takes an exit that no shim has spooled. It never waits: where there is no room,
// the exit is left out, and Found returns false. So is one that makes no line: the file could
// not be written as long as that exit is kept.
func (s *Exits) Found(e spool.Exit) bool {
	if _, err := e.WriteTo(io.Discard); err != nil {
		return false
	}
	select {
	case s.found <- e:
		return true
	default:
		return false
	}
}

// Has reports whether an exit of the same container run is kept.
func (s *Exits) Has(e *spool.Exit) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.exits, func(o spool.Exit) bool { return o.SameRun(e) })
}

// read takes what is new in the spool, and what was found elsewhere.
func (s *Exits) read() {
	list, damaged, gap, err := s.tail.Next()
	if gap {
		s.missed(list)
	}
	if damaged > 0 {
		err = errors.Join(err, fmt.Errorf("%d lines in the spool of exits are damaged, or of another version", damaged))
	}
	for more := len(s.found); more > 0; more-- {
		list = append(list, <-s.found)
	}
	added := s.add(list)
	if len(added) > 0 {
		err = errors.Join(err, s.write(added))
	}
	for i := range added {
		if s.out != nil {
			s.out(&added[i])
		}
	}
	s.trouble(err)
}

// trouble warns of what is wrong, once until something else is.
func (s *Exits) trouble(err error) {
	s.mu.Lock()
	same := err == nil || s.err != nil && s.err.Error() == err.Error()
	s.err = err
	s.mu.Unlock()
	if !same {
		s.warn(err)
	}
}

// All returns the exits that are kept, in the order in which they were read.
func (s *Exits) All() []spool.Exit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.exits)
}

// Err returns what is wrong with the spool or the file, nil where all is well.
func (s *Exits) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// write adds exits to the file, or writes the file anew where it is full.
func (s *Exits) write(added []spool.Exit) error {
	if s.file == nil || s.size > maxExitsFile {
		return s.renew()
	}
	n, err := s.writeTo(s.file, added)
	s.size += n
	if err != nil {
		err = errors.Join(err, s.file.Close())
		s.file = nil // the next write is of the file anew
		return fmt.Errorf("keep the exits: %w", err)
	}
	return nil
}

// writeTo writes exits, and before them the mark.
func (s *Exits) writeTo(w io.Writer, list []spool.Exit) (size int64, err error) {
	size, err = s.writeMark(w)
	for i := 0; i < len(list) && err == nil; i++ {
		var n int64
		n, err = list[i].WriteTo(w)
		size += n
	}
	return size, err
}

// renew writes what is kept to a new file, in the place of the old one.
func (s *Exits) renew() error {
	if s.file != nil {
		_ = s.file.Close() // it is replaced
		s.file = nil
	}
	s.marked = time.Time{}
	f, size, err := renewFile(s.path, s.path+".next", func(f *os.File) (int64, error) {
		out := bufio.NewWriter(f)
		size, err := s.writeTo(out, s.All())
		return size, errors.Join(err, out.Flush())
	})
	if err != nil {
		return fmt.Errorf("keep the exits: %w", err)
	}
	s.file, s.size = f, size
	return nil
}
