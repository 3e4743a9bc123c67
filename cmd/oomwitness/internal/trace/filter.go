package trace

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/oomwitness/oomwitness/agent"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// Filter selects the events to show. The zero value selects all.
type Filter struct {
	// Causes are the causes to show, all if empty.
	Causes []oom.Cause
	// Container is a prefix of a container's ID.
	Container string
	// Comm, Pod and Namespace are patterns with *, ? and [...] for the names of the victim, its
	// pod and the pod's namespace.
	Comm, Pod, Namespace string
	// After is the time of the first event to show.
	After time.Time
}

// ParseCauses parses a list of causes.
func ParseCauses(list []string) ([]oom.Cause, error) {
	var causes []oom.Cause
	for _, name := range list {
		cause := strings.TrimSpace(name)
		if !slices.Contains(agent.CauseNames(), cause) {
			return nil, fmt.Errorf("--cause %q: allowed are %s", name, strings.Join(agent.CauseNames(), ", "))
		}
		causes = append(causes, oom.Cause(cause))
	}
	return causes, nil
}

// Longest names of Kubernetes, in bytes.
const (
	maxPodName       = 253
	maxNamespaceName = 63
)

// named matches the characters of a pod's or namespace's name, and of a pattern for it.
var named = regexp.MustCompile(`^[a-z0-9.*?\[\]^-]+$`)

// Check returns an error for patterns that could never match.
func (f Filter) Check() error {
	var errs []error
	if !isPattern(f.Comm) {
		errs = append(errs, fmt.Errorf("--comm %q: not a pattern of *, ? and [...]", f.Comm))
	}
	for _, one := range []struct {
		flag, value string
		most        int
	}{{"pod", f.Pod, maxPodName}, {"namespace", f.Namespace, maxNamespaceName}} {
		if one.value == "" || isPattern(one.value) && named.MatchString(one.value) && len(one.value) <= one.most {
			continue
		}
		errs = append(errs, fmt.Errorf("--%s %q: allowed are a name of lower-case letters, digits, - and ., at most %d bytes long, and a pattern of it with *, ? and [...]",
			one.flag, one.value, one.most))
	}
	return errors.Join(errs...)
}

func isPattern(pattern string) bool {
	_, err := path.Match(pattern, "")
	return err == nil
}

// ofPod reports whether the filter selects by names of pods.
func (f Filter) ofPod() bool { return f.Pod != "" || f.Namespace != "" }

// old reports whether a record is older than the shown ones; no names are needed for that.
func (f Filter) old(r *bpf.Record) bool { return r.Time().Before(f.After) }

// mayShow reports whether an event may match the filter, by its record alone. The names of
// its container and pod may not be known yet.
func (f Filter) mayShow(e *agent.OOMEvent) bool {
	v := e.First()
	if len(f.Causes) > 0 && !slices.Contains(f.Causes, e.Cause) {
		return false
	}
	if v.Container != nil && !strings.HasPrefix(v.Container.ID, f.Container) {
		return false
	}
	return f.Comm == "" || glob(f.Comm, v.Comm)
}

// shows reports whether the filter selects an event by the names of its container and pod.
func (f Filter) shows(e *agent.OOMEvent) bool {
	v := e.First()
	if f.Container != "" && (v.Container == nil || !strings.HasPrefix(v.Container.ID, f.Container)) {
		return false
	}
	if !f.ofPod() {
		return true
	}
	return v.Pod != nil && (f.Pod == "" || glob(f.Pod, v.Pod.Name)) && (f.Namespace == "" || glob(f.Namespace, v.Pod.Namespace))
}

// glob matches names. A slash is an ordinary character here.
func glob(pattern, name string) bool {
	flat := strings.NewReplacer("/", "\x01")
	ok, err := path.Match(flat.Replace(pattern), flat.Replace(name))
	return err == nil && ok
}
