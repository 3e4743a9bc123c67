package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/store"
)

// oomEvent is the nth OOM event, with one victim.
func oomEvent(n uint64, at time.Time) events.OOMEvent {
	in := events.OOMEvent{Event: n, BootNS: n, Time: at, Victims: []events.Victim{{}}}
	in.Identify("boot")
	return in
}

// recorder reads the journal at each moment when an OOM event is reported.
type recorder struct {
	t        *testing.T
	name     string
	reported []string
}

func (l *recorder) look(what, id string) {
	data, err := os.ReadFile(l.name)
	require.NoError(l.t, err)
	require.Contains(l.t, string(data), `"id":"`+id+`"`, what)
	l.reported = append(l.reported, what+" "+id)
}

func (l *recorder) Take(in events.OOMEvent) { l.look("consumer", in.ID) }
func (l *recorder) Format(e *logrus.Entry) ([]byte, error) {
	l.look("log", e.Data["id"].(string))
	return nil, nil
}

// TestWrittenBeforeItIsReported: of OOM events that come together each is in the journal
// when the log or a consumer has it, and they are reported in their order.
func TestWrittenBeforeItIsReported(t *testing.T) {
	dir := t.TempDir()
	j, _, _, err := store.Open(dir, "boot", time.Now())
	require.NoError(t, err)
	defer j.Close()
	l := &recorder{t: t, name: filepath.Join(dir, "journal")}
	log := logrus.New()
	log.SetFormatter(l)
	a := newPipeline(config{log: log, consumers: []events.Consumer{l}})
	a.journal = j
	var list []events.OOMEvent
	for n := range uint64(3) {
		list = append(list, oomEvent(n, time.Now()))
	}
	a.deliver(list)
	require.Equal(t, []string{
		"log boot-0-0", "consumer boot-0-0", "log boot-1-1", "consumer boot-1-1", "log boot-2-2", "consumer boot-2-2",
	}, l.reported)
}
