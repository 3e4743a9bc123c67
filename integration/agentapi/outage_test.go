//go:build linux

package agentapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/oom"
)

// away returns how long the API server is away: the variable API_AWAY, such as 5m, or a time in
// which the agent tries some times.
func away(t *testing.T) time.Duration {
	text := os.Getenv("API_AWAY")
	if text == "" {
		return 5 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("API_AWAY: %v", err)
	}
	return d
}

// counted returns the number of OOM events that the Events on pods count.
func counted(t *testing.T, p *controlplane.Plane, pods []*corev1.Pod) int {
	t.Helper()
	total := 0
	for _, pod := range pods {
		for _, e := range eventsOf(t, p, "default", pod.Name) {
			total += int(e.Count)
		}
	}
	return total
}

// burst makes pods, and OOM events in them.
func burst(t *testing.T, p *controlplane.Plane, prefix string, first uint64, kills, onPods int) ([]*corev1.Pod, []agenttest.OOMEvent) {
	t.Helper()
	var pods []*corev1.Pod
	for i := range onPods {
		pods = append(pods, makePod(t, p, fmt.Sprintf("%s-%d", prefix, i), nil))
	}
	var list []agenttest.OOMEvent
	for i := range kills {
		list = append(list, oomEvent(first+uint64(i), oom.CauseNode, pods[i%onPods]))
	}
	return pods, list
}

// TestAPIServerAway kills the API server and starts it again: the agent reports each kill of
// the time between once.
func TestAPIServerAway(t *testing.T) {
	const kills, onPods = 100, 20
	p := ready(t)
	pods, list := burst(t, p, "away", 1, kills, onPods)
	a := startAgent(t, p.Config, withMarks)
	p.KillAPI()
	gone := time.Now()
	longest := time.Duration(0)
	for _, in := range list {
		began := time.Now()
		a.Queue.Take(in)
		longest = max(longest, time.Since(began))
	}
	controlplane.Until(t, "a failure", func() bool { return a.counts.get("event error unavailable") > 0 })
	<-time.After(away(t) - time.Since(gone))
	tries := a.calls.get("POST events") + a.calls.get("PATCH pods")
	if err := p.StartAPI(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	a.wait(t, kills)
	caughtUp := time.Since(back)
	t.Logf("metric=away away=%s kills=%d pods=%d tries=%d longest_take=%s caught_up=%s",
		back.Sub(gone).Round(time.Second), kills, onPods, tries, longest.Round(time.Microsecond), caughtUp.Round(100*time.Millisecond))
	if got := counted(t, p, pods); got != kills {
		t.Errorf("the Events count %d, want %d; %s", got, kills, a.counts.all())
	}
	for _, pod := range pods {
		if getPod(t, p, pod.Name).Labels["example.com/oom-victim"] != "true" {
			t.Errorf("%s is not marked", pod.Name)
		}
	}
	// Each lane tries after short pauses first, and then once in at least 24 seconds.
	if most := 2 * onPods * (7 + int(back.Sub(gone)/(24*time.Second))); tries > most {
		t.Errorf("%d requests while it was away, want at most %d", tries, most)
	}
	// The agent sees pods that come later: its watch is open again.
	later := makePod(t, p, "later", nil)
	controlplane.Until(t, "a new pod", func() bool { _, ok := a.Pods.ByUID(string(later.UID)); return ok })
}

// TestTrouble shares one control plane among tests that disturb the requests between agent and
// API server.
func TestTrouble(t *testing.T) {
	p := ready(t)
	t.Run("slow", func(t *testing.T) { slow(t, p) })
	t.Run("answers lost", func(t *testing.T) { answersLost(t, p) })
	t.Run("refusals", func(t *testing.T) { refusals(t, p) })
	t.Run("every second refused", func(t *testing.T) { everySecondRefused(t, p) })
	t.Run("hanging", func(t *testing.T) { hanging(t, p) })
	t.Run("watch", func(t *testing.T) { watchRefused(t, p) })
}

// slow: a slow API server delays every report, and makes none wrong.
func slow(t *testing.T, p *controlplane.Plane) {
	const kills, onPods = 20, 5
	pods, list := burst(t, p, "slow", 1, kills, onPods)
	config := rest.CopyConfig(p.Config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodGet {
				<-time.After(time.Second)
			}
			return next.RoundTrip(r)
		})
	})
	a := startAgent(t, config, withMarks)
	a.take(t, false, list...)
	if got := counted(t, p, pods); got != kills || a.counts.get("mark marked") != kills {
		t.Errorf("the Events count %d, want %d; %s", got, kills, a.counts.all())
	}
}

