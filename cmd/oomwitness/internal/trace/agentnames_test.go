package trace_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent"
	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/trace"
)

// patience is long enough for a busy machine.
const patience = time.Minute

const boot = "3196165f-0e94-455d-93c7-2be83efd8503"

// gone returns the event of a victim whose cgroup is removed.
func gone(pid uint32) agent.OOMEvent {
	r := victim(pid, "java")
	r.RSSAnon = uint64(pid)
	return agenttest.EventOf(&r)
}

// named returns the same event as the agent has recorded it.
func named(pid uint32, pod, uid, container string) agent.OOMEvent {
	e := gone(pid)
	e.First().Cgroup.Path = "/kubepods/pod" + uid + "/" + container
	e.First().Pod = &agent.Pod{UID: uid, Name: pod, Namespace: "shop"}
	e.First().Container = &agent.Container{ID: container, Name: "app", Image: "shop:1", Namespace: "k8s.io"}
	return e
}

// agentOf serves the real API with kills.
func agentOf(t *testing.T, all bool, kills ...agent.OOMEvent) string {
	t.Helper()
	var h agenttest.History
	for _, e := range kills {
		e.Identify(boot)
		h.Take(e)
	}
	return serving(t, agenttest.Handler(agenttest.WebConfig{Page: true, History: &h, Health: func() agenttest.Health { return agenttest.Health{} }, All: all}))
}

