package agent

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/events"
	"github.com/oomwitness/oomwitness/agent/kill"
)

// TestFormatter: lines are those of logrus.JSONFormatter, those of OOM events and all
// others.
func TestFormatter(t *testing.T) {
	in := events.New("boot", kill.Event{
		Time: time.Unix(1, 5e6).UTC(), BootNS: 7, Event: 3, Cause: "pod", Tier: "A", Trigger: kill.Process{PID: 1, Comm: "a<\n"},
		Victim: kill.Victim{Process: kill.Process{PID: 2, Comm: "\xff"}}, Pod: &kill.Pod{Name: "web"},
	})
	whole := in
	whole.Add(kill.Event{Index: 1, Container: &kill.Container{ID: "c"}, Unit: "u"})
	whole.Domain = &kill.Domain{Constraint: "memcg", Path: "/a", Size: 5}
	whole.Limit, whole.Usage = new(uint64(4)), new(uint64(3))
	late := in
	late.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, say := range map[string]func(*logrus.Logger){
		"least":         func(l *logrus.Logger) { logOOMEvent(l, &in) },
		"whole":         func(l *logrus.Logger) { logOOMEvent(l, &whole) },
		"no such year":  func(l *logrus.Logger) { logOOMEvent(l, &late) },
		"another line":  func(l *logrus.Logger) { l.WithError(errors.New("<no>")).WithField("id", 5).Error("something") },
		"field more":    func(l *logrus.Logger) { l.WithFields(logrus.Fields{"id": "a", "z": 1}).Warn(Message) },
		"a clash":       func(l *logrus.Logger) { l.WithFields(logrus.Fields{"level": "a", "time": "b"}).Warn(Message) },
		"another type":  func(l *logrus.Logger) { l.WithField("limit_bytes", 1.5).Warn(Message) },
		"with a caller": func(l *logrus.Logger) { l.SetReportCaller(true); logOOMEvent(l, &in) },
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, f := range []logrus.Formatter{&logrus.JSONFormatter{}, NewFormatter()} {
				var out bytes.Buffer
				l := logrus.New()
				l.SetOutput(&out)
				l.SetFormatter(atOneTime{f})
				say(l)
				got = append(got, out.String())
			}
			if name == "no such year" {
				require.Empty(t, got[0], "logrus says so on the standard error")
			} else {
				require.NotEmpty(t, got[0])
			}
			require.Equal(t, got[0], got[1])
		})
	}
}

// TestShortWay: what logOOMEvent says is what the short way takes.
func TestShortWay(t *testing.T) {
	in := events.New("boot", kill.Event{Domain: &kill.Domain{}})
	in.Limit, in.Usage = new(uint64(4)), new(uint64(3))
	l := logrus.New()
	l.SetOutput(&bytes.Buffer{})
	taken := 0
	l.SetFormatter(formatFunc(func(e *logrus.Entry) ([]byte, error) {
		if _, ok := appendLine(nil, e); ok {
			taken++
		}
		return nil, nil
	}))
	logOOMEvent(l, &in)
	require.Equal(t, 1, taken)
}

type formatFunc func(*logrus.Entry) ([]byte, error)

func (f formatFunc) Format(e *logrus.Entry) ([]byte, error) { return f(e) }

// atOneTime has all lines be of the same moment.
type atOneTime struct{ logrus.Formatter }

func (f atOneTime) Format(e *logrus.Entry) ([]byte, error) {
	e.Time = time.Unix(9, 0).UTC()
	return f.Formatter.Format(e)
}
