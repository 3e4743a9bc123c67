//go:build linux

package differential

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	_ "github.com/containerd/cgroups/v3/cgroup1/stats" // registers the types of metrics
	_ "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// names replaces values that differ from run to run by stable names. Pids and times are
// numbered in order of appearance: two answers with the same pid have the same name for the
// pid.
type names struct {
	pids  map[uint64]string
	times map[string]string
	paths *strings.Replacer
}

func newNames(paths map[string]string) *names {
	var pairs []string
	for path, name := range paths {
		pairs = append(pairs, path, name)
	}
	return &names{pids: map[uint64]string{}, times: map[string]string{}, paths: strings.NewReplacer(pairs...)}
}

// made are the parts of messages that differ in each run.
var made = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(regexp.QuoteMeta(os.TempDir()) + `/(pty|runc-process)\d+`), "<tmp>/$1"},
	{regexp.MustCompile(`usage: \d+`), "usage: <number>"},
	{regexp.MustCompile(`time="[^"]*"`), "time=<now>"},
}

func (n *names) text(s string) string {
	s = n.paths.Replace(s)
	for _, m := range made {
		s = m.pattern.ReplaceAllString(s, m.name)
	}
	return s
}

func (n *names) pid(pid uint64) string {
	if pid == 0 {
		return "0"
	}
	if _, ok := n.pids[pid]; !ok {
		n.pids[pid] = fmt.Sprintf("<pid %d>", len(n.pids)+1)
	}
	return n.pids[pid]
}

func (n *names) time(t *timestamppb.Timestamp) string {
	at := protobuf.FromTimestamp(t)
	if t == nil || at.IsZero() {
		return "zero"
	}
	key := at.String()
	if _, ok := n.times[key]; !ok {
		n.times[key] = fmt.Sprintf("<time %d>", len(n.times)+1)
	}
	return n.times[key]
}

// message returns one line for each field of m, set or not.
func (n *names) message(m proto.Message) []string {
	var f flattener
	f.names = n
	f.message("", m.ProtoReflect())
	return f.lines
}

// metrics is message for cgroup metrics. For most numbers it shows only that they are set.
func (n *names) metrics(m proto.Message) []string {
	f := flattener{names: n, metrics: true}
	f.message("", m.ProtoReflect())
	return f.lines
}

type flattener struct {
	names   *names
	metrics bool
	lines   []string
}

func (f *flattener) add(path, value string) {
	f.lines = append(f.lines, strings.TrimPrefix(path, ".")+" = "+value)
}

func (f *flattener) message(path string, m protoreflect.Message) {
	switch m := m.Interface().(type) {
	case *timestamppb.Timestamp:
		f.add(path, f.names.time(m))
		return
	case *anypb.Any:
		f.any(path, m)
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f.field(path+"."+string(fields.Get(i).Name()), fields.Get(i), m)
	}
}

func (f *flattener) any(path string, a *anypb.Any) {
	value, err := typeurl.UnmarshalAny(a)
	if err != nil {
		f.add(path, fmt.Sprintf("%s: %v", a.GetTypeUrl(), err))
		return
	}
	f.add(path, a.GetTypeUrl())
	if m, ok := value.(proto.Message); ok {
		f.message(path, m.ProtoReflect())
		return
	}
	f.add(path, f.names.text(fmt.Sprintf("%+v", value)))
}

func (f *flattener) field(path string, field protoreflect.FieldDescriptor, in protoreflect.Message) {
	value := in.Get(field)
	switch {
	case field.IsMap():
		f.stringMap(path, field, value.Map())
	case field.IsList() && f.metrics:
		f.add(path, "<list>")
	case field.IsList():
		list := value.List()
		f.add(path, fmt.Sprintf("%d entries", list.Len()))
		for i := range list.Len() {
			f.value(fmt.Sprintf("%s[%d]", path, i), field, list.Get(i))
		}
	case field.Message() != nil && !in.Has(field):
		f.add(path, "unset")
	default:
		f.value(path, field, value)
	}
}

func (f *flattener) stringMap(path string, field protoreflect.FieldDescriptor, m protoreflect.Map) {
	var lines []string
	m.Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
		lines = append(lines, f.names.text(fmt.Sprintf("%v: %v", key, value)))
		return true
	})
	slices.Sort(lines)
	f.add(path, fmt.Sprintf("%s %q", field.MapValue().Kind(), lines))
}

// counted are the metrics with a value that a test can predict.
var counted = []string{".memory.usage.limit", ".memory.usage_limit", ".pids.limit", ".oom_kill"}

func (f *flattener) value(path string, field protoreflect.FieldDescriptor, value protoreflect.Value) {
	name := string(field.Name())
	switch {
	case field.Message() != nil:
		f.message(path, value.Message())
	case name == "pid" || name == "shim_pid" || name == "task_pid":
		f.add(path, f.names.pid(value.Uint()))
	case field.Kind() == protoreflect.StringKind:
		f.add(path, fmt.Sprintf("%q", f.names.text(value.String())))
	case field.Enum() != nil:
		f.add(path, string(field.Enum().Values().ByNumber(value.Enum()).Name()))
	case f.metrics && !slices.ContainsFunc(counted, func(s string) bool { return strings.HasSuffix(path, s) }):
		f.add(path, "<number>")
	default:
		f.add(path, value.String())
	}
}
