package web

import (
	"fmt"
	"math"
	"time"

	"github.com/oomwitness/oomwitness/oom"
)

// timeline is when events were, a lane for each cause. The lanes are stretched to
// the width there is, so that no text is in them.
type timeline struct {
	From, To string // of the axis
	Middle   string
	Step     string // that one bar stands for
	Lanes    []lane
}

type lane struct {
	Cause  oom.Cause
	Events int
	Bars   []bar
}

// bar is the events of one step. Positions and sizes are in units of the drawing:
// a step is one wide, a lane laneHeight high.
type bar struct {
	X, Y, Height string
	Title        string
	Link         string
}

const (
	steps      = 96
	laneHeight = 24
	barHeight  = 6 // at least, so that one event is seen
	barWidth   = "0.8"
)

// newTimeline draws the events that a query asks for, over the time that it asks for,
// or else over that of the events.
func newTimeline(q *query, matched []*Entry, now time.Time) timeline {
	from, to := span(q, matched, now)
	step := (to.Sub(from) + steps - 1) / steps
	counts := map[oom.Cause]*[steps]int{}
	most := 1
	for _, e := range matched {
		i := int(e.Time.Sub(from) / step)
		if i < 0 || i >= steps {
			i = min(max(i, 0), steps-1) // the end is part of it
		}
		if counts[e.Cause] == nil {
			counts[e.Cause] = new([steps]int)
		}
		counts[e.Cause][i]++
		most = max(most, counts[e.Cause][i])
	}
	t := timeline{
		From: axisText(from), Middle: axisText(from.Add(to.Sub(from) / 2)), To: axisText(to), Step: stepText(step),
	}
	for _, cause := range causes {
		if counts[cause] != nil {
			t.Lanes = append(t.Lanes, newLane(q, cause, counts[cause], most, from, step))
		}
	}
	return t
}

func newLane(q *query, cause oom.Cause, counts *[steps]int, most int, from time.Time, step time.Duration) lane {
	l := lane{Cause: cause}
	for i, n := range counts {
		if n == 0 {
			continue
		}
		l.Events += n
		height := barHeight + (laneHeight-barHeight)*math.Sqrt(float64(n)/float64(most))
		if most == 1 {
			height = laneHeight
		}
		start := from.Add(time.Duration(i) * step)
		// Whole seconds, as the link can say them: a moment more on either side.
		since, until := start.Truncate(time.Second), start.Add(step+time.Second).Truncate(time.Second)
		link := q.with("cause", string(cause), "since", timeText(since), "until", timeText(until))
		l.Bars = append(l.Bars, bar{
			X: fmt.Sprintf("%d.1", i), Y: fmt.Sprintf("%.1f", laneHeight-height), Height: fmt.Sprintf("%.1f", height),
			Title: fmt.Sprintf("%s, %s: %s", start.UTC().Format(timeFormat+" UTC"), cause, plural(n, "event")),
			Link:  link,
		})
	}
	return l
}

// span is the time that the axis has.
func span(q *query, matched []*Entry, now time.Time) (from, to time.Time) {
	from, to = q.since, q.until
	if to.IsZero() || to.After(now) {
		to = now
	}
	if len(matched) > 0 {
		if newest := matched[0].Time; newest.After(to) {
			to = newest // the clock was set back
		}
		if from.IsZero() {
			from = matched[len(matched)-1].Time
		}
	}
	if least := to.Add(-steps * time.Second); from.IsZero() || from.After(least) {
		from = least
	}
	return from, to
}

func axisText(t time.Time) string { return t.UTC().Format("Jan 2 15:04") }

func stepText(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return plural(int(d.Round(time.Second)/time.Second), "second")
	case d < 2*time.Hour:
		return plural(int(d.Round(time.Minute)/time.Minute), "minute")
	case d < 48*time.Hour:
		return plural(int(d.Round(time.Hour)/time.Hour), "hour")
	default:
		return plural(int(d.Round(24*time.Hour)/(24*time.Hour)), "day")
	}
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
