//go:build linux

package mix

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"

	"github.com/oomwitness/oomwitness/oom"
)

// Outcome is what was reported of one run.
type Outcome struct {
	ID     string
	Status uint32
	// OOMs counts the TaskOOMs for this container.
	OOMs int
	// BeforeExit says that the first TaskOOM came before the TaskExit, if there was one, and
	// was acked before the client saw the exit.
	BeforeExit bool
	// Exits counts the TaskExits of init.
	Exits int
	// WrongID counts the TaskOOMs for the sibling.
	WrongID int
	// SiblingDied says that the sibling did not run on.
	SiblingDied bool
	// SiblingStatus and SiblingVerdict are of the sibling's end, which is no OOM.
	SiblingStatus  uint32
	SiblingVerdict *oom.Verdict
	// Verdict is our shim's verdict; nil under the stock shim.
	Verdict *oom.Verdict
	// Unread says that the bundle was gone before the record could be read: the client saw the
	// exit by its Delete.
	Unread bool
}

// APIPath is a way by which a client sees an exit. It returns the status.
type APIPath func(ctx context.Context, p *Prepared) (uint32, error)

// ByWait is CRI's path: it calls Wait.
func ByWait(ctx context.Context, p *Prepared) (uint32, error) {
	select {
	case e := <-p.exit:
		return e.ExitCode(), e.Error()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// ByState calls State without a pause, until the state is stopped.
func ByState(ctx context.Context, p *Prepared) (uint32, error) {
	for {
		st, err := p.main.Task.Status(ctx)
		if err != nil {
			return 0, err
		}
		if st.Status == client.Stopped {
			return st.ExitStatus, nil
		}
	}
}

// ByDelete calls Delete without a pause, until a call succeeds. The client library calls State
// first, so that this path tests State too.
func ByDelete(ctx context.Context, p *Prepared) (uint32, error) {
	for {
		e, err := p.main.Task.Delete(ctx)
		if err == nil {
			p.deleted = true
			return e.ExitCode(), e.Error()
		}
		if !errdefs.IsFailedPrecondition(err) {
			return 0, err
		}
	}
}

// ByWaitAgain is the path of a client whose containerd has restarted: the first Wait broke off,
// and the client calls Wait again.
func ByWaitAgain(ctx context.Context, p *Prepared) (uint32, error) {
	var err error
	if p.exit, err = p.main.Task.Wait(ctx); err != nil {
		return 0, fmt.Errorf("wait again: %w", err)
	}
	return ByWait(ctx, p)
}

// ByRemoval waits for the TaskExit that containerd publishes for a container of a dead shim.
// The container is then gone, and so is its record.
func ByRemoval(ctx context.Context, p *Prepared) (uint32, error) {
	p.deleted = true
	e, err := p.r.rec.exit(ctx, p.ID())
	return e.Status, err
}

// judge counts the events of a run that is over.
func (p *Prepared) judge(ctx context.Context, o *Outcome) error {
	o.ID = p.main.Task.ID()
	mine, err := p.r.rec.of(ctx, o.ID, patience)
	if err != nil {
		return err
	}
	var oomAt, exitAt, seenAt []int
	for i, e := range mine {
		switch e.Topic {
		case "/tasks/oom":
			oomAt = append(oomAt, i)
		case "/tasks/exit":
			exitAt = append(exitAt, i)
		case seenTopic:
			seenAt = append(seenAt, i)
		}
	}
	o.OOMs, o.Exits = len(oomAt), len(exitAt)
	o.BeforeExit = len(oomAt) > 0 && (len(exitAt) == 0 || oomAt[0] < exitAt[0]) &&
		len(seenAt) > 0 && oomAt[0] < seenAt[0]
	return nil
}

// endSibling wants that the sibling runs, ends it from the host, and collects what was reported
// of it.
func (p *Prepared) endSibling(ctx context.Context, o *Outcome) error {
	task := p.sibling.Task
	exit, err := task.Wait(ctx)
	if err != nil {
		return fmt.Errorf("wait for the sibling: %w", err)
	}
	if o.SiblingDied = syscall.Kill(int(task.Pid()), syscall.SIGTERM) != nil; o.SiblingDied {
		return nil
	}
	select {
	case e := <-exit:
		o.SiblingStatus = e.ExitCode()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := p.r.rec.mark(ctx, task.ID()); err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	o.SiblingVerdict = readVerdict(task.ID())
	theirs, err := p.r.rec.of(ctx, task.ID(), patience)
	for _, e := range theirs {
		if e.Topic == "/tasks/oom" {
			o.WrongID++
		}
	}
	return err
}

// Faults returns what is wrong with an outcome.
func (c Case) Faults(o Outcome) (faults []string) {
	want := c.Want
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if o.Status != want.Status {
		fault("status %d, want %d", o.Status, want.Status)
	}
	if o.Exits != 1 {
		fault("%d TaskExits, want 1", o.Exits)
	}
	if o.WrongID > 0 {
		fault("%d TaskOOMs for the sibling", o.WrongID)
	}
	if o.SiblingDied || o.SiblingStatus != 0 {
		fault("the sibling died, or ended with %d, want 0", o.SiblingStatus)
	}
	if v := o.SiblingVerdict; v != nil && v.OOMKilled {
		fault("the sibling's verdict %+v", *v)
	}
	oomWanted := want.OOM
	if want.LedgerOnly && o.Verdict != nil && o.Verdict.Init == oom.Unknown {
		oomWanted = true
		if o.Verdict.Rule != oom.RuleCounters {
			fault("rule %s, want %s", o.Verdict.Rule, oom.RuleCounters)
		}
	}
	return append(faults, c.oomFaults(o, oomWanted)...)
}

func (c Case) oomFaults(o Outcome, wanted bool) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	switch {
	case wanted && o.OOMs == 0:
		fault("no TaskOOM")
	case !wanted && o.OOMs > 0:
		fault("%d TaskOOMs, want none", o.OOMs)
	case wanted && o.OOMs > 1:
		fault("%d TaskOOMs, want 1", o.OOMs)
	case wanted && !o.BeforeExit:
		fault("the TaskOOM came after the exit")
	}
	switch v := o.Verdict; {
	case o.Unread:
	case v == nil:
		fault("no verdict in the bundle")
	case v.OOMKilled != wanted:
		fault("verdict %+v", *v)
	case wanted && c.Want.Cause != "" && string(v.Cause) != c.Want.Cause:
		fault("cause %q, want %q", v.Cause, c.Want.Cause)
	case v.Init == oom.Unknown: // counters show no more
	case c.Want.Init != oom.Unknown && v.Init != c.Want.Init:
		fault("init a victim: %v, want %v", v.Init, c.Want.Init)
	case c.Want.Kills != 0 && v.Kills != c.Want.Kills:
		fault("%d kills, want %d", v.Kills, c.Want.Kills)
	}
	return faults
}

// readVerdict returns the verdict that our shim has left in the bundle. It returns nil under
// the stock shim, and if no verdict came within patience: our shim writes a verdict that is no
// OOM after the exit was seen.
func readVerdict(id string) *oom.Verdict {
	name := filepath.Join(stateDir, namespace, id, "oomwitness.json")
	for late := time.Now().Add(patience); time.Now().Before(late); time.Sleep(recordPoll) {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil
		}
		if v := lastVerdict(data); v != nil {
			return v
		}
	}
	return nil
}

// recordPoll is the pause between two reads of a record, which another process writes.
const recordPoll = 5 * time.Millisecond

// lastVerdict returns the verdict in the last whole line of a record, nil if that line has
// none.
func lastVerdict(data []byte) *oom.Verdict {
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	lines := bytes.Split(bytes.TrimSuffix(whole, []byte("\n")), []byte("\n"))
	var rec struct {
		Verdict *oom.Verdict `json:"verdict"`
	}
	if json.Unmarshal(lines[len(lines)-1], &rec) != nil {
		return nil
	}
	return rec.Verdict
}
