package deliver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// ask makes one request of a server, and judges its error.
func ask(ctx context.Context, t *testing.T, url string) error {
	t.Helper()
	client, err := ForConfig(&rest.Config{Host: url})
	if err != nil {
		t.Fatal(err)
	}
	event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "e"}}
	return Judge(client.Core.Post().Namespace("default").Resource("events").Body(event).MaxRetries(0).Do(ctx).Error())
}

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		name       string
		code       int
		reason     metav1.StatusReason
		cause      metav1.CauseType
		retryAfter int
		want       error
	}{
		{"created", 201, "", "", 0, nil},
		{"bad request", 400, metav1.StatusReasonBadRequest, "", 0, &SkipError{Reason: Refused}},
		{"token renewed", 401, metav1.StatusReasonUnauthorized, "", 0, &RetryError{Reason: Unavailable}},
		{"forbidden", 403, metav1.StatusReasonForbidden, "", 0, &SkipError{Reason: Forbidden}},
		{"namespace ends", 403, metav1.StatusReasonForbidden, corev1.NamespaceTerminatingCause, 0, &SkipError{Reason: NamespaceGone}},
		{"not found", 404, metav1.StatusReasonNotFound, "", 0, &SkipError{Reason: PodGone}},
		{"conflict", 409, metav1.StatusReasonConflict, "", 0, &RetryError{Reason: Conflict}},
		{"invalid", 422, metav1.StatusReasonInvalid, "", 0, &SkipError{Reason: Refused}},
		{"throttled", 429, metav1.StatusReasonTooManyRequests, "", 7, &RetryError{Reason: Throttled, After: 7 * time.Second}},
		{"throttled for a year", 429, metav1.StatusReasonTooManyRequests, "", 31536000, &RetryError{Reason: Throttled, After: maxAfter}},
		{"broken", 500, metav1.StatusReasonInternalError, "", 0, &RetryError{Reason: Unavailable}},
		{"overloaded", 503, metav1.StatusReasonServiceUnavailable, "", 3, &RetryError{Reason: Unavailable}},
		{"gateway", 504, metav1.StatusReasonTimeout, "", 0, &RetryError{Reason: Unavailable}},
	} {
		t.Run(test.name, func(t *testing.T) {
			calls := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				calls++
				if test.retryAfter > 0 {
					w.Header().Set("Retry-After", strconv.Itoa(test.retryAfter))
				}
				answer(t, w, test.code, test.reason, test.cause, test.retryAfter)
			}))
			defer server.Close()
			began := time.Now()
			same(t, ask(t.Context(), t, server.URL), test.want)
			// The library would wait itself, and hold a worker up.
			if calls != 1 || time.Since(began) > 5*time.Second {
				t.Errorf("%d requests in %s, want 1 at once", calls, time.Since(began))
			}
		})
	}
}

func answer(t *testing.T, w http.ResponseWriter, code int, reason metav1.StatusReason, cause metav1.CauseType, after int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	var body any = &corev1.Event{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Event"}}
	if code >= 300 {
		status := &metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
			Code: int32(code), Reason: reason, Details: &metav1.StatusDetails{RetryAfterSeconds: int32(after)},
		}
		if cause != "" {
			status.Details.Causes = []metav1.StatusCause{{Type: cause}}
		}
		body = status
	}
	if err := json.NewEncoder(w).Encode(body); err != nil {
		t.Error(err)
	}
}

// same compares what two errors say to do.
func same(t *testing.T, got, want error) {
	t.Helper()
	var skip, wantSkip *SkipError
	var retry, wantRetry *RetryError
	switch {
	case want == nil && got == nil:
	case errors.As(want, &wantSkip) && errors.As(got, &skip) && skip.Reason == wantSkip.Reason && skip.Err != nil:
	case errors.As(want, &wantRetry) && errors.As(got, &retry) && retry.Reason == wantRetry.Reason && retry.Err != nil:
		if wantRetry.After != 0 && retry.After != wantRetry.After {
			t.Errorf("to be tried again after %s, want %s", retry.After, wantRetry.After)
		}
	default:
		t.Errorf("got %#v, want %#v", got, want)
	}
}

// No answer at all: nobody listens, the connection breaks, nothing comes.
func TestJudgeNoAnswer(t *testing.T) {
	unavailable := &RetryError{Reason: Unavailable}
	t.Run("refused", func(t *testing.T) {
		server := httptest.NewServer(http.NotFoundHandler())
		url := server.URL
		server.Close()
		same(t, ask(t.Context(), t, url), unavailable)
	})
	t.Run("broken", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		defer server.Close()
		same(t, ask(t.Context(), t, server.URL), unavailable)
	})
	t.Run("hanging", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then a server sees the connection's end
			cancel()                           // as the attempt's time would
			<-r.Context().Done()
		}))
		defer server.Close()
		same(t, ask(ctx, t, server.URL), unavailable)
	})
}
