package page

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

// site is an agent's page with made-up OOM events behind it.
type site struct {
	url     string
	history *agenttest.History
	health  atomic.Pointer[agenttest.Health]
	exits   atomic.Pointer[[]exits.Exit]
	away    atomic.Bool
	made    int
}

// newSite serves the page, with a number of events, the newest of now.
func newSite(t *testing.T, events int, h agenttest.Health) *site {
	t.Helper()
	s := &site{history: &agenttest.History{}}
	s.health.Store(&h)
	s.exits.Store(&[]exits.Exit{})
	for i := range events {
		s.take(s.event(time.Now().Add(-time.Duration(events-i) * 7 * time.Minute)))
	}
	handler := agenttest.Handler(agenttest.WebConfig{
		Node: "node-1.example", Version: "v0.0.0-test", Page: true, History: s.history, Refresh: time.Second,
		Health: func() agenttest.Health { return *s.health.Load() },
		Exits:  func() []exits.Exit { return *s.exits.Load() },
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.away.Load() {
			http.Error(w, "too many requests at once", http.StatusServiceUnavailable)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + "/"
	return s
}

func (s *site) take(in agenttest.OOMEvent) { s.history.Take(in) }

var well = agenttest.Health{Ready: true, Tier: "A"}

// shapes are the OOM events that events repeats.
var shapes = []struct {
	cause           oom.Cause
	namespace, pod  string
	container, comm string
	kinds           oom.Memory
}{
	{oom.CauseContainer, "shop", "web-6d5f9c7b8d-x2x4z", "app", "java", oom.Memory{Anon: 96, File: 20, Kernel: 8}},
	{oom.CauseContainer, "shop", "web-6d5f9c7b8d-7kq9p", "app", "java", oom.Memory{Anon: 120, Kernel: 4}},
	{oom.CausePod, "analytics", "spark-executor-3", "executor", "python3", oom.Memory{Anon: 40, File: 2, Shmem: 80, Kernel: 5}},
	{oom.CauseNode, "monitoring", "prometheus-0", "prometheus", "prometheus", oom.Memory{Anon: 70, File: 20, Shmem: 5, Kernel: 25}},
	{oom.CauseAncestor, "shop", "cart-7c9d8b6f5c-ttz8w", "cart", "node", oom.Memory{}},
	{oom.CauseContainer, "ci", "runner-28471930-5xw2k", "build", "cc1plus", oom.Memory{Anon: 30, File: 60, Kernel: 30}},
	{oom.CauseUnknown, "shop", "web-6d5f9c7b8d-x2x4z", "app", "java", oom.Memory{}},
}

const mib = 1 << 20

// event makes the next event up.
func (s *site) event(at time.Time) agenttest.OOMEvent {
	shape := shapes[s.made%len(shapes)]
	s.made++
	pid := 4000 + s.made
	rss, limit := shape.kinds.Anon*mib, uint64(128*mib)
	if rss == 0 {
		rss = 50 * mib
	}
	in := agenttest.OOMEvent{
		Schema: agenttest.Schema, ID: fmt.Sprintf("boot-%06d", s.made), Time: at.UTC(), Cause: shape.cause, Tier: "A",
		Domain: &agenttest.Domain{Constraint: "memcg", ID: 5, Path: "/kubepods", Size: limit}, Limit: &limit, Usage: &limit,
		Victims: []agenttest.Victim{{
			Comm: shape.comm, Init: s.made%3 > 0, OOMScoreAdj: 980, IDs: agenttest.IDs{PID: uint32(pid)},
			Memory:    agenttest.Memory{RSS: new(rss + 3*mib), Anon: &rss, File: new(uint64(2 * mib)), Shmem: new(uint64(mib))},
			Container: &agenttest.Container{ID: fmt.Sprintf("c%063d", s.made), Name: shape.container},
			Pod:       &agenttest.Pod{UID: fmt.Sprint(s.made % len(shapes)), Name: shape.pod, Namespace: shape.namespace},
		}},
	}
	if shape.cause == oom.CauseUnknown {
		in.Tier, in.Domain, in.Limit, in.Usage = "C", nil, nil, nil
	}
	if shape.kinds.Anon > 0 {
		in.Memory = memory(shape.kinds)
		in.Memory.Candidates = []oom.Candidate{{PID: pid, Comm: shape.comm, RSS: rss}, {PID: 1, Comm: "pause", RSS: mib}}
	}
	return in
}

// end adds the end of a container by SIGKILL, as a shim reports it.
func (s *site) end(at time.Time, namespace, pod, container string, v oom.Verdict) {
	list := append([]exits.Exit{}, *s.exits.Load()...)
	list = append(list, exits.Exit{
		Version: exits.Version, ID: fmt.Sprintf("c%063d", s.made), Namespace: "k8s.io", Boot: "boot", Pid: 4000 + s.made, At: at.Add(100 * time.Millisecond),
		Status: 137, Reported: 137, Verdict: v, Pod: &exits.Pod{Namespace: namespace, Name: pod, UID: "u", Container: container},
	})
	s.exits.Store(&list)
}

// memory is what filled a limit of 128 MiB; kinds are in MiB.
func memory(kinds oom.Memory) *oom.Memory {
	kinds.Anon, kinds.File, kinds.Shmem, kinds.Kernel = kinds.Anon*mib, kinds.File*mib, kinds.Shmem*mib, kinds.Kernel*mib
	kinds.Usage, kinds.Limit = 128*mib, 128*mib
	return &kinds
}

// signalled is the verdict of a container that a SIGKILL has ended.
func signalled(sender *oom.Sender) oom.Verdict {
	return oom.Verdict{Ended: oom.EndedSignal, Rule: oom.RuleSender, Evidence: "ledger", Tier: "A", Sent: oom.Yes, Sender: sender}
}
