// Package otlp sends OOM kills and ends of containers to an OpenTelemetry collector: log
// records by OTLP over HTTP. A collector that is away or slow costs records, which are
// counted, and never the agent's time.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/go-logr/logr/funcr"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/log"
	sdk "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom/exits"
)

const (
	serviceName = "oomwitness-agent"
	// maxAnswer bounds what is read of a collector's answer, in bytes.
	maxAnswer = 64 << 10
)

// Options of New.
type Options struct {
	// Endpoint is the URL to which records are posted, as [Endpoint] returns it.
	Endpoint string
	// Node is the node's name. Kubernetes reports whether Kubernetes has the node by it.
	Node       string
	Kubernetes bool
	// Version is the program's.
	Version string
	// Count counts what became of records. It is called concurrently and must not block.
	Count func(stage deliver.Stage, reason deliver.Reason, records int)
	Log   logrus.FieldLogger
}

// Exporter is an events.Consumer that sends a record for each victim, and one for each end
// of a container. Start comes first, and Close once.
type Exporter struct {
	queue  *queue
	logger log.Logger
}

// New returns an Exporter that has asked nobody yet. An error is of the options or of the
// variables of the environment.
func New(o Options) (*Exporter, error) {
	logTo(o.Log)
	of := []attribute.KeyValue{
		semconv.ServiceName(serviceName), semconv.ServiceVersion(o.Version), semconv.ServiceInstanceID(o.Node), semconv.HostName(o.Node),
	}
	if o.Kubernetes {
		of = append(of, semconv.K8SNodeName(o.Node))
	}
	res, err := resource.New(context.Background(), resource.WithAttributes(of...), resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return nil, fmt.Errorf("$OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	exporter, err := otlploghttp.New(context.Background(), otlploghttp.WithEndpointURL(o.Endpoint),
		otlploghttp.WithMaxResponseSize(maxAnswer), otlploghttp.WithProxy(only(o.Endpoint)))
	if err != nil {
		return nil, fmt.Errorf("OpenTelemetry: %w", err)
	}
	q := newQueue(exporter, o.Count, o.Log.WithField("endpoint", o.Endpoint))
	provider := sdk.NewLoggerProvider(sdk.WithResource(res), sdk.WithProcessor(q))
	return &Exporter{queue: q, logger: provider.Logger("github.com/oomwitness/oomwitness/agent", log.WithInstrumentationVersion(o.Version))}, nil
}

// only returns the proxy of a request to the endpoint, as the environment names it. A request
// elsewhere is one that a collector's answer redirects: that request would have the
// collector's headers, and it is not sent.
func only(endpoint string) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		if r.Method != http.MethodPost || r.URL.String() != endpoint {
			return nil, errors.New("the collector redirects to another URL, which is not followed")
		}
		return http.ProxyFromEnvironment(r)
	}
}

// logTo has the SDK's own messages, such as those of a variable that is wrong, come to a
// log. It is for the whole process.
func logTo(to logrus.FieldLogger) {
	to = to.WithField("component", "opentelemetry")
	otel.SetLogger(funcr.New(func(_, args string) { to.Warn(args) }, funcr.Options{Verbosity: 1}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { to.Warn(err) }))
}

// Start sends records from now on, until Close.
func (e *Exporter) Start() { e.queue.start() }

// Close sends what waits, for some seconds at most.
func (e *Exporter) Close() { e.queue.close() }

// Waiting is how many records wait, MaxWaiting how many may.
func (e *Exporter) Waiting() int { return e.queue.len() }

// Take queues a record for each victim of an OOM event.
func (e *Exporter) Take(in events.OOMEvent) {
	for i := range in.Victims {
		v := &in.Victims[i]
		e.logger.Emit(ofOwner(events.OwnerOfVictim(v)), killRecord(&in, v))
	}
}

// TakeExit queues a record for the end of a container.
func (e *Exporter) TakeExit(x *exits.Exit) {
	owner := events.Owner{Name: x.ID}
	if x.Pod != nil {
		owner = events.Owner{Group: x.Pod.Namespace, Name: x.Pod.UID}
	}
	e.logger.Emit(ofOwner(owner), exitRecord(x))
}
