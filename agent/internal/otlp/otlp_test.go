package otlp_test

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/otlp"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func kill() events.OOMEvent {
	size := new(uint64(64 << 20))
	return events.OOMEvent{
		Schema: events.Schema, ID: "boot-1-2", Time: at, Cause: oom.CausePod, Tier: "A", Limit: size, Usage: size,
		Domain:  &events.Domain{Path: "/kubepods/pod1", Size: *size},
		Trigger: events.Process{PID: 7, Comm: "helper"},
		Victims: []events.Victim{{
			Comm: "java", Init: true, OOMScoreAdj: 900, IDs: events.IDs{PID: 42, UID: 1000},
			Memory: events.Memory{RSS: size, Anon: size, File: new(uint64(0)), Shmem: new(uint64(0))},
			Cgroup: events.Cgroup{Path: "/kubepods/pod1/abc"},
			Pod:    &events.Pod{UID: "uid-1", Name: "web-0", Namespace: "shop"},
			Container: &events.Container{
				ID: "abc", Name: "app", Image: "registry.example:5000/shop/web:1.2@sha256:00",
			},
		}},
	}
}

func TestKill(t *testing.T) {
	r := newReceiver(t, (*httptest.Server).Start)
	e, c, _ := start(t, r.URL)
	in := kill()
	in.Victims = append(in.Victims, events.Victim{Index: 1, Comm: "sh\x1b[2J", IDs: events.IDs{PID: 43}, Unit: "cron.service"})
	e.Take(in)
	got := r.next(t)
	resource := flat(got.Resource.Attributes)
	for name, want := range map[string]string{
		"service.name": "oomwitness-agent", "service.version": "v1", "host.name": "node-1", "k8s.node.name": "node-1",
	} {
		require.Equal(t, want, resource[name], name)
	}
	records := got.ScopeLogs[0].LogRecords
	if len(records) == 1 { // each record wakes the sender
		records = append(records, r.next(t).ScopeLogs[0].LogRecords...)
	}
	require.Len(t, records, 2)
	first := records[0]
	require.Equal(t, otlp.KillName, first.EventName)
	require.EqualValues(t, at.UnixNano(), first.TimeUnixNano)
	require.Equal(t, logs.SeverityNumber_SEVERITY_NUMBER_WARN, first.SeverityNumber)
	require.Equal(t, "Killed process java (pid 42), which had 64.0 MiB of memory (anonymous 64.0 MiB, file 0 B, shared 0 B): the pod's memory limit of 64.0 MiB was reached",
		first.Body.GetStringValue())
	const size = int64(64 << 20)
	require.Equal(t, map[string]any{
		"k8s.namespace.name": "shop", "k8s.pod.name": "web-0", "k8s.pod.uid": "uid-1", "k8s.container.name": "app",
		"container.id": "abc", "container.image.name": "registry.example:5000/shop/web",
		"process.pid": int64(42), "process.command": "java", "process.user.id": int64(1000), "process.linux.cgroup": "/kubepods/pod1/abc",
		"oomwitness.oom_event.id": "boot-1-2", "oomwitness.cause": "pod", "oomwitness.tier": "A",
		"oomwitness.limit_bytes": size, "oomwitness.usage_bytes": size,
		"oomwitness.domain.path": "/kubepods/pod1", "oomwitness.domain.size_bytes": size,
		"oomwitness.trigger.pid": int64(7), "oomwitness.trigger.comm": "helper",
		"oomwitness.victim.index": int64(0), "oomwitness.victim.init": true, "oomwitness.victim.shared_memory": false,
		"oomwitness.victim.oom_group": false, "oomwitness.victim.oom_score_adj": int64(900),
		"oomwitness.victim.rss_bytes": size, "oomwitness.victim.anon_bytes": size,
		"oomwitness.victim.file_bytes": int64(0), "oomwitness.victim.shmem_bytes": int64(0),
	}, flat(first.Attributes))
	second := flat(records[1].Attributes)
	require.Equal(t, "cron.service", second["oomwitness.unit"])
	require.Equal(t, `sh\u001b[2J`, second["process.command"])
	require.NotContains(t, second, "k8s.pod.uid")
	c.await(t, deliver.None, 2)
}

