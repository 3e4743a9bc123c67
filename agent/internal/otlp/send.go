package otlp

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/sirupsen/logrus"
	sdk "go.opentelemetry.io/otel/sdk/log"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
)

const (
	// sendFor is how long a batch is tried. Others wait meanwhile.
	sendFor = 10 * time.Minute
	// attemptFor bounds one call of the exporter, which tries again by itself where the
	// collector asks for that.
	attemptFor = 30 * time.Second
	// maxPause is the longest pause between two calls.
	maxPause = 15 * time.Second
	// maxReason is how much of an error is logged, in bytes: a collector may answer much.
	maxReason = 512
)

// sender sends batches, one at a time.
type sender struct {
	exporter sdk.Exporter
	count    func(deliver.Stage, deliver.Reason, int)
	log      logrus.FieldLogger
	failing  bool
}

// send tries a batch until the collector has answered, sendFor is over, or ctx ends.
func (s *sender) send(ctx context.Context, batch []sdk.Record) {
	ctx, cancel := context.WithTimeout(ctx, sendFor)
	defer cancel()
	pause := backoff.NewExponentialBackOff()
	pause.MaxInterval = maxPause
	refused := false
	_, err := backoff.Retry(ctx, func() (_ struct{}, err error) {
		if refused, err = s.attempt(ctx, batch); refused {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0))
	switch {
	case err == nil:
		s.count(deliver.Reported, deliver.None, len(batch))
	case refused:
		s.count(deliver.Skipped, deliver.Refused, len(batch))
	default:
		s.count(deliver.Skipped, deliver.Unavailable, len(batch))
	}
}

// attempt sends a batch once. refused says that the collector will not take it later
// either. The exporter does not try again where nobody answers, as while a collector is
// restarted: a url.Error (client.go of otlploghttp v0.23.0).
func (s *sender) attempt(ctx context.Context, batch []sdk.Record) (refused bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptFor)
	defer cancel()
	err = s.exporter.Export(ctx, batch)
	s.note(err)
	var unanswered *url.Error
	return err != nil && ctx.Err() == nil && !errors.As(err, &unanswered), err
}

// note logs that the collector has stopped or begun to take records.
func (s *sender) note(err error) {
	failing := err != nil
	if failing == s.failing {
		return
	}
	s.failing = failing
	if !failing {
		s.log.Info("OpenTelemetry: the collector takes records again")
		return
	}
	reason := err.Error()
	reason = events.Clean(reason[:min(len(reason), maxReason)])
	s.log.WithField("error", reason).Warn("OpenTelemetry: the collector does not take records: oomwitness_otlp_records_total counts what is lost")
}
