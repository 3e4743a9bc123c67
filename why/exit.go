package why

import (
	"errors"
	"fmt"
)

// Exit statuses of "oomwitness why" and of the kubectl plugin. 0 says that the container
// was found and not OOM-killed.
const (
	StatusError    = 1 // something failed
	StatusUsage    = 2 // the command line is wrong
	StatusNotFound = 3 // there is no such pod, container or run
	StatusNoAgent  = 4 // no agent answered, and the pod's status does not say OOMKilled
	StatusOOM      = 5 // the run that is shown was OOM-killed
)

// Exit is an error with the exit status of the command. Err is nil where everything was
// said already.
type Exit struct {
	Status int
	Err    error
}

// Error returns what is to be printed, "" for nothing.
func (e *Exit) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// Unwrap returns the error beneath.
func (e *Exit) Unwrap() error { return e.Err }

// Usage returns err as an error of the command line, nil for nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return &Exit{Status: StatusUsage, Err: err}
}

// NotFound returns an error for what does not exist.
func NotFound(format string, args ...any) error {
	return &Exit{Status: StatusNotFound, Err: fmt.Errorf(format, args...)}
}

// StatusOf returns the exit status for an error: 0 for nil, StatusError for one that says
// none.
func StatusOf(err error) int {
	var e *Exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.Status
	default:
		return StatusError
	}
}
