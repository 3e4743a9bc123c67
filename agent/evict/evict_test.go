package evict

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/agent/deliver"
	"github.com/oomwitness/oomwitness/agent/kubeapi"
	"github.com/oomwitness/oomwitness/agent/outcome"
	"github.com/oomwitness/oomwitness/agent/pods"
	"github.com/oomwitness/oomwitness/agent/resolve"
)

// known knows one pod, that may be evicted.
type known struct{}

func (known) Lookup(uid string) (pods.Pod, bool) {
	return pods.Pod{Pod: resolve.Pod{UID: uid, Namespace: "shop", Name: "cart"}, Managed: true}, true
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Two evictions are apart, and one that has to wait asks nothing of the API server.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		client, err := kubeapi.ForConfig(&rest.Config{Host: "http://api.invalid", Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			calls++
			return nil, errors.New("connection refused")
		})})
		if err != nil {
			t.Fatal(err)
		}
		e := New(Options{Client: client.Core, Pods: known{}, Every: 10 * time.Second, Count: outcome.Discard{}})
		do := func() error {
			return e.Do(t.Context(), deliver.Lane{Target: deliver.Target{UID: "u"}}, []deliver.Task{{Queued: time.Now()}})
		}
		var retry *outcome.RetryError
		var wait *outcome.WaitError
		if err := do(); !errors.As(err, &retry) || calls != 1 {
			t.Fatalf("first: %v, %d requests", err, calls)
		}
		time.Sleep(4 * time.Second)
		if err := do(); !errors.As(err, &wait) || wait.After.Round(time.Millisecond) != 6*time.Second || calls != 1 {
			t.Errorf("after 4 s: %v, %d requests", err, calls)
		}
		time.Sleep(6 * time.Second)
		if err := do(); !errors.As(err, &retry) || calls != 2 {
			t.Errorf("after 10 s: %v, %d requests", err, calls)
		}
	})
}

func TestJudge(t *testing.T) {
	resource := schema.GroupResource{Resource: "pods"}
	refused := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
	refused.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause}}
	other := errors.New("the UID in the precondition (a) does not match the UID in record (b)")
	var skip *outcome.SkipError
	var retry *outcome.RetryError
	if err := judge(apierrors.NewConflict(resource, "cart", other)); !errors.As(err, &skip) || skip.Reason != outcome.PodRecreated {
		t.Errorf("another UID: %v", err)
	}
	if err := judge(apierrors.NewConflict(resource, "cart", errors.New("changed"))); !errors.As(err, &retry) || retry.Reason != outcome.Conflict {
		t.Errorf("a conflict: %v", err)
	}
	if err := judge(refused); !errors.As(err, &retry) || retry.Reason != outcome.Budget || retry.After != budgetPause {
		t.Errorf("a budget: %v", err)
	}
	if err := judge(nil); err != nil {
		t.Errorf("no error: %v", err)
	}
}
