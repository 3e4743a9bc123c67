package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/why"
)

// silent is a transport to an API server whose agents do not answer.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// TestAskAllIsBounded: agents that do not answer take two minutes together, however many there
// are. An agent that was not asked has an error of its own.
func TestAskAllIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://api.invalid", Transport: silent{}, QPS: qps, Burst: burst})
		require.NoError(t, err)
		agents := make([]corev1.Pod, 1000)
		for i := range agents {
			agents[i] = corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "oomwitness", Name: fmt.Sprintf("agent-%d", i)}}
		}
		began := time.Now()
		answers := askAll[why.Document](context.Background(), &options{client: client}, agents, why.PathWhy, nil, allTimeout)
		require.LessOrEqual(t, time.Since(began), allTimeout)
		require.Len(t, answers, len(agents))
		asked := 0
		for _, a := range answers {
			require.Error(t, a.err)
			if !errors.Is(a.err, errLate) {
				asked++
				require.ErrorContains(t, a.err, "the agent does not answer")
			}
		}
		require.InDelta(t, atOnce*int(allTimeout/askTimeout), asked, 2*atOnce)
	})
}
