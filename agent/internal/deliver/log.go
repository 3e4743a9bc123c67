package deliver

import (
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// quiet is how long a line of one kind is not written again: an API server that
// refuses everything would fill the log.
const quiet = 10 * time.Second

// kindOfLine is what is written once in that time.
type kindOfLine struct {
	stage  Stage
	action string
	reason Reason
}

// quietLog writes one line of each kind in a time, with the number of those that
// it has left off since the last.
type quietLog struct {
	log logrus.FieldLogger

	mu   sync.Mutex
	last map[kindOfLine]time.Time
	left map[kindOfLine]int
}

func newQuietLog(log logrus.FieldLogger) *quietLog {
	return &quietLog{log: log, last: map[kindOfLine]time.Time{}, left: map[kindOfLine]int{}}
}

func (l *quietLog) skipped(lane Lane, t Task, err *SkipError) {
	entry, write := l.entry(kindOfLine{Skipped, lane.Action, err.Reason}, lane, t)
	if !write {
		return
	}
	if err.Err != nil {
		entry = entry.WithError(err.Err)
	}
	entry.Warn("kubernetes: skipped")
}

func (l *quietLog) failed(lane Lane, t Task, err *RetryError) {
	if entry, write := l.entry(kindOfLine{Error, lane.Action, err.Reason}, lane, t); write {
		entry.WithError(err.Err).Warn("kubernetes: failed, to be tried again")
	}
}

func (l *quietLog) entry(kind kindOfLine, lane Lane, t Task) (*logrus.Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, ok := l.last[kind]; ok && time.Since(last) < quiet {
		l.left[kind]++
		return nil, false
	}
	fields := logrus.Fields{"action": lane.Action, "oom_event": t.ID, "reason": string(kind.reason)}
	if !lane.Target.Node() {
		fields["pod"], fields["pod_uid"] = lane.Target.Namespace+"/"+lane.Target.Name, lane.Target.UID
	}
	if left := l.left[kind]; left > 0 {
		fields["left_off"] = left
	}
	l.last[kind], l.left[kind] = time.Now(), 0
	return l.log.WithFields(fields), true
}
