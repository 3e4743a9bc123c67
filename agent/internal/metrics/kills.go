package metrics

import (
	"slices"
	"strings"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
)

// overflow is the value of every label of the series that takes what is over the
// cap. No namespace, pod or container can have this name.
const overflow = "_overflow"

// killKey are the labels of oomwitness_oom_kills_total. Names are empty for
// processes in no pod: of a node's own there is one series per cause.
type killKey struct {
	cause                     oom.Cause
	namespace, pod, container string
}

// keyOf makes labels of what a victim is counted by.
func keyOf(of events.Series, v *events.Victim) killKey {
	if of.Pod == "" && v.Pod != nil {
		of.Pod = v.Pod.UID // nobody could be asked
	}
	return labelled(of)
}

// labelled leaves out containers in no pod: nothing bounds their names.
func labelled(of events.Series) killKey {
	if of.Pod == "" {
		return killKey{cause: known(oom.Cause(of.Cause))}
	}
	return killKey{known(oom.Cause(of.Cause)), label(of.Namespace), label(of.Pod), label(of.Container)}
}

// maxLabel is the longest name that Kubernetes has.
const maxLabel = 253

// label makes a name fit for a label. Those of Kubernetes all are; containerd takes
// others from whoever asks it.
func label(name string) string {
	return strings.ToValidUTF8(name[:min(len(name), maxLabel)], "\uFFFD")
}

// kills are the counters of oomwitness_oom_kills_total.
//
// A counter that is taken away and comes back lies where it comes back at the value
// that it had: Prometheus then sees no kill at all. So a series is shown for ttl
// after its last kill and then kept, unseen: when it comes back it goes on where it
// was. It is forgotten only for want of room, and not before as much time has gone by
// again; it then starts from 1, and no query over ttl or less sees both lives. What
// finds no room goes to one series: nothing is forgotten early.
//
// A namespace that has fewer series than another finds room all the same: the other, if it
// has the most, gives the series that it had no kill of for the longest time. So whoever makes
// pods all the time costs themselves alone.
type kills struct {
	ttl      time.Duration
	max      int // of those that are shown; twice as many are kept
	series   map[killKey]*series
	overflow series
}

type series struct {
	count         uint64
	created, last time.Time
}

func newKills(ttl time.Duration, most int, now time.Time) kills {
	return kills{ttl: ttl, max: most, series: map[killKey]*series{}, overflow: series{created: now}}
}

// add counts one kill. One that is reported late, such as of before the agent was
// there, is counted and not shown as if it were of now.
func (k *kills) add(key killKey, at, now time.Time) {
	if at.After(now) {
		at = now // the clock was set back
	}
	s, ok := k.series[key]
	switch {
	case !ok && !k.room(now) && !k.takeOver(key.namespace, now):
		k.overflow.count++
		return
	case !ok:
		s = &series{created: now}
		k.series[key] = s
	case now.Sub(at) < k.ttl && !k.shown(s, now) && k.visible(now) >= k.max:
		k.overflow.count++ // its own count stays where it was, unseen
		return
	}
	s.count++
	if at.After(s.last) {
		s.last = at
	}
}

// shown reports whether a series is part of a scrape.
func (k *kills) shown(s *series, now time.Time) bool { return now.Sub(s.last) < k.ttl }

func (k *kills) visible(now time.Time) (n int) {
	for _, s := range k.series {
		if k.shown(s, now) {
			n++
		}
	}
	return n
}

// room makes room for one more series, and reports whether it could.
func (k *kills) room(now time.Time) bool {
	if k.visible(now) >= k.max {
		return false
	}
	if len(k.series) < 2*k.max {
		return true
	}
	var oldest killKey
	last := now
	for key, s := range k.series {
		if !s.last.After(last) {
			oldest, last = key, s.last
		}
	}
	if now.Sub(last) < 2*k.ttl {
		return false
	}
	delete(k.series, oldest)
	return true
}

// takeOver makes room for one more series of a namespace, and reports whether it could: the
// namespace with the most series that are shown gives one, if it has two more.
func (k *kills) takeOver(namespace string, now time.Time) bool {
	shown := map[string]int{}
	for key, s := range k.series {
		if k.shown(s, now) {
			shown[key.namespace]++
		}
	}
	heaviest := events.Heaviest(shown)
	if shown[heaviest] < shown[namespace]+2 {
		return false
	}
	var oldest killKey
	last := now.Add(time.Nanosecond)
	for key, s := range k.series {
		if key.namespace == heaviest && k.shown(s, now) && s.last.Before(last) {
			oldest, last = key, s.last
		}
	}
	delete(k.series, oldest)
	return true
}

// restore takes those with the newest kills, as far as their namespace has room. The others are
// not added to the overflow, where they would look like kills of now.
func (k *kills) restore(totals events.Totals, now time.Time) {
	type old struct {
		key   killKey
		count events.Count
	}
	var list []old
	for s, c := range totals.Series {
		if c.Last.After(now) {
			c.Last = now // one of the future would never expire
		}
		list = append(list, old{labelled(s), c})
	}
	slices.SortFunc(list, func(a, b old) int { return b.count.Last.Compare(a.count.Last) })
	for _, o := range list {
		if s := k.series[o.key]; s != nil {
			s.count += o.count.Victims // of containers in no pod
			continue
		}
		s := &series{count: o.count.Victims, created: totals.Since, last: o.count.Last}
		if len(k.series) < 2*k.max && (!k.shown(s, now) || k.visible(now) < k.max || k.takeOver(o.key.namespace, now)) {
			k.series[o.key] = s
		}
	}
}

// each returns the series to be shown, the overflow last.
func (k *kills) each(now time.Time, f func(killKey, series)) {
	for key, s := range k.series {
		if k.shown(s, now) {
			f(key, *s)
		}
	}
	f(killKey{overflow, overflow, overflow, overflow}, k.overflow)
}
