package notify

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/bpf"
)

func tasks(times ...uint64) []deliver.Task {
	var out []deliver.Task
	for _, ns := range times {
		out = append(out, deliver.Task{BootNS: ns})
	}
	return out
}

func TestReported(t *testing.T) {
	one := reported(nil).with(tasks(30, 10))
	if got := one.String(); got != "a,u" {
		t.Errorf("written %q", got)
	}
	again := parseReported(one.String())
	if news := again.news(tasks(10, 20, 30)); len(news) != 1 || news[0].BootNS != 20 {
		t.Errorf("news %v", news)
	}
	// At maxReported the oldest go, and count as reported for good.
	var many []uint64
	for i := range uint64(maxReported) {
		many = append(many, 100+i)
	}
	full := reported{50}.with(tasks(many...))
	if len(full) != maxReported || full[0] != 100 || !full.has(50) || !full.has(7) || full.has(1000) {
		t.Errorf("full: %v", full)
	}
}

// TestReportedAhead: an Event that was made before the kill names no time after its own.
func TestReportedAhead(t *testing.T) {
	var forged []string
	for i := range uint64(maxReported) {
		forged = append(forged, strconv.FormatUint(math.MaxUint64-i, 36))
	}
	event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{annotationReported: strings.Join(forged, ",")}}}
	r := NewReporter(Common{})
	if news := r.seenOf(event).reported.news(tasks(bpf.BootNow())); len(news) != 1 {
		t.Errorf("an OOM event counts as reported")
	}
	killed := NewKilled(Common{})
	event.Annotations[annotationReported] = strconv.FormatUint(uint64(time.Now().UnixNano()), 36)
	if got := killed.seenOf(event).reported; len(got) != 1 {
		t.Errorf("an exit that was reported is forgotten")
	}
}

func FuzzReported(f *testing.F) {
	for _, text := range []string{"", "a,u", "zz,,-1,a", strings.Repeat("1,", 200), "3w5e11264sgsf,3w5e11264sgsg"} {
		f.Add(text, uint64(30))
	}
	f.Fuzz(func(t *testing.T, text string, ns uint64) {
		got := parseReported(text)
		if len(got) > maxReported || !slices.IsSorted(got) {
			t.Fatalf("%q is parsed as %v", text, got)
		}
		if again := parseReported(got.String()); !slices.Equal(again, got) {
			t.Fatalf("%v is written %q, and read %v", got, got.String(), again)
		}
		after := got.with(tasks(ns))
		if !after.has(ns) || len(after) > maxReported {
			t.Fatalf("%v with %d is %v", got, ns, after)
		}
		for _, old := range got {
			if !after.has(old) {
				t.Fatalf("%v with %d has forgotten %d: %v", got, ns, old, after)
			}
		}
	})
}
