package deliver

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// maxAfter bounds how long an API server may have us wait: its Retry-After is
// input like any other.
const maxAfter = 2 * time.Minute

// Judge says what an error of a request for something in a namespace means: a
// SkipError or a RetryError of package outcome, nil for nil. What is not found is
// the pod.
//
// A request that was not allowed is not made again: a role is seldom granted in
// the minutes that it could be tried, and until then every kill would cost calls.
func Judge(err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return &SkipError{Reason: NamespaceGone, Err: err}
	case apierrors.IsNotFound(err), apierrors.IsGone(err):
		return &SkipError{Reason: PodGone, Err: err}
	case apierrors.IsForbidden(err):
		return &SkipError{Reason: Forbidden, Err: err}
	case apierrors.IsConflict(err):
		return &RetryError{Reason: Conflict, Err: err}
	case apierrors.IsTooManyRequests(err):
		return &RetryError{Reason: Throttled, After: retryAfter(err), Err: err}
	case refused(err):
		return &SkipError{Reason: Refused, Err: err}
	default: // 401 while a token is renewed, 5xx, and no answer at all
		return &RetryError{Reason: Unavailable, After: retryAfter(err), Err: err}
	}
}

// refused says that the same request will be refused again.
func refused(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsMethodNotSupported(err) ||
		apierrors.IsNotAcceptable(err) || apierrors.IsUnsupportedMediaType(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// retryAfter is how long the API server asks to be left alone.
func retryAfter(err error) time.Duration {
	seconds, ok := apierrors.SuggestsClientDelay(err)
	if !ok || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxAfter)
}
