package cli

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

const (
	day = 24 * time.Hour
	// maxDays bounds the days in a duration.
	maxDays = 10 * 366
)

var errSince = errors.New("allowed are how long ago, such as 90s, 12h, 1d or 1d12h, a time that has passed, such as 2026-01-02T15:04:05Z, and 0 for all")

// ParseSince returns the time of a text: a time in the form of RFC 3339, or a duration before
// now, as ParseDuration reads it and at most 3,660 days. It returns the zero time for "" and
// for zero.
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
	ago, err := ParseDuration(text)
	switch {
	case err != nil || ago < 0 || ago > maxDays*day:
		return time.Time{}, errSince
	case ago == 0:
		return time.Time{}, nil
	}
	return now.Add(-ago), nil
}

var errDuration = errors.New("not a duration")

// ParseDuration parses a duration in the form of time.ParseDuration, also with d for days of
// 24 hours in front, such as 1d or 1d12h.
func ParseDuration(text string) (time.Duration, error) {
	before, rest, ok := strings.Cut(text, "d")
	if !ok {
		return time.ParseDuration(text)
	}
	days, err := strconv.ParseUint(before, 10, 16)
	if err != nil || days > maxDays {
		return 0, errDuration
	}
	long := time.Duration(days) * day
	if rest == "" {
		return long, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || d > maxDays*day {
		return 0, errDuration
	}
	return long + d, nil
}

// duration is the value of a flag that ParseDuration reads.
type duration time.Duration

func (d *duration) String() string { return time.Duration(*d).String() }

func (d *duration) Set(text string) error {
	parsed, err := ParseDuration(text)
	*d = duration(parsed)
	return err
}

func (d *duration) Type() string { return "duration" }

// DurationVar adds a flag that ParseDuration reads.
func DurationVar(flags *pflag.FlagSet, p *time.Duration, name string, value time.Duration, usage string) {
	*p = value
	flags.Var((*duration)(p), name, usage)
}