func TestExit(t *testing.T) {
	r := newReceiver(t, (*httptest.Server).Start)
	e, c, _ := start(t, r.URL)
	e.TakeExit(&exits.Exit{
		ID: "abc", Pid: 42, At: at, Status: 137, Reported: 217,
		Pod:     &exits.Pod{Namespace: "shop", Name: "web-0", UID: "uid-1", Container: "app", Image: "shop/web:1"},
		Verdict: oom.Verdict{Ended: oom.EndedSignal, Init: oom.No, Rule: oom.RuleStopped, Evidence: "ledger", Tier: "A", Sender: &oom.Sender{PID: 9, Comm: "earlyoom", UID: 0, CgroupPath: "/e"}},
		Memory:  &exits.Memory{Peak: new(uint64(5))},
	})
	record := r.next(t).ScopeLogs[0].LogRecords[0]
	require.Equal(t, otlp.ExitName, record.EventName)
	require.Equal(t, "A signal ended the container: status 137", record.Body.GetStringValue())
	require.Equal(t, logs.SeverityNumber_SEVERITY_NUMBER_WARN, record.SeverityNumber)
	require.Equal(t, map[string]any{
		"k8s.namespace.name": "shop", "k8s.pod.name": "web-0", "k8s.pod.uid": "uid-1", "k8s.container.name": "app",
		"container.id": "abc", "container.image.name": "shop/web", "process.pid": int64(42), "process.exit.code": int64(137),
		"oomwitness.oom_killed": false, "oomwitness.reported_status": int64(217), "oomwitness.kills": int64(0),
		"oomwitness.ended": "signal", "oomwitness.rule": string(oom.RuleStopped), "oomwitness.evidence": "ledger", "oomwitness.tier": "A",
		"oomwitness.init_victim": "no", "oomwitness.peak_bytes": int64(5),
		"oomwitness.sender.pid": int64(9), "oomwitness.sender.uid": int64(0), "oomwitness.sender.comm": "earlyoom", "oomwitness.sender.cgroup": "/e",
	}, flat(record.Attributes))
	c.await(t, deliver.None, 1)
}

// TestCollectorAway: what comes while no collector listens is sent when one does.
func TestCollectorAway(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	e, c, log := start(t, "http://"+address)
	e.Take(kill())
	require.Contains(t, log.next(t), "the collector does not take records")
	r := newReceiver(t, func(s *httptest.Server) {
		s.Listener.Close()
		s.Listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		require.NoError(t, err)
		s.Start()
	})
	require.Equal(t, otlp.KillName, r.next(t).ScopeLogs[0].LogRecords[0].EventName)
	c.await(t, deliver.None, 1)
	require.Contains(t, log.next(t), "takes records again")
}

// TestAnswers: what a collector refuses is counted, and what it asks for again is sent
// again.
func TestAnswers(t *testing.T) {
	partly, err := proto.Marshal(&collector.ExportLogsServiceResponse{
		PartialSuccess: &collector.ExportLogsPartialSuccess{RejectedLogRecords: 1, ErrorMessage: "too long"},
	})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter)
		reason deliver.Reason
	}{
		"bad request": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) }, deliver.Refused},
		"forbidden":   {func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }, deliver.Refused},
		"partly": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/x-protobuf")
			_, _ = w.Write(partly)
		}, deliver.Refused},
		"busy": {func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, deliver.None},
		"cut": {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, deliver.None},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var once sync.Once
			r := newReceiver(t, (*httptest.Server).Start)
			r.answer = func(w http.ResponseWriter, _ *http.Request) (answered bool) {
				once.Do(func() {
					answered = true
					c.answer(w)
				})
				return answered
			}
			e, counted, _ := start(t, r.URL)
			e.Take(kill())
			counted.await(t, c.reason, 1)
			e.Take(kill())
			require.NotNil(t, r.next(t), "it goes on")
		})
	}
}

// TestEnvironment: the variables of the specification are obeyed.
func TestEnvironment(t *testing.T) {
	r := newReceiver(t, (*httptest.Server).StartTLS)
	header := make(chan http.Header, 1)
	r.answer = func(_ http.ResponseWriter, request *http.Request) bool {
		header <- request.Header
		return false
	}
	ca := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}), 0o600))
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": r.URL, "OTEL_EXPORTER_OTLP_CERTIFICATE": ca, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20x",
		"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_RESOURCE_ATTRIBUTES": "k8s.cluster.name=blue", "OTEL_SERVICE_NAME": "mine",
	} {
		t.Setenv(name, value)
	}
	e, _, _ := start(t, "")
	e.Take(kill())
	require.Equal(t, "Basic x", (<-header).Get("Authorization"))
	resource := flat(r.next(t).Resource.Attributes)
	require.Equal(t, "blue", resource["k8s.cluster.name"])
	require.Equal(t, "mine", resource["service.name"])

	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "novalue")
	log, _ := newLog()
	_, err := otlp.New(otlp.Options{Endpoint: r.URL, Log: log, Count: newCounts().count})
	require.ErrorContains(t, err, "$OTEL_RESOURCE_ATTRIBUTES")
}

// TestRedirect: an answer that redirects is not followed, so that no other host gets the
// headers of the collector, and no record counts as reported.
func TestRedirect(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=secret")
	for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect} {
		other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("followed") }))
		t.Cleanup(other.Close)
		r := newReceiver(t, (*httptest.Server).Start)
		r.answer = func(w http.ResponseWriter, request *http.Request) bool {
			http.Redirect(w, request, other.URL, status)
			return true
		}
		e, c, log := start(t, r.URL)
		e.Take(kill())
		require.Contains(t, log.next(t), "the collector does not take records")
		require.Zero(t, c.get(deliver.None))
	}
}
