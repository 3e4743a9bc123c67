package agent

import (
	"time"

	"github.com/sirupsen/logrus"

	"github.com/oomwitness/oomwitness/agent/events"
	"github.com/oomwitness/oomwitness/agent/jsonline"
	"github.com/oomwitness/oomwitness/agent/kill"
)

// formatter is logrus's for JSON, with a short way for the lines of OOM events.
type formatter struct{ all logrus.JSONFormatter }

// NewFormatter returns what logrus.JSONFormatter returns, byte for byte, and of an OOM
// event's line without reflection.
func NewFormatter() logrus.Formatter { return &formatter{} }

// lineKeys are those of an OOM event's line in their order, with logrus's own.
var lineKeys = []string{
	"at", "cause", "constraint", "domain", "domain_bytes", "event", "id", logrus.FieldKeyLevel, "limit_bytes", logrus.FieldKeyMsg,
	"tier", logrus.FieldKeyTime, "trigger", "usage_bytes", "victims",
}

// Format implements logrus.Formatter.
func (f *formatter) Format(e *logrus.Entry) ([]byte, error) {
	if e.Message == Message && e.Buffer != nil && e.Caller == nil {
		if text, ok := appendLine(e.Buffer.AvailableBuffer(), e); ok {
			e.Buffer.Write(text)
			return e.Buffer.Bytes(), nil
		}
	}
	return f.all.Format(e)
}

// appendLine returns false for an entry that has anything else than logOOMEvent's.
func appendLine(b []byte, e *logrus.Entry) ([]byte, bool) {
	b = append(b, '{')
	left := len(e.Data)
	for _, key := range lineKeys {
		switch key {
		case logrus.FieldKeyLevel:
			b = jsonline.String(b, key, e.Level.String())
		case logrus.FieldKeyMsg:
			b = jsonline.String(b, key, e.Message)
		case logrus.FieldKeyTime:
			b = jsonline.String(b, key, e.Time.Format(time.RFC3339))
		default:
			value, ok := e.Data[key]
			if !ok {
				continue
			}
			if b, ok = appendValue(jsonline.Key(b, key), value); !ok {
				return nil, false
			}
			left--
		}
	}
	return append(b, '}', '\n'), left == 0
}

func appendValue(b []byte, value any) ([]byte, bool) {
	switch v := value.(type) {
	case string:
		return jsonline.Text(b, v), true
	case uint64:
		return jsonline.Number(b, v), true
	case size:
		return jsonline.Number(b, uint64(v)), true
	case time.Time:
		b, err := jsonline.Time(b, v)
		return b, err == nil
	case process:
		return kill.AppendProcess(b, &v.Process), true
	case victims:
		return events.AppendVictims(b, v), true
	}
	return nil, false
}
