package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
	"k8s.io/klog/v2"

	"github.com/oomwitness/oomwitness/why/cli"
	"github.com/oomwitness/oomwitness/why/text"
)

// reasonOOM is the reason of the agent's Events, and of kubelet's.
const reasonOOM = "OOMKilling"

// eventsCommand is "kubectl oomwitness events".
type eventsCommand struct {
	*options
	watch bool
}

func newEvents(o *options) *cobra.Command {
	c := &eventsCommand{options: o}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show the Events of OOM kills",
		Long: `Show the Events of OOM kills, oldest first: the agents' Events on pods and nodes, and
kubelet's Events on nodes. The API server keeps an Event for an hour, unless the cluster
is set up otherwise. -w goes on with new Events until Ctrl-C.`,
		Example: `  kubectl oomwitness events -A
  kubectl oomwitness events -n shop -w`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	cmd.Flags().BoolVarP(&c.watch, "watch", "w", false, "go on with Events as they come")
	o.addOutput(cmd, true)
	return cmd
}

var (
	eventKind     = corev1.SchemeGroupVersion.WithKind("Event")
	eventListKind = corev1.SchemeGroupVersion.WithKind("EventList")
)

var selectOOM = fields.OneTermEqualSelector("reason", reasonOOM).String()

func (c *eventsCommand) run(ctx context.Context) error {
	if err := c.complete(); err != nil {
		return err
	}
	events := c.client.CoreV1().Events(c.namespace)
	list, err := events.List(ctx, metav1.ListOptions{FieldSelector: selectOOM})
	if err != nil {
		return fmt.Errorf("list the Events: %w", err)
	}
	for i := range list.Items {
		list.Items[i].SetGroupVersionKind(eventKind) // which a list leaves out
	}
	list.SetGroupVersionKind(eventListKind) // which client-go leaves out
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int { return cmp.Compare(seen(&a).UnixNano(), seen(&b).UnixNano()) })
	if err := c.past(list); err != nil || !c.watch {
		return err
	}
	// An empty logger: the watcher would log each attempt in klog's form.
	watcher, err := toolswatch.NewRetryWatcherWithContext(klog.NewContext(ctx, klog.Logger{}), list.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: c.watchFrom(events),
	})
	if err != nil {
		return fmt.Errorf("watch the Events: %w", err)
	}
	defer watcher.Stop()
	return c.follow(ctx, watcher)
}

// watchFrom returns a function that begins a watch. While the API server does not answer, the
// function says so once.
func (c *eventsCommand) watchFrom(events typedcorev1.EventInterface) cache.WatchFuncWithContext {
	said := false
	return func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.FieldSelector = selectOOM
		watcher, err := events.Watch(ctx, o)
		if failed := err != nil && ctx.Err() == nil; failed && !said && !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err) {
			fmt.Fprintln(c.ErrOut, text.Plain(fmt.Sprintf("the Events are not watched now, and the command tries again: %v", err)))
		}
		said = err != nil
		return watcher, err
	}
}

// past writes the Events that are there.
func (c *eventsCommand) past(list *corev1.EventList) error {
	if c.watch && c.output != "text" && c.output != "wide" {
		for i := range list.Items {
			if err := c.write(list.Items[i], nil); err != nil {
				return err
			}
		}
		return nil
	}
	t := c.newTable()
	for i := range list.Items {
		t.Add(c.row(&list.Items[i])...)
	}
	none := "no Event of an OOM kill is there"
	return c.write(list, func() error { return c.writeTable(t, nil, none) })
}

// follow writes Events as they come, until ctx ends.
func (c *eventsCommand) follow(ctx context.Context, watcher watch.Interface) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case came, ok := <-watcher.ResultChan():
			switch {
			case !ok && ctx.Err() == nil:
				return errors.New("watch the Events: the API server has ended the watch: run the command again")
			case !ok: // Ctrl-C ends the watch too
				return nil
			case came.Type == watch.Error:
				return fmt.Errorf("watch the Events: %w: run the command again", apierrors.FromObject(came.Object))
			}
			event, isEvent := came.Object.(*corev1.Event)
			if !isEvent || came.Type != watch.Added && came.Type != watch.Modified {
				continue
			}
			event.SetGroupVersionKind(eventKind)
			if err := c.write(event, func() error { return c.line(event) }); err != nil {
				return err
			}
		}
	}
}

// line writes one Event as a row without titles.
func (c *eventsCommand) line(e *corev1.Event) error {
	t := c.newTable()
	t.Add(c.row(e)...)
	columns := cli.Columns(c.Out)
	if c.output == "wide" {
		columns = 0
	}
	return t.WriteRows(c.Out, columns)
}

func (c *eventsCommand) newTable() *text.Table {
	return &text.Table{Columns: []text.Column{
		{Title: "TIME " + time.Now().Local().Format("MST")}, {Title: "COUNT", Number: true}, {Title: "OBJECT", Least: 16}, {Title: "MESSAGE", Least: 30},
	}}
}

func (c *eventsCommand) row(e *corev1.Event) []string {
	object := e.InvolvedObject.Name
	if c.namespace == "" && e.InvolvedObject.Namespace != "" {
		object = e.InvolvedObject.Namespace + "/" + object
	}
	if e.InvolvedObject.Kind != "Pod" {
		object = e.InvolvedObject.Kind + " " + object
	}
	return []string{seen(e).Local().Format("01-02 15:04:05"), strconv.Itoa(int(max(e.Count, 1))), object, e.Message}
}

// seen returns when an Event was seen last.
func seen(e *corev1.Event) time.Time {
	switch {
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	default:
		return e.CreationTimestamp.Time
	}
}
