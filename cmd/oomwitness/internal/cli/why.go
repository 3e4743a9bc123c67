package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/oomwitness/oomwitness/agent"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/nodewhy"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/why"
	whycli "github.com/oomwitness/oomwitness/why/cli"
	"github.com/oomwitness/oomwitness/why/collect"
)

// whyFlags are those of why.
type whyFlags struct {
	pins
	output, container, namespace string
	spool, state, address, log   string
	kubelet                      kubeletFlags
	previous                     bool
}

var whyFormats = []string{"text", "wide", "json"}

func newWhy() *cobra.Command {
	var f whyFlags
	cmd := &cobra.Command{
		Use:   "why CONTAINER|POD",
		Short: "Say why a container of this node has ended",
		Long: `Show the limit or the signal that ended a container of this node. The page has
the victim of the OOM killer with its sizes, the contents of the memory, limit and peak. The
page also has the number of OOM kills in the last day, and what to do. Each unknown fact is
named, with the reason.

The argument is the beginning of a container's ID, or the name of a pod, also as pod/POD,
NAMESPACE/POD or NAMESPACE/POD/CONTAINER. pod/POD is always the pod POD, as for kubectl: for
a namespace of the name pod, use -n pod POD. why needs root, and no agent. why reads the
spool of exits, which the shims write, the records in the bundles, and the ledger. The
exits of a node reach back to its boot, and some 700 to 1,400 exits are kept. If all of
them lack the container, why reads the verdicts in containerd's log, by container ID.

On a cluster "kubectl oomwitness why POD" shows the same from anywhere.

Exit status:

  0  the container was not OOM-killed
  1  a failure
  2  a wrong command line
  3  nothing is known of such a container
  5  the container was OOM-killed`,
		Example: `  oomwitness why 3f2a5c1d
  oomwitness why shop/web-7d4b9c-x2x8v -c app --previous
  oomwitness why web-7d4b9c-x2x8v -o json`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error { return runWhy(cmd, &f, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "text", "output format: text, wide (shows more, also all earlier runs), json")
	flags.StringVarP(&f.container, "container", "c", "", "only the container of this name in its pod")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "only pods of this namespace")
	flags.BoolVar(&f.previous, "previous", false, "the run before the newest of each container")
	flags.StringVar(&f.spool, "spool", exits.DefaultDir, "folder of the spool of exits")
	flags.StringVar(&f.address, "address", containerd.DefaultAddress, "containerd's socket, for names; empty to do without")
	flags.StringVar(&f.state, "state", "", "containerd's state directory, with the bundles (default: the folder of --address)")
	flags.StringVar(&f.log, "log", "", "file with containerd's log (default: the log of the containerd at --address: its file, or the journal of its unit)")
	f.kubelet.add(flags)
	f.add(cmd)
	whycli.CompleteOneOf(cmd, "output", whyFormats)
	return cmd
}

// oneName wants one container or pod.
func oneName(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%d arguments: allowed is one, the beginning of a container's ID or a pod's name", len(args))
	}
	return nil
}

// query reads the argument and the flags.
func (f *whyFlags) query(name string) (collect.Query, error) {
	errs := append([]error{whycli.OneOf("output", f.output, whyFormats...)}, append(f.files(), f.kubelet.check())...)
	pod, err := whycli.ParsePodName(name)
	for _, part := range strings.Split(name, "/") {
		if err == nil && !isName(part) {
			err = fmt.Errorf("%q is no name", part)
		}
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("%q: allowed are the beginning of a container's ID, %s; %w", name, whycli.PodForms, err))
	} else if pod, err = pod.Flags(name, f.namespace, f.container); err != nil {
		errs = append(errs, err)
	}
	q := collect.Query{Namespace: pod.Namespace, Pod: pod.Pod, Container: pod.Container}
	if !strings.Contains(name, "/") { // the beginning of an ID, too
		q.Any, q.Pod = q.Pod, ""
	}
	for flag, value := range map[string]string{"namespace": f.namespace, "container": f.container} {
		if value != "" && len(validation.IsDNS1123Label(value)) > 0 {
			errs = append(errs, fmt.Errorf("--%s %q: allowed are lower-case letters, digits and -, at most 63", flag, value))
		}
	}
	return q, why.Usage(errors.Join(errs...))
}

// files returns what is wrong with the flags that name files.
func (f *whyFlags) files() []error {
	errs := []error{f.check(), absolute("spool", f.spool)}
	for _, one := range [][2]string{{"address", f.address}, {"state", f.state}, {"log", f.log}} {
		if one[1] != "" {
			errs = append(errs, absolute(one[0], one[1]))
		}
	}
	if fi, err := os.Stat(f.log); path.IsAbs(f.log) {
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("--log %q: %w", f.log, errors.Unwrap(err)))
		case !fi.Mode().IsRegular():
			errs = append(errs, fmt.Errorf("--log %q: allowed is a regular file", f.log))
		}
	}
	return errs
}

