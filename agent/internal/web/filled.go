package web

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/why"
)

// filled is what filled the memory, as a bar. The bar is 100 wide.
type filled struct {
	Heading, Text, Largest string
	// OfProcess says that the memory is that of the killed processes alone.
	OfProcess bool
	Parts     []part
}

type part struct{ Class, Name, Size, Share, X, Width string }

// kindOther is the memory that no kind has.
const kindOther = "other"

// unknownKinds is how oom.Memory names the kinds that the kernel did not show.
const unknownKinds = "kinds"

// newFilled returns the bar of what filled the memory. Where nobody has recorded that, the
// bar is of the killed processes; nil where their sizes are not known either.
func newFilled(m *oom.Memory, victims []events.Victim) *filled {
	if m != nil && !slices.Contains(m.Unknown, unknownKinds) {
		sum := m.Anon + m.File + m.Shmem + m.Kernel
		f := barOf([]why.Kind{
			{Name: why.KindAnon, Bytes: m.Anon}, {Name: why.KindFile, Bytes: m.File}, {Name: why.KindShmem, Bytes: m.Shmem},
			{Name: why.KindKernel, Bytes: m.Kernel}, {Name: kindOther, Bytes: m.Usage - min(m.Usage, sum)},
		})
		if f != nil {
			f.Heading = "What filled the memory"
			if m.Swap > 0 {
				f.Heading += ", beside " + events.Size(m.Swap) + " in swap"
			}
			f.Text = f.Heading + ": " + f.Text
		}
		return f
	}
	var anon, file, shmem uint64
	for i := range victims {
		v := &victims[i].Memory
		anon, file, shmem = anon+orZero(v.Anon), file+orZero(v.File), shmem+orZero(v.Shmem)
	}
	f := barOf([]why.Kind{{Name: why.KindAnon, Bytes: anon}, {Name: why.KindFile, Bytes: file}, {Name: why.KindShmem, Bytes: shmem}})
	if f != nil {
		f.OfProcess = true
		f.Heading = "The memory of the killed " + nounOf(len(victims), "process", "processes") + ". What filled the rest is not known"
		f.Text = f.Heading + ": " + f.Text
		f.Largest = "killed: " + f.Largest
	}
	return f
}

// barOf returns the parts of a bar, nil if there is nothing of any kind.
func barOf(kinds []why.Kind) *filled {
	var total, largest, at float64
	for _, k := range kinds {
		total += float64(k.Bytes)
	}
	f := &filled{}
	var texts []string
	for _, k := range kinds {
		if k.Bytes == 0 {
			continue
		}
		width := 100 * float64(k.Bytes) / total
		p := part{
			Class: strings.ReplaceAll(k.Name, " ", "-"), Name: k.Name, Size: events.Size(k.Bytes), Share: share(width),
			X: fmt.Sprintf("%.1f", at), Width: fmt.Sprintf("%.1f", width),
		}
		at += width
		f.Parts = append(f.Parts, p)
		texts = append(texts, p.Name+" "+p.Share)
		if width > largest {
			largest, f.Largest = width, p.Share+" "+p.Name
		}
	}
	if len(f.Parts) == 0 {
		return nil
	}
	f.Text = strings.Join(texts, ", ")
	return f
}

// share returns a part of a hundred: what is there is not 0, and what is not all is not 100.
func share(percent float64) string {
	switch {
	case percent < 1:
		return "<1%"
	case percent > 99 && percent < 100:
		return ">99%"
	default:
		return fmt.Sprintf("%.0f%%", percent)
	}
}

func orZero(n *uint64) uint64 {
	if n == nil {
		return 0
	}
	return *n
}
