package deliver

import (
	"errors"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"
	"k8s.io/klog/v2"
)

func TestLogTo(t *testing.T) {
	log, lines := test.NewNullLogger()
	LogTo(log)
	t.Cleanup(klog.ClearLogger)
	klog.ErrorS(errors.New("pods is forbidden"), "Failed to watch", "type", "Pod")
	klog.V(2).InfoS("not for operators")
	entries := lines.AllEntries()
	if len(entries) != 1 || entries[0].Data["component"] != "client-go" {
		t.Fatalf("got %v", entries)
	}
	if want := `"msg"="Failed to watch" "error"="pods is forbidden" "type"="Pod"`; entries[0].Message != want {
		t.Errorf("got %s, want %s", entries[0].Message, want)
	}
}
