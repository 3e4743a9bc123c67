package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/cli"
	"github.com/oomwitness/oomwitness/why/text"
)

// Bounds of --since and --limit.
const (
	minSince = time.Second
	maxSince = 366 * 24 * time.Hour
	maxLimit = 10000
)

// topCommand is "kubectl oomwitness top".
type topCommand struct {
	*options
	since time.Duration
	limit int
}

// topAnswer is the output of top as JSON and YAML.
type topAnswer struct {
	Schema int       `json:"schema"`
	Since  time.Time `json:"since"`
	Rows   []Row     `json:"rows"`
	Notes  []string  `json:"notes,omitempty"`
}

func newTop(o *options) *cobra.Command {
	c := &topCommand{options: o}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show which workloads are OOM-killed most",
		Long: `Show the workloads with the most OOM kills, by ended containers and killed processes on all
nodes.

  ENDED  runs of the container that have ended
  OOM    of these, the runs that the OOM killer ended
  KILLS  processes that the OOM killer ended; the container may have survived
  PEAK   the largest memory.peak of a run, beside LIMIT for right-sizing

An agent keeps the last 1,000 ends and 1,000 OOM events of its node. If they do not
reach back to --since, or an answer leaves containers out, a note says so.`,
		Example: `  kubectl oomwitness top -A
  kubectl oomwitness top -n shop --since 6h -o wide`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	cli.DurationVar(cmd.Flags(), &c.since, "since", 24*time.Hour, "how long ago to begin, such as 90m or 24h")
	cmd.Flags().IntVar(&c.limit, "limit", 20, "rows at most, 0 for all")
	o.addOutput(cmd, true)
	return cmd
}

func (c *topCommand) run(ctx context.Context) error {
	var errs []error
	if c.since < minSince || c.since > maxSince {
		errs = append(errs, fmt.Errorf("--since %v: allowed are %v to %v", c.since, minSince, maxSince))
	}
	if c.limit < 0 || c.limit > maxLimit {
		errs = append(errs, fmt.Errorf("--limit %d: allowed are 0 to %d", c.limit, maxLimit))
	}
	if err := why.Usage(errors.Join(errs...)); err != nil {
		return err
	}
	if err := c.complete(); err != nil {
		return err
	}
	agents, err := c.agents(ctx, "")
	if err != nil {
		return err
	}
	if len(agents) == 0 {
		return &why.Exit{Status: why.StatusNoAgent, Err: fmt.Errorf("no pod has the labels %s: the agent is not installed, or --agent-selector is to be set", c.agentSelector)}
	}
	answer := topAnswer{Schema: why.Schema, Since: time.Now().Add(-c.since).UTC().Truncate(time.Second)}
	counts, silent := c.ask(ctx, agents, &answer)
	if err := interrupted(ctx); err != nil {
		return err
	}
	answer.Rows = byWorkload(counts, c.workloads(ctx))
	if c.limit > 0 && len(answer.Rows) > c.limit {
		answer.Notes = append(answer.Notes, fmt.Sprintf("%d more rows: --limit 0 shows all", len(answer.Rows)-c.limit))
		answer.Rows = answer.Rows[:c.limit]
	}
	if err := c.write(answer, func() error { return c.table(&answer, c.none(silent, len(agents))) }); err != nil {
		return err
	}
	if silent == len(agents) {
		return &why.Exit{Status: why.StatusNoAgent}
	}
	return nil
}

// ask asks all agents, and returns their counts. The answer gets notes on what is missing; silent
// is how many agents did not answer.
func (c *topCommand) ask(ctx context.Context, agents []corev1.Pod, answer *topAnswer) (counts []why.Count, silent int) {
	for _, a := range askAll[why.Top](ctx, c.options, agents, why.PathTop, map[string]string{"since": c.since.String()}, allTimeout) {
		if a.err != nil {
			silent++
			answer.Notes = append(answer.Notes, fmt.Sprintf("node %s: %v", nodeOf(a.agent), a.err))
			continue
		}
		counts = append(counts, c.own(a.value.Rows)...)
		for _, gap := range gaps(&a.value, answer.Since) {
			answer.Notes = append(answer.Notes, fmt.Sprintf("node %s: %s", nodeOf(a.agent), gap))
		}
	}
	return counts, silent
}

