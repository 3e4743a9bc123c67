//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/oomwitness/oomwitness/integration/mix"
)

type settings struct {
	rootfs   string
	n        int
	parallel int
	cases    []string
}

func newCommand() *cobra.Command {
	var s settings
	root := &cobra.Command{
		Use:           "mix",
		Short:         "Run the same workloads under stock and oomwitness",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&s.rootfs, "rootfs", "/opt/oomwitness/rootfs", "root file system with the workload")
	flags.IntVar(&s.n, "n", 1, "runs of each case under each shim")
	flags.IntVar(&s.parallel, "parallel", 2, "runs at a time")
	flags.StringSliceVar(&s.cases, "case", nil, "only these cases")
	compare := &cobra.Command{
		Use:   "compare",
		Short: "Count what each shim reports of the mix, a line for each case",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.compare(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	demo := &cobra.Command{
		Use:   "demo",
		Short: "Show one run of every workload, and fail unless oomwitness is right in all",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.demo(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	root.AddCommand(compare, demo)
	return root
}

func (s settings) choose(from []mix.Case) ([]mix.Case, error) {
	if len(s.cases) == 0 {
		return from, nil
	}
	var out []mix.Case
	for _, name := range s.cases {
		c, err := mix.Find(name)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// run runs the cases and returns the summaries: for each case the stock shim's, then ours.
func (s settings) run(ctx context.Context, from []mix.Case, progress io.Writer) ([]*mix.Summary, error) {
	if s.n < 1 || s.parallel < 1 {
		return nil, fmt.Errorf("--n %d and --parallel %d must be at least 1", s.n, s.parallel)
	}
	cases, err := s.choose(from)
	if err != nil {
		return nil, err
	}
	r, err := mix.NewRunner(ctx, mix.DriverHere(), s.rootfs)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	step := 0
	summaries := r.Many(ctx, cases, []mix.Shim{mix.Stock, mix.Ours}, s.n, s.parallel, func(done, all int) {
		if now := 10 * done / all; now > step {
			step = now
			fmt.Fprintf(progress, "%d of %d runs done\n", done, all)
		}
	})
	return summaries, errors.Join(failures(summaries), strangers(r))
}

func failures(summaries []*mix.Summary) error {
	var errs []error
	for _, t := range summaries {
		errs = append(errs, t.Failed...)
	}
	return errors.Join(errs...)
}

func strangers(r *mix.Runner) error {
	if n := r.Strangers(); n > 0 {
		return fmt.Errorf("%d TaskOOMs for containers that nobody made", n)
	}
	return nil
}

func (s settings) compare(ctx context.Context, out, progress io.Writer) error {
	summaries, err := s.run(ctx, mix.Mix(), progress)
	for _, t := range summaries {
		fmt.Fprintln(out, t.Line())
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "case\tdriver\tshim\truns\tOOM lost or late\tfalse OOM\tTaskExit lost\t")
	for _, t := range summaries {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t\n",
			t.Case.Name, t.Driver, t.Shim.Name, t.N, t.Lost(), t.False, t.N-t.Exits)
	}
	return errors.Join(err, w.Flush())
}

func (s settings) demo(ctx context.Context, out, progress io.Writer) error {
	summaries, err := s.run(ctx, mix.Cases(), progress)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "workload\twhat the kernel did\tstock runc reported\toomwitness reported\t")
	var wrong []string
	for i := 0; i+1 < len(summaries); i += 2 {
		stock, ours := summaries[i], summaries[i+1]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\n", stock.Case.Name, stock.Case.Kernel, reported(stock), reported(ours))
		if !ours.Right() {
			wrong = append(wrong, ours.Case.Name)
		}
	}
	if ferr := w.Flush(); ferr != nil {
		return ferr
	}
	if len(wrong) > 0 {
		err = errors.Join(err, fmt.Errorf("oomwitness is wrong about %s", strings.Join(wrong, ", ")))
	}
	return err
}

// reported returns what was reported, in the words of a pod's status.
func reported(t *mix.Summary) string {
	var parts []string
	for status, n := range t.Statuses {
		reason := "Error"
		switch {
		case t.OOM == t.N:
			reason = "OOMKilled"
		case t.OOM > 0:
			reason = fmt.Sprintf("OOMKilled in %d of %d", t.OOM, t.N)
		case status == 0:
			reason = "Completed"
		}
		if t.Statuses[status] != t.N {
			reason = fmt.Sprintf("%d times %s", n, reason)
		}
		parts = append(parts, fmt.Sprintf("%s, %d", reason, status))
	}
	slices.Sort(parts)
	for cause := range t.Causes {
		parts = append(parts, fmt.Sprintf("cause %s", cause))
	}
	if late := t.OOM - t.BeforeExit; t.Case.Want.OOM && late > 0 {
		parts = append(parts, fmt.Sprintf("%d after the exit", late))
	}
	if t.Dup > 0 {
		parts = append(parts, fmt.Sprintf("%d events twice", t.Dup))
	}
	if lost := t.N - t.Exits; lost > 0 {
		parts = append(parts, fmt.Sprintf("%d exit events lost", lost))
	}
	if !t.Right() {
		parts = append(parts, "WRONG")
	}
	return strings.Join(parts, "; ")
}