// answersLost: the API server carries out every third writing request, and its answer is lost.
// To the API server this looks like an agent that was killed at that moment.
func answersLost(t *testing.T, p *controlplane.Plane) {
	const kills, onPods = 60, 10
	pods, list := burst(t, p, "lost", 1000, kills, onPods)
	config := rest.CopyConfig(p.Config)
	var (
		mu   sync.Mutex
		n    int
		lost int
	)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			answer, err := next.RoundTrip(r)
			if err != nil || r.Method == http.MethodGet {
				return answer, err
			}
			mu.Lock()
			defer mu.Unlock()
			if n++; n%3 != 0 {
				return answer, nil
			}
			lost++
			_ = answer.Body.Close()
			return nil, errors.New("connection reset")
		})
	})
	a := startAgent(t, config, withMarks)
	for i := range list {
		a.Queue.Take(list[i])
		if i%20 == 19 {
			a.wait(t, 20)
		}
	}
	if got := counted(t, p, pods); got != kills || lost == 0 {
		t.Errorf("%d answers lost; the Events count %d, want %d; %s", lost, got, kills, a.counts.all())
	}
	t.Logf("metric=lost answers=%d kills=%d counted=%d", lost, kills, counted(t, p, pods))
}

// hanging: an API server takes requests and answers none. Such a request ends at its timeout,
// and no pod waits for ever.
func hanging(t *testing.T, p *controlplane.Plane) {
	pods, list := burst(t, p, "hang", 2000, 4, 4)
	config := rest.CopyConfig(p.Config)
	hang := make(chan struct{})
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "/events") {
				select {
				case <-hang:
				case <-r.Context().Done():
					return nil, r.Context().Err()
				}
			}
			return next.RoundTrip(r)
		})
	})
	a := startAgent(t, config, withMarks)
	for _, in := range list {
		a.Queue.Take(in)
	}
	controlplane.Until(t, "a request given up", func() bool { return a.counts.get("event error unavailable") > 0 })
	close(hang)
	a.wait(t, len(list))
	if got := counted(t, p, pods); got != len(list) || a.counts.get("mark marked") != len(list) {
		t.Errorf("the Events count %d, want %d; %s", got, len(list), a.counts.all())
	}
}

// watchRefused: a watch that breaks off is refused for a while, since the API server has compacted
// what came since (410), has too much to do (429), or fails (500). What came and went meanwhile
// is known after that.
func watchRefused(t *testing.T, p *controlplane.Plane) {
	before := makePod(t, p, "watch-before", nil)
	refusals := make(chan int, 6)
	var open cutter
	config := rest.CopyConfig(p.Config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Get("watch") == "" {
				return next.RoundTrip(r)
			}
			select {
			case status := <-refusals:
				return refusal(r, status)
			default:
			}
			answer, err := next.RoundTrip(r)
			if err == nil {
				answer.Body = open.take(answer.Body)
			}
			return answer, err
		})
	})
	a := startAgent(t, config, nil)
	for _, status := range []int{http.StatusGone, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusGone} {
		refusals <- status
	}
	open.cut()
	later := makePod(t, p, "watch-later", nil)
	if err := p.Client.CoreV1().Pods("default").Delete(t.Context(), before.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	controlplane.Until(t, "the new pod, and the end of the old one", func() bool {
		_, ok := a.Pods.ByUID(string(later.UID))
		old, known := a.Pods.ByUID(string(before.UID))
		return ok && known && old.Finished
	})
	if len(refusals) != 0 {
		t.Errorf("%d refusals were not asked for", len(refusals))
	}
}

// cutter breaks off the answers that it has taken.
type cutter struct {
	mu   sync.Mutex
	list []io.Closer
}

func (c *cutter) take(body io.ReadCloser) io.ReadCloser {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, body)
	return body
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, body := range c.list {
		_ = body.Close()
	}
}
