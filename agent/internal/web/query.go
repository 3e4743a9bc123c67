package web

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
)

// Causes that an event can have, the widest first.
var causes = []oom.Cause{
	oom.CauseNode, oom.CauseAncestor, oom.CausePod, oom.CauseContainer,
	oom.CauseCpuset, oom.CauseMempolicy, oom.CauseSysrq, oom.CauseUnknown,
}

// query is what a request asks for.
type query struct {
	causes                    []oom.Cause // none for all
	namespace, pod, container string
	since, until              time.Time // zero for no bound
	ago                       string    // since, as it was given, if that was a duration
	before                    string    // an event's ID: only what is older
	limit                     int
}

// Bounds of a query's values.
const (
	maxName   = 253 // of Kubernetes
	maxID     = 128 // of an OOM event
	maxAgo    = 10 * 366 * 24 * time.Hour
	maxLength = 2048 // of all of it
)

// parseParameters reads a request's parameters, each of which allowed names, and calls
// set with each value. Every one that is wrong is in the error. Each may be given once,
// except for cause. An empty value is none at all, as forms send it.
func parseParameters(raw string, allowed []string, set func(name, value string) error) error {
	if len(raw) > maxLength {
		return fmt.Errorf("the query has %d bytes: at most %d are allowed", len(raw), maxLength)
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return fmt.Errorf("not a query: %w", err)
	}
	var wrong []error
	known := "are " + strings.Join(allowed, ", ")
	if len(allowed) == 1 {
		known = "is " + allowed[0]
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list := slices.DeleteFunc(values[name], func(v string) bool { return v == "" })
		switch {
		case !slices.Contains(allowed, name):
			wrong = append(wrong, fmt.Errorf("%q: no such parameter; there %s", cut(name), known))
			continue
		case len(list) > 1 && name != "cause":
			wrong = append(wrong, fmt.Errorf("%s: given %d times", name, len(list)))
			continue
		}
		for _, value := range list {
			if err := set(name, value); err != nil {
				wrong = append(wrong, fmt.Errorf("%s=%q: %w", name, cut(value), err))
			}
		}
	}
	return errors.Join(wrong...)
}

// parseQuery reads the parameters of a request for OOM events.
func parseQuery(raw string, now time.Time, limit, most int) (query, error) {
	q := query{limit: limit}
	err := parseParameters(raw, parameters, func(name, value string) error { return q.set(name, value, now, most) })
	if !q.since.IsZero() && !q.until.IsZero() && !q.since.Before(q.until) {
		err = errors.Join(err, errors.New("since is not before until"))
	}
	return q, err
}

var parameters = []string{"cause", "namespace", "pod", "container", "since", "until", "before", "limit"}

func (q *query) set(name, value string, now time.Time, most int) (err error) {
	switch name {
	case "cause":
		if !slices.Contains(causes, oom.Cause(value)) {
			return fmt.Errorf("there are %s", causeList())
		}
		if !slices.Contains(q.causes, oom.Cause(value)) {
			q.causes = append(q.causes, oom.Cause(value))
		}
	case "namespace":
		q.namespace, err = checkText(value, maxName)
	case "pod":
		q.pod, err = checkText(value, maxName)
	case "container":
		q.container, err = checkText(value, maxName)
	case "before":
		q.before, err = checkText(value, maxID)
	case "since":
		q.since, q.ago, err = parseTime(value, now)
	case "until":
		q.until, _, err = parseTime(value, now)
	case "limit":
		q.limit, err = strconv.Atoi(value)
		if err != nil || q.limit < 1 || q.limit > most {
			return fmt.Errorf("has to be a number from 1 to %d", most)
		}
	}
	return err
}

func checkText(value string, most int) (string, error) {
	if len(value) > most || !utf8.ValidString(value) {
		return "", fmt.Errorf("has to be text of at most %d bytes", most)
	}
	return value, nil
}

// parseTime takes a time, or how long ago it was.
func parseTime(value string, now time.Time) (time.Time, string, error) {
	if d, err := time.ParseDuration(value); err == nil && d > 0 && d <= maxAgo {
		return now.Add(-d), value, nil
	}
	at, err := time.Parse(time.RFC3339, value)
	if err != nil || at.Year() < 1970 || at.Year() > 9999 {
		return time.Time{}, "", errors.New("has to be a time such as 2026-01-02T15:04:05Z, or how long ago, such as 90m or 24h")
	}
	return at.UTC(), "", nil
}

// match reports whether an event is asked for. What is hidden is not found either: a
// victim in no pod has no names here.
func (q *query) match(e *Entry) bool {
	if len(q.causes) > 0 && !slices.Contains(q.causes, e.Cause) {
		return false
	}
	return q.during(e.Time) && (!q.named() || slices.ContainsFunc(e.Victims, q.matchVictim))
}

// during reports whether a time is asked for.
func (q *query) during(t time.Time) bool {
	return (q.since.IsZero() || !t.Before(q.since)) && (q.until.IsZero() || t.Before(q.until))
}

// named reports whether names of pods are asked for.
func (q *query) named() bool { return q.namespace != "" || q.pod != "" || q.container != "" }

func (q *query) matchVictim(v events.Victim) bool {
	if v.Pod == nil || q.namespace != "" && v.Pod.Namespace != q.namespace || q.pod != "" && v.Pod.Name != q.pod {
		return false
	}
	return q.container == "" || v.Container != nil && v.Container.Name == q.container
}

// filtered reports whether anything but the size of the answer is asked for.
func (q *query) filtered() bool {
	return len(q.causes) > 0 || q.named() || !q.since.IsZero() || !q.until.IsZero()
}

// with is the query's text with some parameters set, or taken out where they are "".
func (q *query) with(pairs ...string) string {
	values := url.Values{}
	set := func(name, value string) {
		values.Del(name)
		if value != "" {
			values.Set(name, value)
		}
	}
	for _, cause := range q.causes {
		values.Add("cause", string(cause))
	}
	set("namespace", q.namespace)
	set("pod", q.pod)
	set("container", q.container)
	set("since", q.ago)
	if q.ago == "" {
		set("since", timeText(q.since))
	}
	set("until", timeText(q.until))
	for i := 0; i+1 < len(pairs); i += 2 {
		set(pairs[i], pairs[i+1])
	}
	if len(values) == 0 {
		return "?" // a link to "" would be to the page as it was asked for
	}
	return "?" + values.Encode()
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func causeList() string {
	var names []string
	for _, s := range causes {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// cut shortens what others wrote for a message.
func cut(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
