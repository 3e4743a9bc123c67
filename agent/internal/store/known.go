package store

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
)

// knownHead is the first line of a file.
type knownHead struct {
	Version int    `json:"v"`
	Boot    string `json:"boot"`
}

const (
	// knownVersion is that of the lines. A file of another one is left out.
	knownVersion = 2
	// maxCgroups bounds what is kept: of a node, many times over. maxPath bounds a path,
	// as the kernel does, and maxKnown a line, in bytes: in JSON a byte takes six.
	maxCgroups = 1 << 14
	maxPath    = 4095
	maxKnown   = 32 << 10
)

// fits reports whether a line is of a cgroup that there can be.
func fits(k *cgroups.Known) bool {
	return k.ID != 0 && strings.HasPrefix(k.Path, "/") && path.Clean(k.Path) == k.Path &&
		len(k.Path) <= maxPath && utf8.ValidString(k.Path) && !strings.ContainsRune(k.Path, 0)
}

// appendKnown appends a line, unless it would not be read again: JSON has no bytes that
// are not UTF-8.
func appendKnown(data []byte, k cgroups.Known) []byte {
	if !fits(&k) {
		return data
	}
	text, err := json.Marshal(k)
	if err != nil || len(text) >= maxKnown {
		return data
	}
	return append(append(data, text...), '\n')
}

// fresh leaves out what was removed too long ago. A time of the future is taken for now:
// the clock was set back.
func fresh(list []cgroups.Known, now time.Time) []cgroups.Known {
	var kept []cgroups.Known
	for _, k := range list {
		if k.Gone.After(now) {
			k.Gone = now
		}
		if len(kept) < maxCgroups && (k.Gone.IsZero() || now.Sub(k.Gone) < cgroups.DefaultKeep) {
			kept = append(kept, k)
		}
	}
	return kept
}

// writeKnown writes a whole file.
func writeKnown(w io.Writer, boot string, list []cgroups.Known) (size int64, err error) {
	text, err := json.Marshal(knownHead{knownVersion, boot})
	if err != nil {
		return 0, err
	}
	n, err := w.Write(append(text, '\n'))
	size = int64(n)
	for i := 0; i < len(list) && err == nil; i++ {
		text = appendKnown(text[:0], list[i])
		n, err = w.Write(text)
		size += int64(n)
	}
	return size, err
}

// parseKnown reads a file, nothing of it where it is of another boot. A later line takes
// the place of an earlier one of the same cgroup. Lines that are none are counted in
// damaged and left out, the last one that has no end without being counted: the agent
// died.
func parseKnown(r io.Reader, boot string) (list []cgroups.Known, damaged int, err error) {
	in := bufio.NewReader(r)
	var head knownHead
	switch text, err := readLine(in, maxKnown); {
	case errors.Is(err, io.EOF):
		return nil, 0, nil
	case err != nil && !errors.Is(err, errLong):
		return nil, 0, err
	default:
		_ = json.Unmarshal(text, &head) // what is no head has no version
	}
	switch {
	case head.Version != knownVersion:
		return nil, 1, nil // whose boot it is is not known
	case head.Boot != boot:
		return nil, 0, nil
	}
	read := map[uint64]cgroups.Known{}
	for {
		text, err := readLine(in, maxKnown)
		switch {
		case errors.Is(err, io.EOF):
			return slices.Collect(maps.Values(read)), damaged, nil
		case err != nil && !errors.Is(err, errLong):
			return slices.Collect(maps.Values(read)), damaged, err
		}
		var k cgroups.Known
		if err != nil || json.Unmarshal(text, &k) != nil || !fits(&k) || !put(read, k) {
			damaged++
		}
	}
}

// put returns false for one more than is kept.
func put(read map[uint64]cgroups.Known, k cgroups.Known) bool {
	if _, again := read[k.ID]; !again && len(read) == maxCgroups {
		return false
	}
	read[k.ID] = k
	return true
}
