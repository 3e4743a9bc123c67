package notify

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("x", 64)
	for _, test := range []struct {
		text              string
		annotation, label string // part of the error, "" where it is right
	}{
		{"", "", ""},
		{"example.com/oom=true", "", ""},
		{"oom=", "", ""},
		{"Example.com/oom=a", "", "key:"},
		{"oom=two words = fine", "", "value:"},
		{"oom", "want key=value", "want key=value"},
		{"=true", "want key=value", "want key=value"},
		{"a/b/c=true", "key:", "key:"},
		{"-oom=true", "key:", "key:"},
		{long + "=true", "key:", "key:"},
		{"oom=" + long, "", "value:"},
		{"oomwitness.io/victim=true", "orders to the shim", ""},
		{"OOMwitness.io/victim=true", "orders to the shim", "key:"},
		{"agent.oomwitness.io/victim=true", "", ""},
	} {
		_, err := ParseAnnotation(test.text)
		check(t, "annotation "+test.text, err, test.annotation)
		_, err = ParseLabel(test.text)
		check(t, "label "+test.text, err, test.label)
	}
	if got, _ := ParseAnnotation("a=b=c"); got != (Pair{"a", "b=c"}) {
		t.Errorf("got %+v", got)
	}
}

func check(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: %v, want one with %q", what, err, want)
	}
}

func TestParseCauses(t *testing.T) {
	got, err := ParseCauses(DefaultCauses)
	if err != nil || len(got) != 3 || !got["node"] || !got["pod"] || !got["ancestor"] || got["container"] {
		t.Errorf("default: %v, %v", got, err)
	}
	for _, text := range []string{"", "nodes", "node,,pod", "node;pod"} {
		if _, err := ParseCauses(text); err == nil || !strings.Contains(err.Error(), "want some of container, pod") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
