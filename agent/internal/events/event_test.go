package events_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/bpf"
)

// FuzzNames: whatever a cgroup is called, an OOM event has it in printable text.
func FuzzNames(f *testing.F) {
	for _, path := range []string{
		"/a\xff\xfe", "/a\nb", "/\x1b[2J/x", "/\u202eabc", "/\u009b1m", "/a\x7f", "/kubepods/pod\xff/x", "/kubepods/pod1/\x00",
		"/" + strings.Repeat("\u20ac", 300), "/" + strings.Repeat("\x01", 300), "/" + strings.Repeat("a", 511), "/" + strings.Repeat("a", 512),
		"/system.slice/a-\x1b.scope", "/web/\xff", "/kubepods/pod1/a b", "/\ufffd",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		name := cgroups.Name{ID: 1, Path: path}
		in := events.New(&bpf.Record{Cgroup: 1, Domain: 1}, name, name)
		v := in.First()
		texts := []string{v.Cgroup.Path, in.Domain.Path}
		if v.Container != nil {
			texts = append(texts, v.Container.ID)
		}
		if v.Pod != nil {
			texts = append(texts, v.Pod.UID)
		}
		for _, text := range texts {
			require.True(t, utf8.ValidString(text), "%q", text)
			for _, r := range text {
				require.True(t, unicode.IsPrint(r), "%q", text)
			}
			require.Equal(t, text, events.Clean(text), "as it is shown")
		}
		gone := events.New(&bpf.Record{Cgroup: 1}, cgroups.Name{ID: 1, Nearest: path}, cgroups.Name{})
		ancestor := gone.First().Cgroup.Ancestor
		if clean := events.Clean(path); len(clean) > 512 {
			require.LessOrEqual(t, len(ancestor), 512)
			require.True(t, strings.HasPrefix(clean, strings.TrimSuffix(ancestor, "...")), "%q", ancestor)
		} else {
			require.Equal(t, clean, ancestor)
		}
	})
}

// TestLongPath: a path that takes six times as many bytes as it has is cut off, so that
// thousands of victims have room in memory.
func TestLongPath(t *testing.T) {
	name := cgroups.Name{ID: 1, Path: "/" + strings.Repeat("\x01", 4000)}
	in := events.New(&bpf.Record{Cgroup: 1, Domain: 1}, name, name)
	for _, path := range []string{in.First().Cgroup.Path, in.Domain.Path} {
		require.LessOrEqual(t, len(path), 512)
		require.True(t, strings.HasPrefix(path, `/\u0001`) && strings.HasSuffix(path, "..."), path)
	}
}
