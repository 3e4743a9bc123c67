package notify

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
)

func victim(comm string, pid uint32, pod, container string) events.Victim {
	v := events.Victim{Comm: comm, IDs: events.IDs{PID: pid}}
	if pod != "" {
		v.Pod = &events.Pod{UID: pod, Namespace: "shop", Name: "cart"}
	}
	if container != "" {
		v.Container = &events.Container{Name: container}
	}
	return v
}

func TestMessage(t *testing.T) {
	java := victim("java", 4242, "u", "app")
	java.Memory = events.Memory{RSS: new(uint64(600 << 20)), Anon: new(uint64(500 << 20)), File: new(uint64(100 << 20)), Shmem: new(uint64(0))}
	for _, test := range []struct {
		name    string
		in      events.OOMEvent
		victims []events.Victim
		want    string
	}{
		{
			"container", events.OOMEvent{Cause: oom.CauseContainer, Limit: new(uint64(512 << 20)), Victims: []events.Victim{java}},
			[]events.Victim{java},
			"Killed process java (pid 4242), which had 600 MiB of memory (anonymous 500 MiB, file 100 MiB, shared 0 B): the container's memory limit of 512 MiB was reached",
		},
		{
			"memory by kind, and a larger process",
			events.OOMEvent{
				Cause: oom.CauseContainer, Limit: new(uint64(64 << 20)), Victims: make([]events.Victim, 1),
				Memory: &oom.Memory{Anon: 20 << 20, Shmem: 40 << 20, Candidates: []oom.Candidate{{PID: 9, Comm: "java", RSS: 12 << 20}, {PID: 1, Comm: "a"}}},
			},
			[]events.Victim{victim("a", 1, "u", "app")},
			"Killed process a (pid 1): the container's memory limit of 64.0 MiB was reached, filled by shared memory 40.0 MiB, anonymous 20.0 MiB; the largest process was java (pid 9) with 12.0 MiB",
		},
		{
			"others' processes are not named",
			events.OOMEvent{
				Cause: oom.CauseNode, Victims: make([]events.Victim, 1),
				Memory: &oom.Memory{Anon: 20 << 20, Candidates: []oom.Candidate{{PID: 9, Comm: "java", RSS: 12 << 20}}},
			},
			[]events.Victim{victim("a", 1, "u", "app")},
			"Killed process a (pid 1): the node was out of memory, filled by anonymous 20.0 MiB",
		},
		{
			"in swap", events.OOMEvent{Cause: oom.CausePod, Victims: make([]events.Victim, 1)},
			[]events.Victim{{Comm: "a", IDs: events.IDs{PID: 1}, Memory: events.Memory{
				RSS: new(uint64(2 << 20)), Anon: new(uint64(2 << 20)), File: new(uint64(0)), Shmem: new(uint64(0)), Swap: 200 << 20,
			}}},
			"Killed process a (pid 1), which had 2.0 MiB of memory (anonymous 2.0 MiB, file 0 B, shared 0 B, and 200 MiB in swap): the pod's memory limit was reached",
		},
		{
			"size of the domain", events.OOMEvent{Cause: oom.CausePod, Domain: &events.Domain{Size: 1 << 30}, Victims: make([]events.Victim, 1)},
			[]events.Victim{victim("a", 1, "u", "")},
			"Killed process a (pid 1): the pod's memory limit of 1.0 GiB was reached",
		},
		{
			"ancestor", events.OOMEvent{Cause: oom.CauseAncestor, Domain: &events.Domain{Path: "/kubepods.slice"}, Victims: make([]events.Victim, 1)},
			[]events.Victim{victim("a", 1, "u", "")},
			"Killed process a (pid 1): the memory limit of a cgroup above the pod was reached: /kubepods.slice",
		},
		{
			"a service", events.OOMEvent{Cause: oom.CauseContainer, Limit: new(uint64(32 << 20)), Victims: make([]events.Victim, 1)},
			[]events.Victim{{Comm: "backup", IDs: events.IDs{PID: 7}, Unit: "backup.service"}},
			"Killed process backup (pid 7) of backup.service: the memory limit of 32.0 MiB of its own cgroup was reached",
		},
		{
			"no unit", events.OOMEvent{Cause: oom.CauseAncestor, Domain: &events.Domain{Path: "/batch"}, Victims: make([]events.Victim, 1)},
			[]events.Victim{{Comm: "job", IDs: events.IDs{PID: 7}, Cgroup: events.Cgroup{Path: "/batch/7"}}},
			"Killed process job (pid 7) of /batch/7: the memory limit of a cgroup above its own was reached: /batch",
		},
		{
			"many victims", events.OOMEvent{Cause: oom.CauseNode, Victims: make([]events.Victim, 9)},
			[]events.Victim{victim("a", 1, "", ""), victim("b", 2, "", ""), victim("c", 3, "", ""), victim("d", 4, "", ""), victim("e", 5, "", "")},
			"Killed process a (pid 1): the node was out of memory; and with it b (pid 2), c (pid 3), d (pid 4) and 1 more; 4 killed elsewhere",
		},
		{
			"a name made to deceive", events.OOMEvent{Cause: oom.CauseSysrq, Victims: make([]events.Victim, 1)},
			[]events.Victim{victim("a\n\x1b[31m", 1, "", "")},
			`Killed process a\u000a\u001b[31m (pid 1): somebody asked the kernel for an OOM kill (sysrq f)`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := message(&test.in, test.victims); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestMessageIsShort(t *testing.T) {
	in := events.OOMEvent{Cause: oom.CauseAncestor, Domain: &events.Domain{Path: "/" + strings.Repeat("ä", 2000)}}
	got := message(&in, []events.Victim{victim("a", 1, "u", "")})
	if len(got) > maxMessage || !utf8.ValidString(got) || !strings.HasSuffix(got, "...") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

// An OOM event with victims in two containers, a second pod and outside has four
// Events, named the same after a restart.
func TestPlan(t *testing.T) {
	in := events.OOMEvent{ID: "0d1a2b3c-4d5e-4f60-8a1b-2c3d4e5f6071-1-1", Cause: oom.CauseNode, Victims: []events.Victim{
		victim("a", 1, "u", "app"), victim("b", 2, "u", "app"), victim("c", 3, "u", "proxy"), victim("d", 4, "v", "app"), victim("e", 5, "", ""),
	}}
	first, second := NewReporter(Common{}).Plan(&in), NewReporter(Common{}).Plan(&in)
	if len(first) != 4 || len(second) != 4 {
		t.Fatalf("planned %+v", first)
	}
	for i := range first {
		if first[i].Lane != second[i].Lane {
			t.Errorf("lanes %+v and %+v", first[i].Lane, second[i].Lane)
		}
	}
	if !strings.Contains(first[0].Task.Text, "and with it b (pid 2); 3 killed elsewhere") || !first[3].Lane.Target.Node() {
		t.Errorf("planned %+v", first)
	}
}
