package trace

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

const (
	day = 24 * time.Hour
	// maxAgo is the longest time for --since: no ledger is that old.
	maxAgo = 10 * 366 * day
)

var errSince = errors.New("allowed are how long ago, such as 90s, 12h, 1d or 1d12h, a time that has passed, such as 2026-01-02T15:04:05Z, and 0 for all")

// ParseSince returns the time of a text: a time in the form of RFC 3339, or a duration before
// now, in the form of time.ParseDuration with d for days of 24 hours in front. It returns the
// zero time for "" and for zero.
func ParseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		if at.Year() < 1970 || at.After(now) {
			return time.Time{}, errSince
		}
		return at, nil
	}
	ago, ok := parseAgo(text)
	switch {
	case !ok || ago < 0 || ago > maxAgo:
		return time.Time{}, errSince
	case ago == 0:
		return time.Time{}, nil
	}
	return now.Add(-ago), nil
}

// parseAgo parses a duration that may begin with days.
func parseAgo(text string) (time.Duration, bool) {
	before, rest, ok := strings.Cut(text, "d")
	if !ok {
		d, err := time.ParseDuration(text)
		return d, err == nil
	}
	days, err := strconv.ParseUint(before, 10, 16)
	if err != nil {
		return 0, false
	}
	ago := time.Duration(days) * day
	if rest == "" {
		return ago, true
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || d > maxAgo {
		return 0, false
	}
	return ago + d, true
}
