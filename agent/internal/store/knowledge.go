package store

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/resolve"
)

// knownVersion of the lines. A file of another one is left out.
const knownVersion = 1

// known is one thing that is known. The first known of a file has knownVersion and boot, and
// nothing else.
type known struct {
	Version   int                     `json:"v,omitempty"`
	Boot      string                  `json:"boot,omitempty"`
	Cgroup    *cgroups.Known          `json:"cgroup,omitempty"`
	Container *resolve.KnownContainer `json:"container,omitempty"`
	Pod       *resolve.KnownPod       `json:"pod,omitempty"`
}

// maxKnown bounds one, in bytes: a pod of a hundred containers fits.
const maxKnown = 64 << 10

// appendTo appends the known, unless it would not be read again: its names are none,
// or too long.
func (l known) appendTo(data []byte) []byte {
	if l.Version == 0 && !l.fits() {
		return data
	}
	text, err := json.Marshal(l)
	if err != nil || len(text) >= maxKnown {
		return data
	}
	return append(append(data, text...), '\n')
}

// Bounds of what is kept: of a node, many times over.
const (
	maxCgroups    = 1 << 14
	maxContainers = 4096
	maxPods       = 4096
)

// knowledge is what is known of a node.
type knowledge struct {
	cgroups    []cgroups.Known
	containers []resolve.KnownContainer
	pods       []resolve.KnownPod
}

// fresh leaves out what was removed too long ago, and containers without a cgroup.
func (k knowledge) fresh(now time.Time, kubelet *cgroups.Kubelet) knowledge {
	var kept knowledge
	alive := map[string]bool{}
	for _, c := range k.cgroups {
		if c.Gone = notAfter(c.Gone, now); len(kept.cgroups) == maxCgroups || old(c.Gone, now, cgroups.DefaultKeep) {
			continue
		}
		kept.cgroups = append(kept.cgroups, c)
		if place := kubelet.Locate(c.Path); place.Path == c.Path {
			alive[place.Container] = true
		}
	}
	for _, c := range k.containers {
		if alive[c.ID] && len(kept.containers) < maxContainers {
			kept.containers = append(kept.containers, c)
		}
	}
	for _, p := range k.pods {
		if p.Gone = notAfter(p.Gone, now); len(kept.pods) < maxPods && !old(p.Gone, now, resolve.KeepPods) {
			kept.pods = append(kept.pods, p)
		}
	}
	return kept
}

// notAfter takes a time of the future for now: the clock was set back.
func notAfter(t, now time.Time) time.Time {
	if t.After(now) {
		return now
	}
	return t
}

func old(gone, now time.Time, keep time.Duration) bool {
	return !gone.IsZero() && now.Sub(gone) >= keep
}

// writeTo writes a whole file.
func (k knowledge) writeTo(w io.Writer, boot string) (size int64, err error) {
	var text []byte
	put := func(l known) {
		if err == nil {
			var n int
			text = l.appendTo(text[:0])
			n, err = w.Write(text)
			size += int64(n)
		}
	}
	put(known{Version: knownVersion, Boot: boot})
	for i := range k.cgroups {
		put(known{Cgroup: &k.cgroups[i]})
	}
	for i := range k.containers {
		put(known{Container: &k.containers[i]})
	}
	for i := range k.pods {
		put(known{Pod: &k.pods[i]})
	}
	return size, err
}

// reading is a file that is being read: a later known takes the place of an earlier
// one of the same thing.
type reading struct {
	cgroups    map[uint64]cgroups.Known
	containers map[string]resolve.KnownContainer
	pods       map[string]resolve.KnownPod
}

// parseKnowledge reads a file, nothing of it where it is of another boot. Lines that are none
// are counted in damaged and left out, the last one that has no end without being
// counted: the agent died.
func parseKnowledge(r io.Reader, boot string) (k knowledge, damaged int, err error) {
	in := bufio.NewReaderSize(r, maxKnown)
	read := reading{map[uint64]cgroups.Known{}, map[string]resolve.KnownContainer{}, map[string]resolve.KnownPod{}}
	for first, long := true, false; ; {
		text, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = true
			continue
		case errors.Is(err, io.EOF):
			return read.knowledge(), damaged, nil
		case err != nil:
			return read.knowledge(), damaged, err
		}
		var l known
		good := !long && json.Unmarshal(text, &l) == nil
		switch {
		case first && good && l.Version == knownVersion && l.Boot != boot:
			return knowledge{}, 0, nil
		case first && (!good || l.Version != knownVersion):
			return knowledge{}, 1, nil // whose boot it is is not known
		case !first && (!good || !l.fits() || !read.take(l)):
			damaged++
		}
		first, long = false, false
	}
}

// take returns false for one more than is kept.
func (r *reading) take(l known) bool {
	switch {
	case l.Cgroup != nil:
		return put(r.cgroups, l.Cgroup.ID, *l.Cgroup, maxCgroups)
	case l.Container != nil:
		return put(r.containers, l.Container.ID, *l.Container, maxContainers)
	default:
		return put(r.pods, l.Pod.UID, *l.Pod, maxPods)
	}
}

func put[K comparable, V any](m map[K]V, key K, value V, most int) bool {
	if _, ok := m[key]; !ok && len(m) == most {
		return false
	}
	m[key] = value
	return true
}

func (r *reading) knowledge() knowledge {
	return knowledge{
		slices.Collect(maps.Values(r.cgroups)), slices.Collect(maps.Values(r.containers)), slices.Collect(maps.Values(r.pods)),
	}
}
