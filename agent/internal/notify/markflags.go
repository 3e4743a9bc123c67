package notify

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/oomwitness/oomwitness/oom"
)

// ownPrefix is that of the annotations by which a pod configures the shim.
// One that the shim does not know has it refuse the pod's next container.
const ownPrefix = "oomwitness.io/"

// Pair is an annotation or a label. The zero value is none.
type Pair struct{ Key, Value string }

// ParseAnnotation reads key=value, "" for none.
func ParseAnnotation(text string) (Pair, error) {
	p, err := parse(text)
	if err != nil || p == (Pair{}) {
		return p, err
	}
	// The API server takes capitals in an annotation's prefix.
	if wrong := validation.IsQualifiedName(strings.ToLower(p.Key)); len(wrong) > 0 {
		return Pair{}, fmt.Errorf("%q: key: %s", text, strings.Join(wrong, "; "))
	}
	if strings.HasPrefix(strings.ToLower(p.Key), ownPrefix) {
		return Pair{}, fmt.Errorf("%q: key: annotations %s* are the pod's orders to the shim, and one of another name "+
			"would have it refuse the pod's next container", text, ownPrefix)
	}
	return p, nil
}

// ParseLabel reads key=value, "" for none.
func ParseLabel(text string) (Pair, error) {
	p, err := parse(text)
	if err != nil || p == (Pair{}) {
		return p, err
	}
	if wrong := validation.IsQualifiedName(p.Key); len(wrong) > 0 {
		return Pair{}, fmt.Errorf("%q: key: %s", text, strings.Join(wrong, "; "))
	}
	if wrong := validation.IsValidLabelValue(p.Value); len(wrong) > 0 {
		return Pair{}, fmt.Errorf("%q: value: %s", text, strings.Join(wrong, "; "))
	}
	return p, nil
}

func parse(text string) (Pair, error) {
	if text == "" {
		return Pair{}, nil
	}
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return Pair{}, fmt.Errorf("%q: want key=value", text)
	}
	return Pair{Key: key, Value: value}, nil
}

// Causes are those of the OOM events for which a pod is marked or evicted.
type Causes map[oom.Cause]bool

// DefaultCauses are those where it helps to move a pod, or its neighbours.
const DefaultCauses = "node,pod,ancestor"

// allCauses in the order of the documents.
var allCauses = []oom.Cause{
	oom.CauseContainer, oom.CausePod, oom.CauseAncestor, oom.CauseNode,
	oom.CauseCpuset, oom.CauseMempolicy, oom.CauseSysrq, oom.CauseUnknown,
}

// ParseCauses reads causes with commas between them.
func ParseCauses(text string) (Causes, error) {
	causes := Causes{}
	for field := range strings.SplitSeq(text, ",") {
		cause := oom.Cause(strings.TrimSpace(field))
		if !slices.Contains(allCauses, cause) {
			return nil, fmt.Errorf("cause %q: want some of %s", field, joined(allCauses))
		}
		causes[cause] = true
	}
	return causes, nil
}

func joined(causes []oom.Cause) string {
	names := make([]string, len(causes))
	for i, s := range causes {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}
