//go:build linux

package docker

import (
	"context"
	"fmt"
	"net/http"
)

// mib is a MiB in bytes.
const mib = 1 << 20

// testCase is one way for a container to end.
type testCase struct {
	name  string
	args  []string // of the workload
	limit int64    // bytes of memory, without swap
	// restarts is how often dockerd may start the container again after a failure.
	restarts int
	// ready is the text that the container prints before act; act makes the container end.
	ready string
	act   func(ctx context.Context, a api, id string) error
	// silent says that dockerd sends no events for the container, because dockerd was away.
	silent bool
	// oom and status are the expected values in `docker inspect`.
	oom    bool
	status int
}

// cases returns the cases in which both daemons run.
func cases() []testCase {
	return []testCase{
		{name: "init-oom", args: []string{"hog"}, limit: 48 * mib, oom: true, status: 137},
		{name: "child-oom-exit-0", args: []string{"child-oom-exit", "0", "1000"}, limit: 24 * mib},
		{name: "child-oom-exit-1", args: []string{"child-oom-exit", "1"}, limit: 24 * mib, oom: true, status: 1},
		{name: "exit-3", args: []string{"exit", "3"}, limit: 24 * mib, status: 3},
		{name: "docker-stop", args: []string{"trap-term", "143"}, limit: 24 * mib, ready: "ready", act: stop, status: 143},
		{name: "docker-kill", args: []string{"sleep", "600"}, limit: 24 * mib, act: kill, status: 137},
		{name: "child-oom-stop", args: []string{"child-oom-sleep"}, limit: 24 * mib, ready: "child died", act: stop, status: 143},
		{name: "restart-on-failure", args: []string{"hog"}, limit: 24 * mib, restarts: 2, oom: true, status: 137},
	}
}

func stop(ctx context.Context, a api, id string) error {
	return a.call(ctx, http.MethodPost, "/containers/"+id+"/stop?t=60", nil, nil)
}

func kill(ctx context.Context, a api, id string) error {
	return a.call(ctx, http.MethodPost, "/containers/"+id+"/kill", nil, nil)
}

// outcome is dockerd's report of one container.
type outcome struct {
	state    state
	restarts int
	events   []string
}

// deaths returns the expected number of events "die".
func (c testCase) deaths() int {
	if c.silent {
		return 0
	}
	return c.restarts + 1
}

// run runs one container of a case to its end.
func (s *stack) run(ctx context.Context, c testCase) (string, outcome, error) {
	id, err := s.api.run(ctx, s.runtime, c)
	if err != nil {
		return id, outcome{}, err
	}
	if c.ready != "" {
		if err := s.api.said(ctx, id, c.ready); err != nil {
			return id, outcome{}, err
		}
	}
	if c.act != nil {
		if err := c.act(ctx, s.api, id); err != nil {
			return id, outcome{}, err
		}
	}
	if err := s.over(ctx, c, id); err != nil {
		return id, outcome{}, err
	}
	var o outcome
	o.state, o.restarts, err = s.api.inspect(ctx, id)
	o.events = s.events.await(ctx, id, c.deaths())
	return id, o, err
}

// over waits until the container has ended and will not be restarted.
func (s *stack) over(ctx context.Context, c testCase, id string) error {
	for {
		if err := s.api.wait(ctx, id); err != nil {
			return err
		}
		now, restarts, err := s.api.inspect(ctx, id)
		if err != nil || now.Status == "exited" && restarts == c.restarts {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("container %s: %s after %d restarts: %w", id, now.Status, restarts, ctx.Err())
		}
	}
}

// figures counts outcomes.
type figures struct {
	n, right, status, oomKilled, oomEvents int
	wrong                                  []string
}

// add counts one outcome. It is right if inspect shows the expected status and OOMKilled, and
// if each death by OOM, and no other, has one event "oom" before its "die".
func (f *figures) add(c testCase, id string, o outcome) {
	f.n++
	f.oomEvents += count(o.events, "oom")
	if o.state.OOMKilled {
		f.oomKilled++
	}
	statusRight := o.state.ExitCode == c.status
	if statusRight {
		f.status++
	}
	if statusRight && !o.state.Running && o.state.OOMKilled == c.oom && inOrder(o.events, c.oom, c.deaths()) {
		f.right++
		return
	}
	f.wrong = append(f.wrong, fmt.Sprintf("%.12s: %s OOMKilled=%t ExitCode=%d restarts=%d events=%v",
		id, o.state.Status, o.state.OOMKilled, o.state.ExitCode, o.restarts, o.events))
}

// inOrder reports whether the events are those of that number of deaths, each with one "oom"
// before it if oom is true.
func inOrder(events []string, oom bool, deaths int) bool {
	var want []string
	for range deaths {
		if oom {
			want = append(want, "oom")
		}
		want = append(want, "die")
	}
	return fmt.Sprint(events) == fmt.Sprint(want)
}

func (f *figures) String() string {
	return fmt.Sprintf("n=%d right=%d exit_code=%d oom_killed=%d oom_events=%d", f.n, f.right, f.status, f.oomKilled, f.oomEvents)
}