func serving(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// TestAgentNames: victims in removed cgroups get the agent's names, in the order of the agent's
// answers, with --page-all and without.
func TestAgentNames(t *testing.T) {
	var events []agent.OOMEvent
	for i := range uint32(700) { // two answers
		events = append(events, named(i+1, fmt.Sprint("web-", i+1), "1", "c1"))
	}
	unit := gone(701)
	unit.First().Cgroup.Path, unit.First().Unit = "/system.slice/cron.service", "cron.service"
	for _, all := range []bool{false, true} {
		names := trace.AgentNames{Address: agentOf(t, all, append(events, unit)...), Boot: boot, Timeout: patience, Warn: func(err error) { t.Error(err) }}
		for _, pid := range []uint32{1, 250, 700} {
			e := gone(pid)
			names.Name(t.Context(), &e)
			require.NotNil(t, e.First().Pod, pid)
			require.Equal(t, fmt.Sprint("web-", pid), e.First().Pod.Name)
			require.Equal(t, "app", e.First().Container.Name)
			require.Equal(t, all, e.First().Cgroup.Path != "", "paths are the node's own")
		}
		e := gone(701)
		names.Name(t.Context(), &e)
		require.Nil(t, e.First().Pod)
		require.Equal(t, all, e.First().Unit == "cron.service")
	}
}

// TestAgentDoesNotOverrule: names of another victim, of another boot, or of a container other
// than the cgroup's are not used.
func TestAgentDoesNotOverrule(t *testing.T) {
	static := named(4, "etcd-node", "of-the-mirror", "c4")
	static.First().Pod.Static = true
	twin := named(5, "web-6", "1", "c6")
	twin.BootNS++ // the same number, after the ledger was loaded anew
	address := agentOf(t, false, named(1, "web-1", "1", "c1"), named(2, "web-2", "2", "c2"), static, named(5, "web-5", "1", "c5"), twin)
	inPod := func(uid, container string) func(*agent.OOMEvent) {
		return func(e *agent.OOMEvent) {
			e.First().Pod, e.First().Container = &agent.Pod{UID: uid}, &agent.Container{ID: container}
		}
	}
	for name, test := range map[string]struct {
		pid    uint32
		boot   string
		change func(*agent.OOMEvent)
		want   string
	}{
		"the same":          {1, boot, func(*agent.OOMEvent) {}, "web-1"},
		"its container":     {2, boot, inPod("2", "c2"), "web-2"},
		"a static pod":      {4, boot, inPod("of-the-cgroup", "c4"), "etcd-node"},
		"another boot":      {1, strings.Repeat("0", 36), func(*agent.OOMEvent) {}, ""},
		"no boot":           {1, "", func(*agent.OOMEvent) {}, ""},
		"another process":   {1, boot, func(e *agent.OOMEvent) { e.First().Comm = "sh" }, ""},
		"other memory":      {1, boot, func(e *agent.OOMEvent) { e.First().Memory.TotalVM++ }, ""},
		"another event":     {1, boot, func(e *agent.OOMEvent) { e.Event = 9 }, ""},
		"long before":       {1, boot, func(e *agent.OOMEvent) { e.BootNS-- }, ""},
		"long after":        {1, boot, func(e *agent.OOMEvent) { e.BootNS += uint64(2 * time.Minute) }, ""},
		"another container": {2, boot, inPod("2", "c3"), ""},
		"another pod":       {2, boot, inPod("3", "c2"), ""},
		"two answers":       {5, boot, func(e *agent.OOMEvent) { e.BootNS++ }, ""},
	} {
		names := trace.AgentNames{Address: address, Boot: test.boot, Timeout: patience}
		e := gone(test.pid)
		test.change(&e)
		names.Name(t.Context(), &e)
		got := ""
		if e.First().Pod != nil {
			got = e.First().Pod.Name
		}
		require.Equal(t, test.want, got, name)
	}
}

// TestNoAgent: something that does not answer as an agent does is asked once and for at most 1
// s, and only names are missing then.
func TestNoAgent(t *testing.T) {
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	answer := func(body string) string {
		return serving(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
	}
	for name, test := range map[string]struct{ address, want string }{
		"nobody":        {"127.0.0.1:1", "connection refused"},
		"silent":        {silent.Addr().String(), "context deadline exceeded"},
		"another":       {serving(t, http.NotFoundHandler()), "status 404"},
		"elsewhere":     {serving(t, http.RedirectHandler("http://192.0.2.1/", http.StatusFound)), "status 302"},
		"no JSON":       {answer("<html>"), "not the JSON of an agent"},
		"another form":  {answer(`{"schema":2}`), "schema 2: allowed is 1"},
		"many events":   {answer(`{"schema":1,"events":[` + strings.Repeat("{},", 500) + `{}]}`), "501 events: allowed are 500"},
		"without end":   {serving(t, http.HandlerFunc(endless)), "more than 8388608 bytes"},
		"never at last": {answer(`{"schema":1,"events":[],"next":"x"}`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var warned []string
			names := trace.AgentNames{Address: test.address, Boot: boot, Timeout: patience, Warn: func(err error) { warned = append(warned, err.Error()) }}
			if name == "silent" {
				names.Timeout = 0 // the default
			}
			began := time.Now()
			for range 2 {
				e := gone(1)
				names.Name(t.Context(), &e)
				require.Equal(t, gone(1), e)
			}
			require.Less(t, time.Since(began), patience)
			if test.want == "" {
				require.Empty(t, warned)
				return
			}
			require.Len(t, warned, 1, "asked once")
			require.Contains(t, warned[0], test.want)
		})
	}
}

// endless writes until the reader is gone.
func endless(w http.ResponseWriter, _ *http.Request) {
	for {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			return
		}
	}
}

// TestPodFilter: pods are selected by the agent's names, and kills with unknown pods are
// counted.
func TestPodFilter(t *testing.T) {
	now := bootNow(t)
	var past []bpf.Record
	var known []agent.OOMEvent
	for pid := uint32(1); pid <= 4; pid++ {
		r := victim(pid, "java")
		r.BootNS = now - uint64(time.Hour) + uint64(pid)
		past = append(past, r)
		if pid == 4 {
			continue
		}
		e := agenttest.EventOf(&r)
		e.First().Pod = &agent.Pod{UID: "1", Name: fmt.Sprint("web-", pid), Namespace: []string{"shop", "shop", "bank"}[pid-1]}
		known = append(known, e)
	}
	address := agentOf(t, false, known...)
	for name, test := range map[string]struct {
		filter trace.Filter
		want   []uint32
		warned int
	}{
		"all":       {trace.Filter{}, []uint32{1, 2, 3, 4}, 0},
		"pod":       {trace.Filter{Pod: "web-2"}, []uint32{2}, 1},
		"pattern":   {trace.Filter{Pod: "web-*"}, []uint32{1, 2, 3}, 1},
		"namespace": {trace.Filter{Namespace: "shop"}, []uint32{1, 2}, 1},
		"both":      {trace.Filter{Namespace: "shop", Pod: "web-3"}, nil, 1},
		"begin":     {trace.Filter{Pod: "web"}, nil, 1},
		"since":     {trace.Filter{Namespace: "shop", After: time.Now()}, nil, 0},
	} {
		var out names
		var warned []string
		tracer := trace.Tracer{
			Names: &agent.Names{}, Out: &out, Filter: test.filter, Agent: &trace.AgentNames{Address: address, Boot: boot, Timeout: patience},
			Warn: func(err error) { warned = append(warned, err.Error()) },
		}
		require.NoError(t, test.filter.Check(), name)
		require.NoError(t, tracer.Run(t.Context(), past, nil))
		require.Equal(t, test.want, out.pids, name)
		require.Len(t, warned, test.warned, name)
		if test.warned > 0 {
			require.Equal(t, "kills that are left out, since the names of their pods are not known: 1", warned[0])
		}
	}
	for _, wrong := range []trace.Filter{
		{Pod: "Web"}, {Pod: "a/b"}, {Pod: "a b"}, {Pod: "[a"}, {Pod: "a\n"}, {Pod: "é"}, {Pod: strings.Repeat("a", 254)}, {Pod: `a\*`},
		{Namespace: "Shop"}, {Namespace: strings.Repeat("a", 64)}, {Namespace: "[]"},
	} {
		require.ErrorContains(t, wrong.Check(), "allowed are a name of lower-case letters", "%+v", wrong)
	}
}

// FuzzAnswer: whatever answers in the agent's place, the accepted values can be printed as they
// are, and are limited in size.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		`{"schema":1,"events":[{"id":"b-1-1","victims":[{"comm":"java","container":{"id":"c1","name":"app"},"pod":{"uid":"1","name":"web-1","namespace":"shop"}}]}],"next":"x"}`,
		`{"schema":1,"events":[{"victims":[{"pod":{"name":"\u001b[2J"}},{"unit":"\n"},{"container":{"id":""}},null]},null]}`,
		`{"schema":1e0,"events":null}`, `{"schema":"1"}`, `null`, `[]`, `{"schema":1,"events":[{"id":1}]}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		answer, err := trace.DecodeAnswer(body)
		if err != nil {
			require.Empty(t, answer.Events)
			return
		}
		for _, e := range answer.Events {
			require.LessOrEqual(t, len(e.Victims), agent.MaxEventVictims)
			for _, v := range e.Victims {
				texts := []string{v.Unit}
				if v.Container != nil {
					texts = append(texts, v.Container.ID, v.Container.Name, v.Container.Image, v.Container.Namespace)
				}
				if v.Pod != nil {
					texts = append(texts, v.Pod.UID, v.Pod.Name, v.Pod.Namespace)
				}
				for _, text := range texts {
					require.Equal(t, agent.Clean(text), text)
				}
				require.LessOrEqual(t, len(v.Unit), 4096)
				if v.Pod != nil {
					require.LessOrEqual(t, len(v.Pod.Name), 253)
				}
			}
		}
	})
}
