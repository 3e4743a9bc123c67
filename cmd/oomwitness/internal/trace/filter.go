package trace

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/oomwitness/oomwitness/agent/cgroups"
	"github.com/oomwitness/oomwitness/agent/kill"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// Filter says which events are shown. The zero value shows all.
type Filter struct {
	// Causes to show, all if empty.
	Causes []oom.Cause
	// Container is the beginning of a container's ID.
	Container string
	// Comm is a pattern with *, ? and [...] for the victim's name.
	Comm string
	// After is when the shown events begin.
	After time.Time
}

// ParseCauses reads a list of causes.
func ParseCauses(list []string) ([]oom.Cause, error) {
	var causes []oom.Cause
	for _, name := range list {
		cause := oom.Cause(strings.TrimSpace(name))
		if !slices.Contains(cgroups.Causes, cause) {
			return nil, fmt.Errorf("--cause %q: allowed are %s", name, joinCauses())
		}
		causes = append(causes, cause)
	}
	return causes, nil
}

func joinCauses() string {
	names := make([]string, len(cgroups.Causes))
	for i, cause := range cgroups.Causes {
		names[i] = string(cause)
	}
	return strings.Join(names, ", ")
}

// Check refuses a pattern that could never match.
func (f Filter) Check() error {
	if _, err := path.Match(f.Comm, ""); err != nil {
		return fmt.Errorf("--comm %q: not a pattern of *, ? and [...]", f.Comm)
	}
	return nil
}

// old says that a record lies before what is shown, without naming it first.
func (f Filter) old(r *bpf.Record) bool { return r.Time().Before(f.After) }

// shows reports whether an event is asked for.
func (f Filter) shows(e *kill.Event) bool {
	if len(f.Causes) > 0 && !slices.Contains(f.Causes, e.Cause) {
		return false
	}
	if f.Container != "" && (e.Container == nil || !strings.HasPrefix(e.Container.ID, f.Container)) {
		return false
	}
	return f.Comm == "" || glob(f.Comm, e.Victim.Comm)
}

// glob matches names, in which a slash is a letter like any other.
func glob(pattern, name string) bool {
	flat := strings.NewReplacer("/", "\x01")
	ok, err := path.Match(flat.Replace(pattern), flat.Replace(name))
	return err == nil && ok
}
