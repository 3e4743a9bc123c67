package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/resolve"
	"github.com/oomwitness/oomwitness/oom"
)

// known knows one pod, that may be evicted.
type known struct{}

func (known) ByUID(uid string) (resolve.Pod, bool) {
	return resolve.Pod{UID: uid, Namespace: "shop", Name: "cart", Managed: true}, true
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Two evictions are apart, and one that has to wait asks nothing of the API server.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		client, err := deliver.ForConfig(&rest.Config{Host: "http://api.invalid", Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			calls++
			return nil, errors.New("connection refused")
		})})
		if err != nil {
			t.Fatal(err)
		}
		e := NewEvicter(Common{Client: client.Core, Pods: known{}, Counter: deliver.Discard{}}, nil, 10*time.Second)
		do := func() error {
			return e.Do(t.Context(), deliver.Lane{Target: deliver.Target{UID: "u"}}, []deliver.Task{{Queued: time.Now()}})
		}
		var retry *deliver.RetryError
		var wait *deliver.WaitError
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
	var skip *deliver.SkipError
	var retry *deliver.RetryError
	if err := judgeEviction(apierrors.NewConflict(resource, "cart", other)); !errors.As(err, &skip) || skip.Reason != deliver.PodRecreated {
		t.Errorf("another UID: %v", err)
	}
	if err := judgeEviction(apierrors.NewConflict(resource, "cart", errors.New("changed"))); !errors.As(err, &retry) || retry.Reason != deliver.Conflict {
		t.Errorf("a conflict: %v", err)
	}
	if err := judgeEviction(refused); !errors.As(err, &retry) || retry.Reason != deliver.Budget || retry.After != budgetPause {
		t.Errorf("a budget: %v", err)
	}
	if err := judgeEviction(nil); err != nil {
		t.Errorf("no error: %v", err)
	}
}

// podsOf knows each pod by a UID such as evil/p1.
type podsOf struct{}

func (podsOf) ByUID(uid string) (resolve.Pod, bool) {
	namespace, name, _ := strings.Cut(uid, "/")
	return resolve.Pod{UID: uid, Namespace: namespace, Name: name, Managed: true}, true
}

// TestTurns: the pods of one tenant do not keep another's pod from its turn, whether a budget
// keeps them from eviction or not.
func TestTurns(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func() (*http.Response, error)
	}{
		{"a budget refuses", overBudget},
		{"all are evicted", created},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var evicted time.Time
				client, err := deliver.ForConfig(&rest.Config{Host: "http://api.invalid", Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					time.Sleep(20 * time.Millisecond)
					if strings.Contains(r.URL.Path, "/shop/") {
						evicted = time.Now()
						return created()
					}
					return c.answer()
				})})
				if err != nil {
					t.Fatal(err)
				}
				e := NewEvicter(Common{Client: client.Core, Pods: podsOf{}, Counter: deliver.Discard{}}, Causes{oom.CausePod: true}, 10*time.Second)
				kill, stop := evicting(t, e)
				for i := range 60 {
					kill(fmt.Sprintf("evil/p%d", i))
					kill(fmt.Sprintf("vile/p%d", i))
				}
				time.Sleep(73 * time.Second)
				began := time.Now()
				kill("shop/cart")
				time.Sleep(5 * time.Minute)
				stop()
				if evicted.IsZero() || evicted.Sub(began) > 15*time.Second {
					t.Errorf("evicted: %v, after %v", !evicted.IsZero(), evicted.Sub(began))
				}
			})
		})
	}
}

// evicting has a queue work for an action. kill takes the kill of a pod of a UID such as evil/p1.
func evicting(t *testing.T, e *Evicter) (kill func(uid string), stop func()) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	q := deliver.NewQueue(log, deliver.MaxTasks, e)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { q.Run(ctx, workers) })
	kill = func(uid string) {
		q.Take(events.OOMEvent{ID: uid, Time: time.Now(), Cause: oom.CausePod, Victims: []events.Victim{victim("a", 1, uid, "app")}})
	}
	return kill, func() {
		cancel()
		running.Wait()
	}
}

func created() (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusCreated, Body: http.NoBody}, nil
}

func overBudget() (*http.Response, error) {
	status, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: http.StatusTooManyRequests,
		Reason: metav1.StatusReasonTooManyRequests, Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause}}},
	})
	return &http.Response{
		StatusCode: http.StatusTooManyRequests, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(status)),
	}, err
}