// none says that there is no row, and how much this means if agents did not answer.
func (c *topCommand) none(silent, agents int) string {
	if silent == agents {
		return "no agent answered: which containers have ended is not known"
	}
	said := fmt.Sprintf("no container of a pod has ended and none was OOM-killed in the last %s", strings.TrimSuffix(c.since.String(), "0m0s"))
	if silent > 0 {
		said += fmt.Sprintf(", as far as %d of %d agents know", agents-silent, agents)
	}
	return said
}

// gaps says what is missing from an agent's counts since a time.
func gaps(top *why.Top, since time.Time) (gaps []string) {
	switch at := top.CompleteSince; {
	case at == nil:
		gaps = append(gaps, "since when the counts are complete is not known, because the agent does not say so")
	case at.After(since):
		gaps = append(gaps, fmt.Sprintf("the counts do not reach back: they are complete since %s (%s ago)", at.UTC().Format(time.RFC3339), text.Ago(top.Time.Sub(*at))))
	}
	if top.Lost > 0 {
		gaps = append(gaps, fmt.Sprintf("%d victims are in no row: the ledger counted them and has no record of them", top.Lost))
	}
	if top.Omitted > 0 {
		gaps = append(gaps, fmt.Sprintf("%d more containers are in no row: an agent answers with %d at most, those with the most OOM kills", top.Omitted, why.MaxRows))
	}
	return gaps
}

// own returns the rows of the namespace that is asked for.
func (c *topCommand) own(rows []why.Count) []why.Count {
	return slices.DeleteFunc(rows, func(r why.Count) bool { return c.namespace != "" && r.Namespace != c.namespace })
}

// workloads returns the workloads of the pods that are there. Without the right to list
// pods the names are guessed.
func (c *topCommand) workloads(ctx context.Context) map[[2]string]string {
	pods, err := c.client.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil
	}
	workloads := make(map[[2]string]string, len(pods.Items))
	for i := range pods.Items {
		pod := &pods.Items[i]
		workloads[[2]string{pod.Namespace, pod.Name}] = workloadOf(pod)
	}
	return workloads
}

// table writes the rows. none stands for no rows.
func (c *topCommand) table(answer *topAnswer, none string) error {
	t := text.Table{Columns: []text.Column{
		{Title: "WORKLOAD", Least: 16}, {Title: "CONTAINER", Least: 9}, {Title: "OOM", Number: true}, {Title: "KILLS", Number: true},
		{Title: "ENDED", Number: true}, {Title: "LAST", Number: true}, {Title: "CAUSE"}, {Title: "PEAK", Number: true}, {Title: "LIMIT", Number: true},
	}}
	wide := c.output == "wide"
	if wide {
		t.Columns = append(t.Columns, text.Column{Title: "PODS", Number: true})
	}
	for i := range answer.Rows {
		r := &answer.Rows[i]
		name := r.Workload
		if c.namespace == "" {
			name = r.Namespace + "/" + name
		}
		last := "-"
		if r.Last != nil {
			last = text.Ago(time.Since(*r.Last))
		}
		cause := r.Cause
		if cause == "" {
			cause = "-"
		}
		row := []string{
			name, r.Container, strconv.Itoa(r.OOM), strconv.Itoa(r.Kills), strconv.Itoa(r.Ended), last, cause, sizeOf(r.Peak), sizeOf(r.Limit),
		}
		if wide {
			row = append(row, strconv.Itoa(r.Pods))
		}
		t.Add(row...)
	}
	return c.writeTable(&t, answer.Notes, none)
}

// sizeOf returns a size, - if it is not known.
func sizeOf(bytes *uint64) string {
	if bytes == nil {
		return "-"
	}
	return text.Size(*bytes)
}

// writeTable writes a table and notes; none stands for a table without rows.
func (o *options) writeTable(t *text.Table, notes []string, none string) error {
	columns := cli.Columns(o.Out)
	if o.output == "wide" {
		columns = 0
	}
	if len(t.Rows) == 0 {
		notes = append([]string{none}, notes...)
	} else if err := t.Write(o.Out, columns); err != nil {
		return err
	}
	for _, note := range notes {
		if _, err := fmt.Fprintln(o.ErrOut, text.Plain(note)); err != nil {
			return err
		}
	}
	return nil
}
