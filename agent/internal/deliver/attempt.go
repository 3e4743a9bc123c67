package deliver

import (
	"fmt"
	"time"
)

// SkipError says that something can't be done, now or later.
type SkipError struct {
	Reason Reason
	Err    error // nil where the reason says all
}

func (e *SkipError) Error() string { return text(e.Reason, e.Err) }

func (e *SkipError) Unwrap() error { return e.Err }

// RetryError says that an attempt failed and may succeed later.
type RetryError struct {
	Reason Reason
	// After is how long to leave it at least, 0 if that was not said.
	After time.Duration
	Err   error
}

func (e *RetryError) Error() string { return text(e.Reason, e.Err) }

func (e *RetryError) Unwrap() error { return e.Err }

// WaitError says that nothing was attempted, since a rate limit of ours asks to
// wait.
type WaitError struct{ After time.Duration }

func (e *WaitError) Error() string { return fmt.Sprintf("wait %s", e.After) }

func text(reason Reason, err error) string {
	if err == nil {
		return string(reason)
	}
	return fmt.Sprintf("%s: %v", reason, err)
}
