package agent

import (
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/store"
)

// TestBacklogIsNamed: kills that are too old to be reported are counted, and how many
// they were is said once, ahead of the first that is reported.
func TestBacklogIsNamed(t *testing.T) {
	log, lines := test.NewNullLogger()
	j, _, _, err := store.Open(t.TempDir(), "boot", time.Now())
	require.NoError(t, err)
	defer j.Close()
	a := newPipeline(config{log: log})
	a.journal = j
	var list []events.OOMEvent
	for i, age := range []time.Duration{2 * time.Hour, 2 * time.Hour, 0, 0} {
		list = append(list, oomEvent(uint64(i), time.Now().Add(-age)))
	}
	a.deliver(list[:1])
	a.deliver(list[1:])
	a.logSilent()
	var said []string
	for _, e := range lines.AllEntries() {
		said = append(said, e.Message)
	}
	backlog := "some OOM kills are too old to be reported: they are only counted"
	require.Equal(t, []string{backlog, events.LogMessage, events.LogMessage}, said)
	require.Equal(t, logrus.Fields{"oom_events": 2, "older_than": "1h0m0s"}, lines.AllEntries()[0].Data)
	require.EqualValues(t, 4, j.Totals().OOMEvents)
}

// TestAJournalThatTakesNothingIsNamedOnce: a full disk is one line of the log, and not one
// for each of the kills that were before the agent's start.
func TestAJournalThatTakesNothingIsNamedOnce(t *testing.T) {
	log, lines := test.NewNullLogger()
	j, _, _, err := store.Open(t.TempDir(), "boot", time.Now())
	require.NoError(t, err)
	require.NoError(t, j.Close())
	a := newPipeline(config{log: log})
	a.journal = j
	for i := range 100 {
		a.deliver([]events.OOMEvent{oomEvent(uint64(i), time.Now().Add(-2*time.Hour))})
	}
	require.Len(t, lines.AllEntries(), 1)
	require.Equal(t, logrus.ErrorLevel, lines.LastEntry().Level)
	require.Contains(t, lines.LastEntry().Message, "the position is not written down")
}
