package why_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why"
)

// ended returns a run that ended so many minutes after noon.
func ended(id string, minutes int) why.Run {
	at := time.Date(2026, 1, 2, 12, minutes, 0, 0, time.UTC)
	return why.Run{
		Pod: &why.Pod{Namespace: "shop", Name: "db-0", UID: "u" + id}, Container: why.Container{ID: id, Name: "app"}, EndedAt: &at, Status: new(1),
		Recent: &why.Recent{Hours: 24, Runs: 2, OOM: 1},
	}
}

func answerOf(node string, runs ...why.Run) *why.Document {
	return &why.Document{Schema: why.Schema, Time: time.Date(2026, 1, 2, 13, 0, 0, 0, time.UTC), Node: node, Source: why.SourceAgent, Runs: runs}
}

// TestMerge: the newest run is first, whichever node knows the run; a run that two agents of
// one node know is there once.
func TestMerge(t *testing.T) {
	one := answerOf("node-a", ended("2", 20), ended("1", 10))
	require.Same(t, one, why.Merge([]*why.Document{one}))

	other := answerOf("node-b", ended("3", 30), ended("0", 5))
	other.Notes = []string{"no ledger"}
	d := why.Merge([]*why.Document{one, answerOf("node-a", ended("2", 20), ended("1", 10)), other})
	var ids, nodes []string
	for _, r := range d.Runs {
		ids, nodes = append(ids, r.Container.ID), append(nodes, r.Node)
		require.Equal(t, &why.Recent{Hours: 24, Runs: 4, OOM: 2}, r.Recent)
	}
	require.Equal(t, []string{"3", "2", "1", "0"}, ids)
	require.Equal(t, []string{"node-b", "node-a", "node-a", "node-b"}, nodes)
	require.Equal(t, "node-a, node-b", d.Node)
	require.Equal(t, []string{"node node-b: no ledger"}, d.Notes)
	require.Zero(t, d.Omitted)

	var page strings.Builder
	require.NoError(t, d.Write(&page, why.Options{Location: time.UTC}))
	require.Contains(t, page.String(), "ended at     2026-01-02 12:30:00 UTC on node node-b\n")
	require.Contains(t, page.String(), "earlier runs 01-02 12:20:00 ended with exit status 1, status 1 on node node-a\n")
}

// TestMergeIsBounded: the oldest runs are left out and counted, and the page says so.
func TestMergeIsBounded(t *testing.T) {
	var documents []*why.Document
	for n := range 3 {
		d := answerOf(string(rune('a' + n)))
		for i := range why.MaxRuns {
			d.Runs = append(d.Runs, ended(strings.Repeat("x", 3*i+n+1), 3*i+n))
		}
		d.Omitted = 1
		documents = append(documents, d)
	}
	d := why.Merge(documents)
	require.Len(t, d.Runs, why.MaxRuns)
	require.Equal(t, 2*why.MaxRuns+3, d.Omitted)
	require.Equal(t, 3*why.MaxRuns, len(d.Runs[0].Container.ID), "the newest")
	require.Equal(t, 2*why.MaxRuns+1, len(d.Runs[why.MaxRuns-1].Container.ID))
	var page strings.Builder
	require.NoError(t, d.Write(&page, why.Options{Location: time.UTC}))
	require.Contains(t, page.String(), "note: 103 older runs not shown")
}
