//go:build linux

// Package differential sends the same calls to the stock shim and to ours. It compares every
// field of every answer, every error and every event.
package differential

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

var systemd = flag.Bool("systemd", false, "use the systemd cgroup driver")

// sequence is a series of calls.
type sequence struct {
	name string
	run  func(*session)
	// unordered says that the stock shim's events have no fixed order.
	unordered bool
	// oom is how often our shim is to report an OOM.
	oom oomWant
	// trial says that the stock shim also plays our shim, to try the test itself.
	trial bool
}

func TestDifferential(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: runs containers with runc")
	}
	stock, ours := shimtest.Stock(t), shimtest.Ours(t)
	for _, seq := range slices.Concat(lifecycle, streams, wrongs, faults, ooms) {
		t.Run(seq.name, func(t *testing.T) {
			if filepath.Base(ours) == filepath.Base(stock) {
				seq.trial, seq.oom = true, anyOOM
			}
			compare(t, seq, play(t, seq, stock), play(t, seq, ours))
		})
	}
}

// result is the records and the events of a sequence.
type result struct {
	records []record
	events  map[string][]string
}

func play(t *testing.T, seq sequence, shim string) result {
	t.Helper()
	s := newSession(t, shimtest.Config{Shim: shim, SystemdCgroup: *systemd})
	seq.run(s)
	s.finish()
	return result{records: s.records, events: s.events()}
}

func compare(t *testing.T, seq sequence, stock, ours result) {
	t.Helper()
	for i := range max(len(stock.records), len(ours.records)) {
		var a, b record
		if i < len(stock.records) {
			a = stock.records[i]
		}
		if i < len(ours.records) {
			b = ours.records[i]
		}
		if a.call == b.call && slices.Equal(a.answer, b.answer) {
			continue
		}
		if seq.trial && b.call == exitBeforeDelete {
			continue
		}
		if why := allowed(a, b); why != "" {
			t.Logf("%s differs, as it should: %s", b.call, why)
			continue
		}
		t.Errorf("call %d: %s", i+1, diff(a, b))
	}
	compareEvents(t, seq, stock.events, ours.events)
}

func compareEvents(t *testing.T, seq sequence, stock, ours map[string][]string) {
	t.Helper()
	ids := slices.Sorted(maps.Keys(stock))
	for id := range ours {
		if _, ok := stock[id]; !ok {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		a, b := slices.Clone(stock[id]), slices.Clone(ours[id])
		a, b = withoutOOM(t, seq.oom, a, b)
		if seq.unordered {
			slices.Sort(a)
			slices.Sort(b)
		}
		if !slices.Equal(a, b) {
			t.Errorf("events of %q: %s", id, diff(record{answer: a}, record{answer: b}))
		}
	}
}

// diff marks the lines that only one of two records has, among all other lines.
func diff(stock, ours record) string {
	var text strings.Builder
	if stock.call != ours.call {
		fmt.Fprintf(&text, "stock: %s, ours: %s", stock.call, ours.call)
	} else {
		text.WriteString(ours.call)
	}
	only := func(mark string, a, b []string) {
		for i, line := range a {
			if i < len(b) && b[i] == line {
				fmt.Fprintf(&text, "\n      %d %s", i+1, line)
			} else {
				fmt.Fprintf(&text, "\n    %s %d %s", mark, i+1, line)
			}
		}
	}
	text.WriteString("\n  stock:")
	only("-", stock.answer, ours.answer)
	text.WriteString("\n  ours:")
	only("+", ours.answer, stock.answer)
	return text.String()
}
