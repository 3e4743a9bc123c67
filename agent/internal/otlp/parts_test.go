package otlp_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/otlp"
)

const wait = 30 * time.Second

// receiver is a collector by the protocol's own messages.
type receiver struct {
	*httptest.Server
	got chan *collector.ExportLogsServiceRequest
	// answer writes another answer than that all is well, if it is not nil and says so.
	answer func(w http.ResponseWriter, r *http.Request) bool
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if r.answer != nil && r.answer(w, request) {
		return
	}
	body := io.Reader(request.Body)
	if request.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(body)
	}
	text, err := io.ReadAll(body)
	var message collector.ExportLogsServiceRequest
	if err != nil || request.URL.Path != "/v1/logs" || proto.Unmarshal(text, &message) != nil {
		http.Error(w, "no logs", http.StatusBadRequest)
		return
	}
	r.got <- &message
}

func newReceiver(t *testing.T, start func(*httptest.Server)) *receiver {
	t.Helper()
	r := &receiver{got: make(chan *collector.ExportLogsServiceRequest, 100)}
	r.Server = httptest.NewUnstartedServer(r)
	start(r.Server)
	t.Cleanup(r.Close)
	return r
}

// next returns the next request.
func (r *receiver) next(t *testing.T) *logs.ResourceLogs {
	t.Helper()
	select {
	case message := <-r.got:
		require.Len(t, message.ResourceLogs, 1)
		require.Len(t, message.ResourceLogs[0].ScopeLogs, 1)
		return message.ResourceLogs[0]
	case <-time.After(wait):
		require.Fail(t, "no request in time")
		return nil
	}
}

// counts are what became of records.
type counts struct {
	mu      sync.Mutex
	of      map[deliver.Reason]int
	changed chan struct{}
}

func newCounts() *counts {
	return &counts{of: map[deliver.Reason]int{}, changed: make(chan struct{}, 1)}
}

func (c *counts) count(_ deliver.Stage, reason deliver.Reason, n int) {
	c.mu.Lock()
	c.of[reason] += n
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *counts) get(reason deliver.Reason) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of[reason]
}

// await waits until n records have come to an end for a reason.
func (c *counts) await(t *testing.T, reason deliver.Reason, n int) {
	t.Helper()
	deadline := time.After(wait)
	for c.get(reason) != n {
		select {
		case <-c.changed:
		case <-deadline:
			require.Equal(t, n, c.get(reason), "reason %q", reason)
		}
	}
}

// lines are the messages of a log.
type lines chan string

func (lines) Levels() []logrus.Level { return logrus.AllLevels }

func (l lines) Fire(entry *logrus.Entry) error {
	l <- entry.Message
	return nil
}

func newLog() (*logrus.Logger, lines) {
	log, got := logrus.New(), make(lines, 100)
	log.SetOutput(io.Discard)
	log.AddHook(got)
	return log, got
}

// next returns the next line.
func (l lines) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-l:
		return line
	case <-time.After(wait):
		require.Fail(t, "no line in time")
		return ""
	}
}

// start starts an Exporter to a URL. The log's lines are the test's.
func start(t *testing.T, url string) (*otlp.Exporter, *counts, lines) {
	t.Helper()
	endpoint, err := otlp.Endpoint(url)
	require.NoError(t, err)
	c := newCounts()
	log, got := newLog()
	e, err := otlp.New(otlp.Options{Endpoint: endpoint, Node: "node-1", Kubernetes: true, Version: "v1", Count: c.count, Log: log})
	require.NoError(t, err)
	e.Start()
	t.Cleanup(e.Close)
	return e, c, got
}

// flat are attributes as Go's values.
func flat(list []*common.KeyValue) map[string]any {
	all := map[string]any{}
	for _, kv := range list {
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			all[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			all[kv.Key] = v.IntValue
		case *common.AnyValue_BoolValue:
			all[kv.Key] = v.BoolValue
		}
	}
	return all
}
