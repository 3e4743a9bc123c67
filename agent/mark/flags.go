package mark

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/oomwitness/oomwitness/oom"
)

// ownPrefix is that of the annotations by which a pod tells the shim what to do.
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

// Scopes are those of the OOM events for which a pod is marked or evicted.
type Scopes map[oom.Cause]bool

// DefaultScopes are those where it helps to move a pod, or its neighbours.
const DefaultScopes = "node,pod,ancestor"

// allScopes in the order of the documents.
var allScopes = []oom.Cause{
	oom.CauseContainer, oom.CausePod, oom.CauseAncestor, oom.CauseNode,
	oom.CauseCpuset, oom.CauseMempolicy, oom.CauseSysrq, oom.CauseUnknown,
}

// ParseScopes reads scopes with commas between them.
func ParseScopes(text string) (Scopes, error) {
	scopes := Scopes{}
	for field := range strings.SplitSeq(text, ",") {
		scope := oom.Cause(strings.TrimSpace(field))
		if !slices.Contains(allScopes, scope) {
			return nil, fmt.Errorf("scope %q: want some of %s", field, joined(allScopes))
		}
		scopes[scope] = true
	}
	return scopes, nil
}

func joined(scopes []oom.Cause) string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}
