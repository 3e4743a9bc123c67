package metrics

import (
	"strings"
	"time"

	"github.com/oomwitness/oomwitness/agent/incident"
	"github.com/oomwitness/oomwitness/oom"
)

// overflow is the value of every label of the series that takes what is over the
// cap. No namespace, pod or container can have this name.
const overflow = "_overflow"

// killKey are the labels of oomwitness_oom_kills_total. Names are empty for
// processes in no pod: of a node's own there is one series per scope.
type killKey struct {
	scope                     oom.Cause
	namespace, pod, container string
}

func keyOf(scope oom.Cause, v *incident.Victim) killKey {
	key := killKey{scope: known(scope)}
	if v.Pod == nil {
		return key
	}
	key.namespace, key.pod = label(v.Pod.Namespace), label(v.Pod.Name)
	if key.pod == "" {
		key.pod = label(v.Pod.UID) // nobody could be asked
	}
	if v.Container != nil {
		key.container = label(v.Container.Name)
	}
	return key
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
// after its last kill, and its count kept for as long again. One that comes back
// within that time goes on where it was; one that comes back later starts from 1,
// and no query over ttl or less sees both lives. Both are counted against the cap
// (of what is kept, twice as many as may be shown), and what finds no room goes to
// one series: nothing is forgotten early.
type kills struct {
	ttl      time.Duration
	max      int
	series   map[killKey]*series
	overflow series
	next     time.Time // when expire has to look again
}

type series struct {
	count         uint64
	created, last time.Time
}

func newKills(ttl time.Duration, most int, now time.Time) kills {
	return kills{ttl: ttl, max: most, series: map[killKey]*series{}, overflow: series{created: now}}
}

// add counts one kill.
func (k *kills) add(key killKey, now time.Time) {
	k.expire(now)
	s, ok := k.series[key]
	if !ok {
		if !k.room(now) {
			k.overflow.count++
			return
		}
		s = &series{created: now}
		k.series[key] = s
	} else if !k.shown(s, now) && k.visible(now) >= k.max {
		k.overflow.count++ // its own count stays where it was, unseen
		return
	}
	s.count++
	s.last = now
}

// shown says whether a series is part of a scrape.
func (k *kills) shown(s *series, now time.Time) bool { return now.Sub(s.last) < k.ttl }

func (k *kills) visible(now time.Time) (n int) {
	for _, s := range k.series {
		if k.shown(s, now) {
			n++
		}
	}
	return n
}

func (k *kills) room(now time.Time) bool {
	return len(k.series) < 2*k.max && k.visible(now) < k.max
}

// expire forgets what no query can see any more.
func (k *kills) expire(now time.Time) {
	if now.Before(k.next) {
		return
	}
	k.next = now.Add(k.ttl / 100)
	for key, s := range k.series {
		if now.Sub(s.last) >= 2*k.ttl {
			delete(k.series, key)
		}
	}
}

// each gives the series to be shown, the overflow last.
func (k *kills) each(now time.Time, f func(killKey, series)) {
	k.expire(now)
	for key, s := range k.series {
		if k.shown(s, now) {
			f(key, *s)
		}
	}
	f(killKey{overflow, overflow, overflow, overflow}, k.overflow)
}
