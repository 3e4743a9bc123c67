//go:build linux

package agentapi

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/integration/controlplane"
	fromenv "github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/oom"
)

const (
	fleetPods  = 2 // on each node
	fleetKills = 10
)

// TestFleet has an OOM storm on all nodes of a fleet at once. FLEET_NODES agents start at the
// same time, each with connections and limits of its own, and each reports fleetKills kills in
// each of its pods. One API server with its defaults serves all of them. The test runs with a
// quarter, half and all of the nodes, and so shows how the cost grows.
func TestFleet(t *testing.T) {
	most := fromenv.FromEnv(t, "FLEET_NODES", 24)
	p := ready(t)
	for i, nodes := range []int{max(1, most/4), max(1, most/2), most} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) { fleetOf(t, p, nodes, fmt.Sprintf("fleet%d", i)) })
	}
}

func fleetOf(t *testing.T, p *controlplane.Plane, nodes int, prefix string) {
	on := make([][]*corev1.Pod, nodes)
	for n := range nodes {
		for i := range fleetPods {
			on[n] = append(on[n], makePod(t, p, fmt.Sprintf("%s-%05d-%d", prefix, n, i), func(pod *corev1.Pod) {
				pod.Spec.NodeName = fmt.Sprintf("%s-node-%05d", prefix, n)
			}))
		}
	}
	watched := &watchedCalls{}
	agents := make([]*agent, nodes)
	began := time.Now()
	var starting sync.WaitGroup
	for n := range nodes {
		starting.Go(func() {
			config := rest.CopyConfig(p.Config)
			config.Dial = (&net.Dialer{}).DialContext // its own connections, as a node has
			config.Wrap(watched.wrap)
			agents[n] = startAgent(t, config, func(o *agenttest.KubeOptions) {
				withMarks(o)
				o.Node = on[n][0].Spec.NodeName
			})
		})
	}
	starting.Wait()
	started := time.Since(began)
	atStart := watched.take()
	began = time.Now()
	var storm sync.WaitGroup
	for n, a := range agents {
		storm.Go(func() {
			var list []agenttest.OOMEvent
			for k := range fleetKills {
				for i, pod := range on[n] {
					list = append(list, oomEvent(uint64(k*fleetPods+i), oom.CauseNode, pod))
				}
			}
			a.take(t, false, list...)
		})
	}
	storm.Wait()
	took := time.Since(began)
	inStorm := watched.take()
	reported, events := 0, 0
	for _, pods := range on {
		for _, pod := range pods {
			for _, e := range eventsOf(t, p, "default", pod.Name) {
				reported += int(e.Count)
				events++
			}
		}
	}
	kills := nodes * fleetPods * fleetKills
	t.Logf("metric=fleet nodes=%d kills=%d reported=%d events=%d start_ms=%d start_watches=%d start_requests=%d storm_ms=%d requests=%d requests_per_node=%.1f too_many=%d failed=%d p50_ms=%d p99_ms=%d",
		nodes, kills, reported, events, started.Milliseconds(), atStart.watches, len(atStart.took), took.Milliseconds(), len(inStorm.took),
		float64(len(inStorm.took))/float64(nodes), inStorm.refused, inStorm.failed, inStorm.percentile(50).Milliseconds(), inStorm.percentile(99).Milliseconds())
	for _, a := range agents {
		a.stop()
	}
	if reported != kills || events != nodes*fleetPods {
		t.Errorf("reported %d of %d kills in %d Events, want one for each of %d pods", reported, kills, events, nodes*fleetPods)
	}
	// A kill takes at most one request for its Event, and a pod one for its mark. Refused and
	// failed requests are sent again.
	if most := nodes * fleetPods * (fleetKills + 1); len(inStorm.took) > most+inStorm.refused+inStorm.failed {
		t.Errorf("%d requests, want at most %d", len(inStorm.took), most)
	}
}

// watchedCalls records requests with the time each took. A watch does not end, and is only
// counted.
type watchedCalls struct {
	mu      sync.Mutex // guards what follows
	took    []time.Duration
	watches int
	refused int // with 429
	failed  int // without an answer: the API server took longer than the agent waits
}

func (c *watchedCalls) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Query().Get("watch") != "" {
			c.mu.Lock()
			c.watches++
			c.mu.Unlock()
			return next.RoundTrip(r)
		}
		began := time.Now()
		response, err := next.RoundTrip(r)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.took = append(c.took, time.Since(began))
		switch {
		case err != nil:
			c.failed++
		case response.StatusCode == http.StatusTooManyRequests:
			c.refused++
		}
		return response, err
	})
}

// take returns the requests since the last call of take, the fastest first.
func (c *watchedCalls) take() *watchedCalls {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &watchedCalls{took: c.took, watches: c.watches, refused: c.refused, failed: c.failed}
	slices.SortFunc(out.took, cmp.Compare)
	c.took, c.watches, c.refused, c.failed = nil, 0, 0, 0
	return out
}

func (c *watchedCalls) percentile(p int) time.Duration {
	if len(c.took) == 0 {
		return 0
	}
	return c.took[(len(c.took)-1)*p/100]
}
