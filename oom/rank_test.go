package oom

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func (r Reading) lost(err error) Reading { r.Err = err; return r }

func TestRank(t *testing.T) {
	ledger := func(kills uint64, init Known, err error) Reading {
		return Reading{Evidence{Source: "ledger", Kills: kills, Init: init}, err}
	}
	counter := func(kills uint64, err error) Reading {
		return Reading{Evidence{Source: "memory.events", Kills: kills}, err}
	}
	twice := func(kills, twice uint64) Reading {
		return Reading{Evidence{Source: "memory.events", Kills: kills, Twice: twice}, nil}
	}
	gone, broken := fmt.Errorf("read: %w", ErrGone), errors.New("not there")
	for name, tc := range map[string]struct {
		readings []Reading
		best     string
		dispute  string
	}{
		"nothing":                     {nil, "", ""},
		"both agree":                  {[]Reading{ledger(1, Yes, nil), counter(1, nil)}, "ledger", ""},
		"the cgroup is gone":          {[]Reading{ledger(1, Yes, nil), counter(0, gone)}, "ledger", ""},
		"the ledger is gone":          {[]Reading{ledger(1, No, broken), counter(1, nil)}, "memory.events", ""},
		"gone, and init is named":     {[]Reading{ledger(1, Yes, broken), counter(1, nil)}, "ledger", ""},
		"missed, init is named":       {[]Reading{ledger(1, Yes, nil), counter(2, nil)}, "ledger", "memory.events counts 2 kills, ledger knows of 1"},
		"ledger and cgroup gone":      {[]Reading{ledger(0, No, broken), counter(1, gone)}, "memory.events", ""},
		"both lost, the ledger knew":  {[]Reading{ledger(1, Unknown, broken), counter(0, gone)}, "ledger", ""},
		"both lost, both knew":        {[]Reading{ledger(1, Unknown, broken), counter(1, gone)}, "memory.events", ""},
		"both lost, a group above":    {[]Reading{ledger(2, Unknown, broken), twice(3, 1).lost(gone)}, "memory.events", ""},
		"sharers are not counted":     {[]Reading{ledger(2, No, nil), counter(1, nil)}, "ledger", ""},
		"the ledger missed one":       {[]Reading{ledger(0, No, nil), counter(1, nil)}, "memory.events", "memory.events counts 1 kills, ledger knows of 0"},
		"a group above":               {[]Reading{ledger(4, No, nil), twice(5, 1)}, "ledger", ""},
		"a group above, and one more": {[]Reading{ledger(3, No, nil), twice(5, 1)}, "memory.events", "memory.events counts 5 kills, ledger knows of 3"},
		"a group above, none known":   {[]Reading{ledger(0, No, nil), twice(1, 1)}, "memory.events", "memory.events counts 1 kills, ledger knows of 0"},
		"a stale count":               {[]Reading{ledger(0, No, nil), counter(1, broken)}, "ledger", ""},
		"counters alone":              {[]Reading{counter(3, nil)}, "memory.events", ""},
	} {
		t.Run(name, func(t *testing.T) {
			all, dispute := Rank(tc.readings)
			require.Len(t, all, len(tc.readings))
			require.Equal(t, tc.dispute, dispute)
			if tc.best != "" {
				require.Equal(t, tc.best, all[0].Source)
			}
		})
	}
}