// isName reports whether a text can be a name of Kubernetes or the ID of a container.
func isName(text string) bool {
	const most = 253
	return strings.TrimLeft(text, "-._") == text && text != "" && len(text) <= most && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == ""
}

func runWhy(cmd *cobra.Command, f *whyFlags, name string) error {
	q, err := f.query(name)
	if err != nil {
		return err
	}
	state := f.state
	if state == "" && f.address != "" {
		state = path.Dir(f.address)
	}
	n := nodewhy.Node{Spool: f.spool, State: state, Kills: f.kills}
	sources, denied := n.Sources(cmd.Context())
	absent := f.absent(cmd.Flags())
	sources.Notes = append(sources.Notes, absent...)
	d := collect.Build(q, sources, time.Now())
	if !slices.ContainsFunc(d.Runs, func(r why.Run) bool { return r.Verdict != nil || r.Running }) {
		f.addLog(cmd.Context(), sources)
		d = collect.Build(q, sources, time.Now())
	}
	switch {
	case len(d.Runs) == 0 && denied != nil:
		return asRoot(denied)
	case len(d.Runs) == 0:
		return nothingKnown(name, sources, absent)
	case f.previous && !d.HasPrevious():
		return why.NotFound("%q has no run before its newest, as far as this node knows", name)
	}
	return writeWhy(cmd.OutOrStdout(), &d, f.output, f.previous)
}

// nothingKnown says why there is no run. What is absent explains it better than any note.
func nothingKnown(name string, s *collect.Sources, absent []string) error {
	reasons := s.Notes
	if len(absent) > 0 {
		reasons = absent
	}
	switch {
	case s.NoExits != "":
		reasons = append([]string{s.NoExits}, reasons...)
	case len(absent) == 0:
		const none = "no container of this node whose ID begins so, and no pod of that name, has ended since the node's boot or runs under oomwitness"
		reasons = append([]string{none}, reasons...)
	}
	return why.NotFound("nothing is known of %q: %s", name, strings.Join(reasons, "; "))
}

// absent says which folders that flags name are not there.
func (f *whyFlags) absent(flags *pflag.FlagSet) (notes []string) {
	for _, one := range [][2]string{{"spool", f.spool}, {"state", f.state}, {"dir", f.dir}} {
		if _, err := os.Stat(one[1]); err != nil && flags.Changed(one[0]) && one[1] != "" {
			notes = append(notes, fmt.Sprintf("--%s %q: %v", one[0], one[1], errors.Unwrap(err)))
		}
	}
	return notes
}

// addLog adds what containerd's log says, where nothing else has a verdict.
func (f *whyFlags) addLog(ctx context.Context, s *collect.Sources) {
	log, err := nodewhy.Log{File: f.log}, error(nil)
	if f.log == "" {
		located, failed := containerd.Locate(ctx, "/", containerd.Wanted{Address: f.address})
		if err = failed; err == nil {
			log, err = nodewhy.FindLog(located.PID, located.Unit)
		}
	}
	if err == nil {
		s.Logged, err = log.Verdicts(ctx)
	}
	if err != nil {
		s.Notes = append(s.Notes, fmt.Sprintf("containerd's log could not be read: %v", err))
		return
	}
	s.Notes = append(s.Notes, fmt.Sprintf("containerd's log (%s) was read: it has the verdicts of %d exits", log, len(s.Logged)))
}

// writeWhy writes a document, and returns its exit status as an error that says nothing.
func writeWhy(out io.Writer, d *why.Document, format string, previous bool) error {
	var err error
	if format == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(d)
	} else {
		err = d.Write(out, why.Options{Columns: whycli.Columns(out), Previous: previous, Wide: format == "wide"})
	}
	switch {
	case err != nil:
		return err
	case d.OOMKilled(previous):
		return &why.Exit{Status: why.StatusOOM}
	}
	return nil
}

// kills returns the victims that the ledger has, with the names that the node knows: each
// as an OOM event of one victim.
func (f *whyFlags) kills(ctx context.Context) ([]agent.OOMEvent, error) {
	b := bpf.NewHandle(f.dir, f.lockDir)
	defer b.Close()
	past, err := b.Records()
	if err != nil {
		return nil, plain{err}
	}
	o := agent.NamesOptions{Parent: b.Parent, Kubelet: f.kubelet.options(), Containerd: f.address}
	if h, err := oom.FindHierarchy(); err == nil { // else cgroups go by their numbers
		o.Mount = h.Mount
	}
	names, err := agent.NewNames(o, func(error) {}) // the default is good enough then
	if err != nil {
		return nil, flagError("kubelet-cgroup-root", err)
	}
	defer names.Close() //nolint:errcheck // it has only asked
	_ = names.Refresh() // what cannot be named stays nameless
	list := make([]agent.OOMEvent, 0, len(past))
	for i := range past {
		e := names.Event(&past[i], func(error) {})
		names.Ask(ctx, e.First())
		list = append(list, e)
	}
	return list, nil
}
