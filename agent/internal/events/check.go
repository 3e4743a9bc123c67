package events

import (
	"errors"
	"fmt"
	"slices"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
)

const (
	// MaxVictims of one OOM event. An event that has more makes further OOM events.
	MaxVictims = 256
	maxID      = 128
	// maxCandidates is how many the ledger has of one OOM event.
	maxCandidates = 8
)

// CauseNames are what Cause may be.
func CauseNames() []string {
	names := make([]string, 0, len(cgroups.Causes))
	for _, cause := range cgroups.Causes {
		names = append(names, string(cause))
	}
	return names
}

// Check says what is wrong with an OOM event that comes from a file.
func (in *OOMEvent) Check() error {
	switch {
	case in.Schema != Schema:
		return fmt.Errorf("schema %d", in.Schema)
	case in.ID == "" || len(in.ID) > maxID:
		return fmt.Errorf("ID of %d bytes", len(in.ID))
	case len(in.Victims) == 0 || len(in.Victims) > MaxVictims:
		return fmt.Errorf("%d victims", len(in.Victims))
	case !slices.Contains(cgroups.Causes, in.Cause):
		return errors.New("unknown cause")
	case in.Memory != nil && len(in.Memory.Candidates) > maxCandidates:
		return fmt.Errorf("%d candidates", len(in.Memory.Candidates))
	}
	return nil
}

// SeriesOf is what a victim is counted by.
func SeriesOf(in *OOMEvent, v *Victim) Series {
	s := Series{Cause: string(in.Cause)}
	if v.Pod != nil {
		s.Namespace, s.Pod = v.Pod.Namespace, v.Pod.Name
	}
	if v.Container != nil {
		s.Container = v.Container.Name
	}
	return s
}
